/**
 * Whether all is well: what bg needs of this machine, of droid and of its own directory, each looked
 * at and nothing changed. What is not well names the command that mends it; where more is to be
 * done than a command can, what was found says so.
 *
 * Measured on droid 0.215.0: a login is one of some `auth.*` files beside its settings, which droid
 * alone can read; `--version` takes half a second and writes nothing.
 */
import {
	existsSync,
	lstatSync,
	readdirSync,
	statfsSync,
	statSync,
} from "node:fs";
import { join } from "node:path";
import { x } from "tinyexec";
import { version } from "../package.json" with { type: "json" };
import { openStore } from "./directory.ts";
import { isRefusal, messageOf } from "./error.ts";
import { maxFileBytes, readFile } from "./files.ts";
import { findStuckLocks } from "./held.ts";
import { findInstalled } from "./installed.ts";
import { droidFolder } from "./layout.ts";
import {
	homeFolder,
	logFile,
	recordFile,
	type Store,
	storeDir,
} from "./names.ts";
import { toLine } from "./print.ts";
import { findDroid } from "./program.ts";
import { describeStanding, standingOf } from "./prune.ts";
import { isQueuePaused, readLimits } from "./queue.ts";
import {
	isCompiled,
	programFile,
	quoteForShell,
	typedCommand,
} from "./self.ts";
import { eachTask, type Unreadable } from "./store.ts";
import { isFinal, type Task } from "./task.ts";

/** What was found: in order, or with what mends it. */
export type Finding =
	| { ok: true; says: string }
	| { ok: false; says: string; mend: string };

type Look = () => Finding | Promise<Finding>;

/** Each with what mends it where it cannot even look. */
const checks = {
	program: [checkProgram, () => "npm install -g bg-tasks"],
	droid: [checkDroid, mendDroid],
	login: [checkLogin, () => "droid"],
	hooks: [checkHooks, () => bg("install")],
	store: [checkStore, mendStore],
	tasks: [checkTasks, mendStore],
	queue: [checkQueue, mendStore],
	locks: [checkLocks, mendStore],
	limits: [checkLimits, () => `unset ${Object.keys(readLimits({})).join(" ")}`],
	disk: [checkDisk, mendStore],
	faults: [checkFaults, mendStore],
} as const satisfies Record<string, readonly [Look, () => string]>;

export type Check = keyof typeof checks;

/** Looks at everything, and changes nothing. */
export async function examine(): Promise<({ check: Check } & Finding)[]> {
	const all = Object.entries(checks).map(async ([check, [look, mend]]) => ({
		check: check as Check,
		...(await attempt(look, mend)),
	}));
	return Promise.all(all);
}

// --- internal ---

/** How long droid may take to say its version, in ms. */
const patience = 20_000;

/** Less free room than this, in bytes, and records soon cannot be written. */
const leastFree = 64 * 2 ** 20;

const well = (says: string): Finding => ({ ok: true, says });
const ill = (says: string, mend: string): Finding => ({
	ok: false,
	says,
	mend,
});

async function attempt(look: Look, mend: () => string): Promise<Finding> {
	try {
		return await look();
	} catch (error) {
		if (!isRefusal(error)) throw error;
		return ill(messageOf(error), mend());
	}
}

const bg = (verb: string) => `${typedCommand()} ${verb}`;

function checkProgram(): Finding {
	const { bun, deno, node } = process.versions as Record<
		string,
		string | undefined
	>;
	const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
	const form = isCompiled() ? "an executable" : "a script";
	return well(`bg ${version}, ${form} on ${runtime}: ${programFile()}`);
}

// --- droid ---

async function checkDroid(): Promise<Finding> {
	const droid = findDroid();
	const env = { FACTORY_DROID_AUTO_UPDATE_ENABLED: "false" };
	const { stdout, exitCode } = await x(droid, ["--version"], {
		nodePath: false,
		timeout: patience,
		nodeOptions: { env, stdio: ["ignore", "pipe", "ignore"] },
	});
	const said = toLine(stdout, 40);
	if (exitCode === 0 && said) return well(`${said}: ${droid}`);
	return ill(
		`${droid} does not say its version (exit code ${exitCode ?? "none"})`,
		mendDroid(),
	);
}

function mendDroid(): string {
	return process.env.BG_DROID ? "unset BG_DROID" : "npm install -g droid";
}

const logins = [
	"auth.v2.file",
	"auth.v2.keyring",
	"auth.v2.loginkeychain",
	"auth.encrypted",
];

function checkLogin(): Finding {
	if (process.env.FACTORY_API_KEY) return well("FACTORY_API_KEY is set");
	const found = logins.find((name) => existsSync(join(droidFolder(), name)));
	if (found)
		return well(
			`there is a login (${found}); whether it holds, droid alone can tell`,
		);
	if (process.env.FACTORY_AIRGAP_ENABLED === "true")
		return well("none, and FACTORY_AIRGAP_ENABLED needs none");
	return ill(
		"no login is to be seen: type /login in droid, or set FACTORY_API_KEY",
		"droid",
	);
}

function checkHooks(): Finding {
	const found = findInstalled();
	const [outdated] = found.filter(({ due }) => due);
	if (outdated)
		return ill(
			`not as this bg would install them: ${outdated.due}`,
			bg(`install --${outdated.kind}`),
		);
	return found.length
		? well(`installed: ${found.map(({ where }) => where).join(", ")}`)
		: ill("droid does not know bg", bg("install"));
}

// --- the directory ---

/** The directory; undefined where there is none yet. */
function ownStore(): Store | undefined {
	const store = openStore();
	return existsSync(store.dir) ? store : undefined;
}

/** Nobody else may write to any part of it; see checkOurs of files.ts. */
function mendStore(): string {
	if (!process.env.BG_DIR && !homeFolder())
		return 'export BG_DIR="$PWD/bg-tasks"';
	const dir = storeDir();
	const isFolder = existsSync(`${dir}/.`);
	return isFolder
		? `chmod -R u+rwX,go-w ${quoteForShell(dir)}`
		: "unset BG_DIR";
}

function checkStore(): Finding {
	const store = ownStore();
	if (!store) return well(`none yet: ${storeDir()}`);
	const { dir } = store;
	const mode = statSync(dir).mode & 0o777;
	return mode & 0o077
		? ill(
				`${dir} can be read by others (mode ${mode.toString(8)})`,
				`chmod 700 ${quoteForShell(dir)}`,
			)
		: well(`${dir}, for its owner alone`);
}

function checkTasks(): Finding {
	const store = ownStore();
	const unreadable: Unreadable[] = [];
	const tasks = store ? [...eachTask(store, unreadable)] : [];
	const open = tasks.filter((task) => !isFinal(task));
	const [broken] = unreadable;
	if (store && broken) {
		const path = quoteForShell(recordFile(store, broken.taskId));
		return ill(
			`${unreadable.length} records cannot be read: ${broken.problem}`,
			`mv ${path} ${path}.broken`,
		);
	}
	const named = (wanted: string) =>
		open
			.filter((task) => standingOf(task) === wanted)
			.map(({ id }: Task) => id);
	const [lost, orphaned] = [named("lost"), named("orphaned")];
	if (lost.length) return ill(`lost: ${few(lost)}`, bg("prune"));
	if (orphaned.length)
		return ill(`nobody watches ${few(orphaned)}`, bg("prune"));
	const unclear = open.find((task) => standingOf(task) === "unclear");
	if (unclear)
		return ill(
			`${unclear.id}: ${describeStanding(unclear, "unclear")}`,
			bg(`status ${unclear.id}`),
		);
	return well(`${tasks.length}, ${open.length} not over, none lost`);
}

const few = (ids: readonly string[]) =>
	ids.slice(0, 5).join(" ") +
	(ids.length > 5 ? ` and ${ids.length - 5} more` : "");

function checkQueue(): Finding {
	const store = ownStore();
	return store && isQueuePaused(store)
		? ill("paused: nothing new starts", bg("unpause --queue"))
		: well("open");
}

async function checkLocks(): Promise<Finding> {
	const store = ownStore();
	const held = store ? await findStuckLocks(store) : [];
	if (held.length === 0) return well("none held for long");
	const says = held.slice(0, 5).map(({ says }) => says);
	if (held.length > says.length) says.push(`${held.length - 5} more`);
	return ill(
		`held for long: ${says.join(", ")}; if that is gone for good, or hangs:`,
		held.map(({ mend }) => mend).join(" && "),
	);
}

function checkLimits(): Finding {
	const given = Object.entries(readLimits()).map(
		([name, limit]) => `${name} ${Number.isFinite(limit) ? limit : "none"}`,
	);
	return well(given.join(", "));
}

function checkDisk(): Finding {
	const store = ownStore();
	const at = store?.dir ?? homeFolder() ?? "/";
	const { bavail, bsize } = statfsSync(at);
	const [used, free] = [store ? sizeOf(store.dir) : 0, bavail * bsize];
	const says = `${inMebibytes(used)} used, ${inMebibytes(free)} free`;
	return free < leastFree
		? ill(says, bg("cleanup --delete --max-size 100M"))
		: well(says);
}

/** What hooks and supervisors, who have nobody to tell, wrote down. */
function checkFaults(): Finding {
	const store = ownStore();
	if (!store) return well("none noted");
	const lines = [logFile(store, "hook"), logFile(store, "supervisor")]
		.filter((path) => existsSync(path))
		// The last lines may have passed the limit of a log together.
		.flatMap((path) => readFile(store, path, 2 * maxFileBytes).split("\n"))
		.filter(Boolean);
	const last = lines.sort().at(-1);
	return well(last ? `${lines.length} noted, the last: ${last}` : "none noted");
}

const inMebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** A file or all that is in a folder, in bytes. */
function sizeOf(path: string): number {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (!status?.isDirectory()) return status?.size ?? 0;
	return readdirSync(path).reduce(
		(sum, name) => sum + sizeOf(join(path, name)),
		0,
	);
}
