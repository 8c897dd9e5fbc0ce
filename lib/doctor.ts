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
import { errorMessage, isRefusal } from "./error.ts";
import { maxFileBytes, readFile } from "./files.ts";
import { findStuckLocks } from "./held.ts";
import { findInstallations } from "./installed.ts";
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
import { checkSupervision, describeSupervision } from "./prune.ts";
import { isQueuePaused, readLimits } from "./queue.ts";
import {
	isCompiled,
	programCommand,
	programFile,
	quoteForShell,
} from "./self.ts";
import { iterateTasks, type UnreadableRecord } from "./store.ts";
import { isFinal, type Task } from "./task.ts";

/** What was found: in order, or with what mends it. */
export type Finding =
	| { ok: true; says: string }
	| { ok: false; says: string; fix: string };

type RunCheck = () => Finding | Promise<Finding>;

/** Each with what mends it where it cannot even look. */
const checks = {
	program: [checkProgram, () => "npm install -g bg-tasks"],
	droid: [checkDroid, suggestDroidFix],
	login: [checkLogin, () => "droid"],
	hooks: [checkHooks, () => formatFix("install")],
	store: [checkStore, suggestStoreFix],
	tasks: [checkTasks, suggestStoreFix],
	queue: [checkQueue, suggestStoreFix],
	locks: [checkLocks, suggestStoreFix],
	limits: [checkLimits, () => `unset ${Object.keys(readLimits({})).join(" ")}`],
	disk: [checkDisk, suggestStoreFix],
	faults: [checkFaults, suggestStoreFix],
} as const satisfies Record<string, readonly [RunCheck, () => string]>;

export type Check = keyof typeof checks;

/** Looks at everything, and changes nothing. */
export async function runChecks(): Promise<({ check: Check } & Finding)[]> {
	const all = Object.entries(checks).map(async ([check, [run, fix]]) => ({
		check: check as Check,
		...(await attemptCheck(run, fix)),
	}));
	return Promise.all(all);
}

// --- internal ---

/** How long droid may take to say its version, in ms. */
const versionTimeoutMs = 20_000;

/** Less free room than this, in bytes, and records soon cannot be written. */
const minFreeBytes = 64 * 2 ** 20;

const passed = (says: string): Finding => ({ ok: true, says });
const failed = (says: string, fix: string): Finding => ({
	ok: false,
	says,
	fix,
});

async function attemptCheck(
	run: RunCheck,
	fix: () => string,
): Promise<Finding> {
	try {
		return await run();
	} catch (error) {
		if (!isRefusal(error)) throw error;
		return failed(errorMessage(error), fix());
	}
}

const formatFix = (verb: string) => `${programCommand()} ${verb}`;

function checkProgram(): Finding {
	const { bun, deno, node } = process.versions as Record<
		string,
		string | undefined
	>;
	const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
	const form = isCompiled() ? "an executable" : "a script";
	return passed(`bg ${version}, ${form} on ${runtime}: ${programFile()}`);
}

// --- droid ---

async function checkDroid(): Promise<Finding> {
	const droid = findDroid();
	const env = { FACTORY_DROID_AUTO_UPDATE_ENABLED: "false" };
	const { stdout, exitCode } = await x(droid, ["--version"], {
		nodePath: false,
		timeout: versionTimeoutMs,
		nodeOptions: { env, stdio: ["ignore", "pipe", "ignore"] },
	});
	const said = toLine(stdout, 40);
	if (exitCode === 0 && said) return passed(`${said}: ${droid}`);
	return failed(
		`${droid} does not say its version (exit code ${exitCode ?? "none"})`,
		suggestDroidFix(),
	);
}

function suggestDroidFix(): string {
	return process.env.BG_DROID ? "unset BG_DROID" : "npm install -g droid";
}

const loginFiles = [
	"auth.v2.file",
	"auth.v2.keyring",
	"auth.v2.loginkeychain",
	"auth.encrypted",
];

function checkLogin(): Finding {
	if (process.env.FACTORY_API_KEY) return passed("FACTORY_API_KEY is set");
	const found = loginFiles.find((name) =>
		existsSync(join(droidFolder(), name)),
	);
	if (found)
		return passed(
			`there is a login (${found}); whether it holds, droid alone can tell`,
		);
	if (process.env.FACTORY_AIRGAP_ENABLED === "true")
		return passed("none, and FACTORY_AIRGAP_ENABLED needs none");
	return failed(
		"no login is to be seen: type /login in droid, or set FACTORY_API_KEY",
		"droid",
	);
}

function checkHooks(): Finding {
	const found = findInstallations();
	const [outdated] = found.filter(({ outdatedFile }) => outdatedFile);
	if (outdated)
		return failed(
			`not as this bg would install them: ${outdated.outdatedFile}`,
			formatFix(`install --${outdated.kind}`),
		);
	return found.length
		? passed(`installed: ${found.map(({ where }) => where).join(", ")}`)
		: failed("droid does not know bg", formatFix("install"));
}

// --- the directory ---

/** The directory; undefined where there is none yet. */
function openOwnStore(): Store | undefined {
	const store = openStore();
	return existsSync(store.dir) ? store : undefined;
}

/** Nobody else may write to any part of it; see assertOwned of files.ts. */
function suggestStoreFix(): string {
	if (!process.env.BG_DIR && !homeFolder())
		return 'export BG_DIR="$PWD/bg-tasks"';
	const dir = storeDir();
	const isFolder = existsSync(`${dir}/.`);
	return isFolder
		? `chmod -R u+rwX,go-w ${quoteForShell(dir)}`
		: "unset BG_DIR";
}

function checkStore(): Finding {
	const store = openOwnStore();
	if (!store) return passed(`none yet: ${storeDir()}`);
	const { dir } = store;
	const mode = statSync(dir).mode & 0o777;
	return mode & 0o077
		? failed(
				`${dir} can be read by others (mode ${mode.toString(8)})`,
				`chmod 700 ${quoteForShell(dir)}`,
			)
		: passed(`${dir}, for its owner alone`);
}

function checkTasks(): Finding {
	const store = openOwnStore();
	const unreadable: UnreadableRecord[] = [];
	const tasks = store ? [...iterateTasks(store, unreadable)] : [];
	const open = tasks.filter((task) => !isFinal(task));
	const [broken] = unreadable;
	if (store && broken) {
		const path = quoteForShell(recordFile(store, broken.taskId));
		return failed(
			`${unreadable.length} records cannot be read: ${broken.problem}`,
			`mv ${path} ${path}.broken`,
		);
	}
	const named = (wanted: string) =>
		open
			.filter((task) => checkSupervision(task) === wanted)
			.map(({ id }: Task) => id);
	const [lost, orphaned] = [named("lost"), named("orphaned")];
	if (lost.length)
		return failed(`lost: ${joinFirst(lost)}`, formatFix("prune"));
	if (orphaned.length)
		return failed(`nobody watches ${joinFirst(orphaned)}`, formatFix("prune"));
	const unclear = open.find((task) => checkSupervision(task) === "unclear");
	if (unclear)
		return failed(
			`${unclear.id}: ${describeSupervision(unclear, "unclear")}`,
			formatFix(`status ${unclear.id}`),
		);
	return passed(`${tasks.length}, ${open.length} not over, none lost`);
}

const joinFirst = (ids: readonly string[]) =>
	ids.slice(0, 5).join(" ") +
	(ids.length > 5 ? ` and ${ids.length - 5} more` : "");

function checkQueue(): Finding {
	const store = openOwnStore();
	return store && isQueuePaused(store)
		? failed("paused: nothing new starts", formatFix("unpause --queue"))
		: passed("open");
}

async function checkLocks(): Promise<Finding> {
	const store = openOwnStore();
	const held = store ? await findStuckLocks(store) : [];
	if (held.length === 0) return passed("none held for long");
	const says = held.slice(0, 5).map(({ says }) => says);
	if (held.length > says.length) says.push(`${held.length - 5} more`);
	return failed(
		`held for long: ${says.join(", ")}; if that is gone for good, or hangs:`,
		held.map(({ fix }) => fix).join(" && "),
	);
}

function checkLimits(): Finding {
	const given = Object.entries(readLimits()).map(
		([name, limit]) => `${name} ${Number.isFinite(limit) ? limit : "none"}`,
	);
	return passed(given.join(", "));
}

function checkDisk(): Finding {
	const store = openOwnStore();
	const at = store?.dir ?? homeFolder() ?? "/";
	const { bavail, bsize } = statfsSync(at);
	const [used, free] = [store ? measurePath(store.dir) : 0, bavail * bsize];
	const says = `${formatMebibytes(used)} used, ${formatMebibytes(free)} free`;
	return free < minFreeBytes
		? failed(says, formatFix("cleanup --delete --max-size 100M"))
		: passed(says);
}

/** What hooks and supervisors, who have nobody to tell, wrote down. */
function checkFaults(): Finding {
	const store = openOwnStore();
	if (!store) return passed("none noted");
	const lines = [logFile(store, "hook"), logFile(store, "supervisor")]
		.filter((path) => existsSync(path))
		// The last lines may have passed the limit of a log together.
		.flatMap((path) => readFile(store, path, 2 * maxFileBytes).split("\n"))
		.filter(Boolean);
	const last = lines.sort().at(-1);
	return passed(
		last ? `${lines.length} noted, the last: ${last}` : "none noted",
	);
}

const formatMebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** A file or all that is in a folder, in bytes. */
function measurePath(path: string): number {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (!status?.isDirectory()) return status?.size ?? 0;
	return readdirSync(path).reduce(
		(sum, name) => sum + measurePath(join(path, name)),
		0,
	);
}
