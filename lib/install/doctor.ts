/**
 * The checks of `bg doctor`: what bg needs of this machine, of droid and of its own directory.
 * Nothing is changed. Each failed check has a command that fixes it; if a command is not enough,
 * `says` names what else to do.
 *
 * Measured on droid 0.215.0: a login is one of several `auth.*` files beside droid's settings, and
 * only droid can read them; `droid --version` takes half a second and writes nothing.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { x } from "tinyexec";
import { version } from "../../package.json" with { type: "json" };
import { findDroid } from "../droid/definitions/find.ts";
import { errorMessage, isRefusal } from "../error.ts";
import { toLine } from "../print/text.ts";
import { isCompiled, programFile, quoteForShell } from "../process/self.ts";
import { readLimits } from "../spawn/limits.ts";
import { jobsFolder, type Store, storeDir } from "../store/paths.ts";
import { findInstallations, type Installation } from "./detect.ts";
import { checkLocks } from "./doctor-locks.ts";
import {
	checkDisk,
	checkFaults,
	checkQueue,
	checkStore,
	checkStoreLimits,
	checkTasks,
	findStore,
	suggestStoreFix,
} from "./doctor-store.ts";
import { droidFolder } from "./droid-files.ts";
import { type Finding, formatFix } from "./finding.ts";

type Check = {
	run: () => Finding | Promise<Finding>;
	/** The fix if the check itself is refused, as in a store that cannot be opened. */
	fix: () => string;
};

/** In the order of the answer. */
const checks = {
	program: { run: checkProgram, fix: () => "npm run build" },
	droid: { run: checkDroid, fix: suggestDroidFix },
	login: { run: checkLogin, fix: () => "droid" },
	hooks: { run: checkHooks, fix: () => formatFix("install") },
	store: inStore(checkStore),
	tasks: inStore(checkTasks),
	queue: inStore(checkQueue),
	engine: inStore(checkEngine),
	locks: inStore(checkLocks),
	limits: { run: checkLimits, fix: suggestLimitsFix },
	disk: inStore(checkDisk),
	faults: inStore(checkFaults),
} satisfies Record<string, Check>;

type CheckResult = Finding & { check: string; ok: boolean };

/** Runs every check and changes nothing. */
export const runChecks = () =>
	Promise.all(
		listChecks().map(async ([check, each]): Promise<CheckResult> => {
			const { fix, ...finding } = await runCheck(each);
			return { check, ok: fix === undefined, ...finding, fix };
		}),
	);

// --- internal ---

/** The engine is checked only where one is in use. */
const listChecks = () =>
	Object.entries<Check>(checks).filter(
		([name]) => name !== "engine" || isEngineUsed(),
	);

function isEngineUsed(): boolean {
	if (!["", "local"].includes(process.env.BG_ENGINE ?? "")) return true;
	try {
		return existsSync(jobsFolder({ dir: storeDir() }));
	} catch (error) {
		// Without a home there is no store, which is another check's to say.
		if (!isRefusal(error)) throw error;
		return false;
	}
}

async function checkEngine(store: Store | undefined): Promise<Finding> {
	const { checkEngine: parseEngine } = await import("../engine/arguments.ts");
	parseEngine({});
	const { inspectEngine } = await import("../engine/inspect.ts");
	const { says, isFaulty } = inspectEngine(store);
	if (!isFaulty) return { says };
	const isByVariable = Boolean(process.env.BG_ENGINE);
	return { says, fix: isByVariable ? "unset BG_ENGINE" : "scontrol ping" };
}

/** How long `droid --version` may take, in ms. */
const versionTimeoutMs = 20_000;

async function runCheck({ run, fix }: Check): Promise<Finding> {
	try {
		return await run();
	} catch (error) {
		if (!isRefusal(error)) throw error;
		return { says: errorMessage(error), fix: fix() };
	}
}

/** A check of the store, which gets undefined if there is no store yet. */
function inStore(
	check: (store: Store | undefined) => Finding | Promise<Finding>,
) {
	return { run: () => check(findStore()), fix: suggestStoreFix };
}

function checkProgram(): Finding {
	const { bun, deno, node }: NodeJS.Dict<string> = process.versions;
	const runtime = bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`;
	const form = isCompiled() ? "an executable" : "a script";
	return { says: `bg ${version}, ${form} on ${runtime}: ${programFile()}` };
}

async function checkDroid(): Promise<Finding> {
	const droid = findDroid();
	const env = { FACTORY_DROID_AUTO_UPDATE_ENABLED: "false" };
	const { stdout, exitCode } = await x(droid, ["--version"], {
		nodePath: false,
		timeout: versionTimeoutMs,
		nodeOptions: { env, stdio: ["ignore", "pipe", "ignore"] },
	});
	const printed = toLine(stdout, 40);
	return exitCode === 0 && printed
		? { says: `${printed}: ${droid}` }
		: {
				says: `${droid} --version printed no version (exit code ${exitCode ?? "none"})`,
				fix: suggestDroidFix(),
			};
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
	if (process.env.FACTORY_API_KEY) return { says: "FACTORY_API_KEY is set" };
	const found = loginFiles.find((name) =>
		existsSync(join(droidFolder(), name)),
	);
	if (found) return { says: `${found} exists (only droid can verify it)` };
	if (process.env.FACTORY_AIRGAP_ENABLED === "true")
		return { says: "none; FACTORY_AIRGAP_ENABLED requires none" };
	return {
		says: "no login found: type /login in droid, or set FACTORY_API_KEY",
		fix: "droid",
	};
}

function checkHooks(): Finding {
	const found = findInstallations();
	const outdated = found.find(({ outdatedFile }) => outdatedFile);
	if (outdated) return describeOutdated(outdated);
	return found.length
		? { says: `installed: ${found.map(({ location }) => location).join(", ")}` }
		: { says: "not installed", fix: formatFix("install") };
}

/** Droid has a copy of a plugin: `install --plugin` prints the commands that update it. */
function describeOutdated(found: Installation): Finding {
	const { kind, location, outdatedFile, marketplace } = found;
	const says = `out of date: ${outdatedFile}`;
	if (kind !== "plugin") return { says, fix: formatFix(`install --${kind}`) };
	return marketplace
		? {
				says: `${says} (then run the commands that install prints)`,
				fix: formatFix(`install --plugin ${quoteForShell(marketplace)}`),
			}
		: { says, fix: `droid ${location.replace(" ", " update ")}` };
}

function checkLimits(): Finding {
	const given = Object.entries(readLimits()).map(
		([name, limit]) => `${name} ${Number.isFinite(limit) ? limit : "none"}`,
	);
	return checkStoreLimits(findStore(), given.join(", "));
}

function suggestLimitsFix(): string {
	return `unset ${Object.keys(readLimits({})).join(" ")}`;
}
