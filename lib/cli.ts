/**
 * From argv to a verb: which one is called, and how a fault is told. A verb is loaded when it is
 * called. Returns an exit code; the door exits.
 */
import { version } from "../package.json" with { type: "json" };
import { readArguments } from "./arguments.ts";
import { BgError, exitCodes, isRefusal, messageOf } from "./error.ts";
import { isTerminal, toJson, toLine, writeAll } from "./print.ts";
import { findVerb } from "./verb.ts";
import { verbs } from "./verbs.ts";

/** Runs one verb. Faults of the user's are told in one line; a bug is thrown. */
export async function cli(argv: readonly string[]): Promise<number> {
	const name = nameOf(argv[0]);
	try {
		if (argv.length === 0 && isTerminal(1)) return await printHome();
		return await runVerb(name, argv.slice(1));
	} catch (error) {
		if (!isRefusal(error)) throw error;
		const message = toLine(messageOf(error) + wayOut(name, error), 2000);
		if (argv.includes("--json") || !isTerminal(1))
			writeAll(1, `${toJson({ error: message })}\n`);
		writeAll(2, `bg: ${message}\n`);
		return exitCodes[error instanceof BgError ? error.exit : "refused"];
	}
}

// --- internal ---

/** The verb that was called; flags that stand for it, and nothing, are help. */
const nameOf = (first: string | undefined) =>
	first === undefined || first === "--help" || first === "-h" ? "help" : first;

async function runVerb(name: string, argv: readonly string[]): Promise<number> {
	if (name === "--version" || name === "-v") {
		writeAll(1, `${version}\n`);
		return exitCodes.ok;
	}
	const verb = await findVerb(verbs, name).load();
	const args = verb.read
		? verb.read(argv)
		: readArguments(name, verb.args, argv);
	if (args.help) return runVerb("help", [name]);
	const code = await verb.run?.({ args: args as never, verbs });
	return typeof code === "number" ? code : exitCodes.ok;
}

/** Without a verb: the newest tasks, as many as the screen holds, and where to go on. */
async function printHome(): Promise<number> {
	const { terminalSize } = await import("./terminal.ts");
	const limit = Math.max(1, terminalSize().rows - 6);
	const code = await runVerb("list", ["--text", "--limit", String(limit)]);
	writeAll(1, "bg watch shows them live, bg --help lists the verbs\n");
	return code;
}

/** What to type next, where the message does not say it itself. */
function wayOut(name: string, error: unknown): string {
	const isUsage = error instanceof BgError && error.exit === "usage";
	if (!isUsage || !Object.hasOwn(verbs, name)) return "";
	const says = /did you mean|[(:] ?bg /.test(error.message);
	return says ? "" : ` (bg ${name} --help)`;
}
