/**
 * The verbs: which there are, how their arguments are read, and how a fault is told. A verb is
 * loaded when it is called. Returns an exit code; the door exits.
 */
import type { ArgsDef, CommandDef } from "citty";
import { version } from "../package.json" with { type: "json" };
import { type Parsed, readArguments, suggest } from "./arguments.ts";
import { BgError, exitCodes, isSystemError, messageOf } from "./error.ts";
import { isTerminal, toJson, toLine, toPlain, writeAll } from "./print.ts";

type Verb = {
	// biome-ignore lint/suspicious/noExplicitAny: citty's own type for a command of any arguments
	command: CommandDef<any>;
	/** Where the verb's arguments do not follow the common rule. */
	read?: (argv: readonly string[]) => Parsed;
};

const verbs: Record<string, () => Promise<Verb>> = {
	launch: async () => {
		const { launch, readLaunch } = await import("./commands/launch.ts");
		return { command: launch, read: readLaunch };
	},
	run: async () => {
		const { run, readRun } = await import("./commands/run.ts");
		return { command: run, read: readRun };
	},
	list: async () => ({ command: (await import("./commands/list.ts")).list }),
	status: async () => ({
		command: (await import("./commands/status.ts")).status,
	}),
	output: async () => ({
		command: (await import("./commands/output.ts")).output,
	}),
	wait: async () => ({ command: (await import("./commands/wait.ts")).wait }),
	watch: async () => ({ command: (await import("./commands/watch.ts")).watch }),
	cancel: async () => ({
		command: (await import("./commands/cancel.ts")).cancel,
	}),
	resume: async () => ({
		command: (await import("./commands/again.ts")).resume,
	}),
	retry: async () => ({ command: (await import("./commands/again.ts")).retry }),
	pause: async () => ({ command: (await import("./commands/pause.ts")).pause }),
	unpause: async () => ({
		command: (await import("./commands/pause.ts")).unpause,
	}),
	prune: async () => ({ command: (await import("./commands/prune.ts")).prune }),
	cleanup: async () => ({
		command: (await import("./commands/cleanup.ts")).cleanup,
	}),
	complete: async () => ({
		command: (await import("./commands/complete.ts")).complete,
	}),
	hook: async () => ({ command: (await import("./commands/hook.ts")).hook }),
	"hook-complete": async () => ({
		command: (await import("./commands/hook.ts")).hookComplete,
	}),
};

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
	const [name, ...rest] = argv;
	if (name === undefined && isTerminal(1)) return printHome();
	if (
		name === undefined ||
		name === "--help" ||
		name === "-h" ||
		name === "help"
	)
		return printHelp(rest[0]);
	if (name === "--version" || name === "-v") {
		writeAll(1, `${version}\n`);
		return exitCodes.ok;
	}
	const load = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
	if (!load) {
		const help = suggest(name, Object.keys(verbs)) || " (bg --help lists them)";
		throw new BgError(
			"usage",
			`there is no verb ${JSON.stringify(name)}${help}`,
		);
	}
	const { command, read } = await load();
	const definitions = command.args as ArgsDef;
	const args = read ? read(rest) : readArguments(name, definitions, rest);
	if (args.help) return printHelp(name);
	const code = await command.run?.({
		rawArgs: rest,
		args: args as never,
		cmd: command,
	});
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

async function printHelp(verb: string | undefined): Promise<number> {
	const { defineCommand, renderUsage } = await import("citty");
	const entries = Object.entries(verbs).map(async ([name, load]) => [
		name,
		(await load()).command,
	]);
	const bg = defineCommand({
		meta: {
			name: "bg",
			version,
			description: "Background tasks for coding agents",
		},
		subCommands: Object.fromEntries(await Promise.all(entries)),
	});
	const command =
		verb && Object.hasOwn(verbs, verb) ? (await verbs[verb]?.())?.command : bg;
	const usage = await (command === bg
		? renderUsage(bg)
		: renderUsage(command ?? bg, bg));
	const plain = !isTerminal(1) || process.env.NO_COLOR;
	const shown = usage.replace("<COMMAND>", "-- <COMMAND…>");
	writeAll(1, `${plain ? toPlain(shown) : shown}\n`);
	return exitCodes.ok;
}
