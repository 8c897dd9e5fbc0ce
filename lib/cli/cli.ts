/**
 * From argv to a verb: which one is called, and how a fault is told. A verb is loaded when it is
 * called. Returns an exit code; the door exits.
 */
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
import { insertProgramCommand } from "../process/self.ts";
import { parseArguments, selectFlags, tokenize } from "./arguments.ts";
import { findVerb, loadVerb } from "./verb.ts";
import { verbs } from "./verbs.ts";

/** Runs one verb. Faults of the user's are told in one line; a bug is thrown. */
export async function runCli(argv: readonly string[]): Promise<number> {
	const name = resolveVerbName(argv[0]);
	try {
		if (argv.length === 0 && isTerminal(1)) return await printOverview();
		return await runVerb(name, argv.slice(1));
	} catch (error) {
		if (!isRefusal(error)) throw error;
		const text = errorMessage(error) + formatHint(name, error);
		// Who types `bg` at a prompt may have the shell's functions; a program or an agent has not.
		const hinted = isTerminal(1) ? text : insertProgramCommand(text, hintWords);
		const message = toLine(hinted, 2000);
		writeAll(2, `bg: ${message}\n`);
		const isPrintable = !(error instanceof PrintError);
		if (isPrintable && (await isJsonReply(name, argv.slice(1))))
			printFault(message);
		return exitCodes[error instanceof BgError ? error.exit : "refused"];
	}
}

// --- internal ---

/** The verb that was called; flags that stand for it, and nothing, are help. */
const resolveVerbName = (first: string | undefined) =>
	first === undefined || first === "--help" || first === "-h" ? "help" : first;

async function runVerb(name: string, argv: readonly string[]): Promise<number> {
	if (name === "--version" || name === "-v") {
		writeAll(1, `${version}\n`);
		return exitCodes.ok;
	}
	const verb = await loadVerb(verbs, name);
	const args = verb.read
		? verb.read(argv)
		: parseArguments(name, verb.args, argv);
	if (args.help) return runVerb("help", [name]);
	if (args.json && args.text)
		throw usage("--json and --text do not go together");
	const code = await verb.run?.({ args: args as never, verbs });
	return typeof code === "number" ? code : exitCodes.ok;
}

/** Without a verb: the newest tasks, as many as the screen holds, and where to go on. */
async function printOverview(): Promise<number> {
	const { readTerminalSize } = await import("../print/terminal.ts");
	const limit = Math.max(1, readTerminalSize().rows - 6);
	const code = await runVerb("list", ["--text", "--limit", String(limit)]);
	writeAll(1, "bg watch shows them live, bg --help lists the verbs\n");
	return code;
}

/** Prints a fault as JSON on stdout. A failure is ignored: stderr has told the fault. */
function printFault(message: string): void {
	try {
		writeAll(1, `${toJson({ error: message })}\n`);
	} catch (error) {
		if (!(error instanceof PrintError)) throw error;
	}
}

/** What may follow `bg` where a message says what to type. */
const hintWords = [...Object.keys(verbs), "--help"];

/** Flags with which an answer is text, whoever reads it; `-q` also where no verb says what it is. */
const textFlags = ["quiet", "-q", "raw", "follow"];

/** Whether a call is answered in JSON: then a fault of it is, too. */
async function isJsonReply(
	name: string,
	argv: readonly string[],
): Promise<boolean> {
	const verb = Object.hasOwn(verbs, name) ? findVerb(verbs, name) : undefined;
	const args = (await verb?.load())?.default.args;
	if (args && !("json" in args)) return false;
	const given = new Map<string, string | undefined>();
	for (const token of tokenize(selectFlags(args ?? {}), argv))
		if (token.kind === "flag") given.set(token.name, token.value);
	if (textFlags.some((flag) => given.has(flag))) return false;
	const format = given.get("format");
	if (format !== undefined) return format.startsWith("json");
	return given.has("json") || (!given.has("text") && !isTerminal(1));
}

/** What to type next, where the message does not say it itself. */
function formatHint(name: string, error: unknown): string {
	const isUsage = error instanceof BgError && error.exit === "usage";
	if (!isUsage || !Object.hasOwn(verbs, name)) return "";
	const hasHint = /did you mean|[(:] ?bg /.test(error.message);
	return hasHint ? "" : ` (bg ${name} --help)`;
}
