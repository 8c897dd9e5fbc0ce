/**
 * Whether all is well: what bg needs of this machine, of droid and of its own directory, each looked
 * at and nothing changed. What is not well names the command that mends it; where more is to be
 * done than a command can, what was found says so.
 *
 * Measured on droid 0.215.0: a login is one of some `auth.*` files beside its settings, which droid
 * alone can read; `--version` takes half a second and writes nothing.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { x } from "tinyexec";
import { version } from "../../package.json" with { type: "json" };
import { findDroid } from "../droid/find.ts";
import { errorMessage, isRefusal } from "../error.ts";
import { toLine } from "../print/text.ts";
import { isCompiled, programFile } from "../process/self.ts";
import { readLimits } from "../spawn/limits.ts";
import { findInstallations } from "./detect.ts";
import { findStuckLocks } from "./doctor-locks.ts";
import {
	checkDisk,
	checkFaults,
	checkLimits,
	checkQueue,
	checkStore,
	checkTasks,
	openOwnStore,
	suggestStoreFix,
} from "./doctor-store.ts";
import { droidFolder } from "./droid-files.ts";
import { type Finding, failed, formatFix, passed } from "./finding.ts";

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

function checkProgram(): Finding {
	const { bun, deno, node } = process.versions as Record<
		string,
		string | undefined
	>;
	const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
	const form = isCompiled() ? "an executable" : "a script";
	return passed(`bg ${version}, ${form} on ${runtime}: ${programFile()}`);
}

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
