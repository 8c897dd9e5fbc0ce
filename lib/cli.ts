/**
 * From argv to a verb: which one is called, and how a fault is told. A verb is loaded when it is
 * called. Returns an exit code; the door exits.
 */
import { version } from "../package.json" with { type: "json" };
import { readArguments } from "./arguments.ts";
import { BgError, exitCodes, isSystemError, messageOf } from "./error.ts";
import { isTerminal, toJson, toLine, writeAll } from "./print.ts";
import { findVerb } from "./verb.ts";
import { verbs } from "./verbs.ts";

/** Runs one verb. Faults of the user's are told in one line; a bug is thrown. */
export async function cli(argv: readonly string[]): Promise<number> {
	try {
		return await runVerb(argv);
	} catch (error) {
		if (!(error instanceof BgError) && !isSystemError(error)) throw error;
		const message = toLine(messageOf(error), 2000);
		if (argv.includes("--json") || !isTerminal(1))
			writeAll(1, `${toJson({ error: message })}\n`);
		writeAll(2, `bg: ${message}\n`);
		return exitCodes[error instanceof BgError ? error.exit : "refused"];
	}
}

// --- internal ---

async function runVerb(argv: readonly string[]): Promise<number> {
	const [first, ...rest] = argv;
	if (first === undefined && isTerminal(1)) return printHome();
	if (first === "--version" || first === "-v") {
		writeAll(1, `${version}\n`);
		return exitCodes.ok;
	}
	const name =
		first === undefined || first === "--help" || first === "-h"
			? "help"
			: first;
	const verb = await findVerb(verbs, name).load();
	const args = verb.read
		? verb.read(rest)
		: readArguments(name, verb.args, rest);
	if (args.help && name !== "help") return runVerb(["help", name]);
	const code = await verb.run?.({ args: args as never, verbs });
	return typeof code === "number" ? code : exitCodes.ok;
}

/** Without a verb: the newest tasks, as many as the screen holds, and where to go on. */
async function printHome(): Promise<number> {
	const { terminalSize } = await import("./terminal.ts");
	const limit = Math.max(1, terminalSize().rows - 6);
	const code = await runVerb(["list", "--text", "--limit", String(limit)]);
	writeAll(1, "bg watch shows them live, bg --help lists the verbs\n");
	return code;
}
