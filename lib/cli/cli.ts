/**
 * Runs a verb: resolves its name, checks argv, runs it, and reports errors. A verb is loaded when it is
 * called. Returns an exit code; the entry point exits.
 */
import { existsSync } from "node:fs";
import type { ParsedArgs } from "citty";
import { version } from "../../package.json" with { type: "json" };
import {
	BgError,
	errorMessage,
	exitCodes,
	isRefusal,
	PrintError,
	usage,
} from "../error.ts";
import { isTerminal, toJson, toLine, writeAll } from "../print/text.ts";
import { waitForHolds } from "../process/runtime.ts";
import { insertProgramCommand } from "../process/self.ts";
import { openStore } from "../store/directory.ts";
import { jobsFolder, storeDir } from "../store/paths.ts";
import { type Args, selectFlags, tokenize } from "./arguments.ts";
import { warnOfEngine } from "./reply.ts";
import { checkCall, loadVerb, type Verb } from "./verb.ts";
import { verbs } from "./verbs.ts";

/** Runs one verb. A user error is reported in one line; a bug is thrown. */
export async function runCli(argv: readonly string[]): Promise<number> {
	const [first = "help", ...rest] = argv;
	const name = /^(--help|-h)$/.test(first) ? "help" : first;
	try {
		if (argv.length === 0 && isTerminal(1)) return await printOverview();
		return await runVerb(name, rest);
	} catch (error) {
		if (!isRefusal(error)) throw error;
		const text = errorMessage(error) + formatHint(name, error);
		// At a prompt `bg` may be the shell function of the completions. Programs and agents need the path.
		const hinted = isTerminal(1) ? text : insertProgramCommand(text, hintWords);
		const message = toLine(hinted, 2000);
		const asJson =
			!(error instanceof PrintError) && (await isJsonReply(name, rest));
		if (!asJson || !printError(message)) writeAll(2, `bg: ${message}\n`);
		return exitCodes[error instanceof BgError ? error.exit : "refused"];
	} finally {
		await waitForHolds();
	}
}

// --- internal ---

async function runVerb(name: string, argv: readonly string[]): Promise<number> {
	if (name === "--version" || name === "-v") {
		writeAll(1, `${version}\n`);
		return exitCodes.ok;
	}
	const verb = await loadVerb(verbs, name);
	const call = checkCall(verb, argv);
	if (call.values.help) return runVerb("help", [name]);
	if (call.values.json && call.values.text)
		throw usage("--json and --text cannot be combined");
	await loadEngine();
	const args = call.values as ParsedArgs<Args>;
	const context = { rawArgs: [...argv], args, cmd: verb, data: verbs };
	const result: unknown = await verb.run?.(context);
	warnOfEngine();
	if (typeof result === "number") return result;
	return result === false ? exitCodes.failed : exitCodes.ok;
}

/** Loads the engine if the store had launches with one. A store that is refused is the verb's to report. */
async function loadEngine(): Promise<void> {
	try {
		if (!existsSync(jobsFolder({ dir: storeDir() }))) return;
		const { openEngine } = await import("../prune/withdraw.ts");
		await openEngine(openStore());
	} catch (error) {
		if (!isRefusal(error)) throw error;
	}
}

/** Without a verb: what runs and as much else as fits the screen, how many more there are, and the next steps. */
async function printOverview(): Promise<number> {
	const { readTerminalSize } = await import("../print/terminal.ts");
	const limit = Math.max(1, readTerminalSize().rows - 6);
	const code = await runVerb("list", ["--text", "--limit", String(limit)]);
	writeAll(1, "bg watch shows them live, bg --help lists the verbs\n");
	return code;
}

/** Prints an error as JSON on stdout. @returns false if stdout cannot be written or nobody reads it. */
function printError(message: string): boolean {
	try {
		return writeAll(1, `${toJson({ error: message })}\n`);
	} catch (error) {
		if (error instanceof PrintError) return false;
		throw error;
	}
}

/** The words that follow `bg` in a command that a message suggests. */
const hintWords = [...Object.keys(verbs), "--help"];

/** Flags that make a reply text even in a pipe; `-q` counts for an unknown verb too. */
const textFlags = ["quiet", "-q", "raw", "follow"];

/** Whether the reply of a call is JSON; its error is then JSON on stdout, else text on stderr. */
async function isJsonReply(name: string, argv: readonly string[]) {
	const isKnown = Object.hasOwn(verbs, name);
	const { args, repliesInText } = isKnown
		? await loadVerb(verbs, name)
		: ({} as Partial<Verb>);
	if (args && !("json" in args)) return false;
	const given = new Map<string, string | undefined>();
	for (const token of tokenize(selectFlags(args ?? {}), argv))
		if (token.kind === "flag") given.set(token.name, token.value);
	if (textFlags.some((flag) => given.has(flag))) return false;
	const format = given.get("format");
	if (format !== undefined) return format.startsWith("json");
	if (given.has("json")) return true;
	return !repliesInText && !given.has("text") && !isTerminal(1);
}

/** The command to type next, unless the message names one. */
function formatHint(name: string, error: unknown): string {
	const isUsage = error instanceof BgError && error.exit === "usage";
	if (!isUsage || !Object.hasOwn(verbs, name)) return "";
	const hasHint = /did you mean|[(:] ?bg /.test(error.message);
	return hasHint ? "" : ` (bg ${name} --help)`;
}
