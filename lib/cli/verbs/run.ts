import { planCommand } from "../../control/launch/plan.ts";
import { usage } from "../../error.ts";
import { quoteForShell } from "../../process/self.ts";
import {
	type CheckedCall,
	checkArguments,
	joinValues,
	selectFlags,
	splitValues,
	tokenize,
} from "../arguments.ts";
import {
	launchAndReply,
	launchFlags,
	toLaunchOptions,
} from "../launch-flags.ts";
import { defineVerb, required } from "../verb.ts";

const args = {
	description: required("what the task is about, in a few words"),
	command: required("the program and its arguments, unchanged", {
		multiple: true,
		dashes: true,
		from: "commands",
	}),
	...launchFlags,
} as const;

const { command: _, ...argsBefore } = args;

export default defineVerb({
	name: "run",
	description: "Start a command, in the background",
	group: "start",
	examples: {
		'bg run "build" -- make -j8': "starts make -j8",
		"git diff | bg run --stdin - 'lint' -- sh check.sh":
			"it reads what is piped in; bg returns at once",
		'bg run --wait "test" -- npm test':
			"ends with the result and the exit code of the command",
		'bg run --timeout 10m --after @last "test" -- npm test':
			"starts when the newest task has completed",
	},
	args,
	read: parseRun,
	run: ({ args: parsed }) => {
		const plan = planCommand({
			...toLaunchOptions(parsed),
			command: splitValues(parsed.command),
		});
		return launchAndReply([{ plan }], parsed);
	},
});

/** Everything after the first `--` is the command, unchanged. */
function parseRun(argv: readonly string[]): CheckedCall {
	const dashes = argv.indexOf("--");
	const end = dashes < 0 ? argv.length : dashes;
	const before = argv.slice(0, end);
	const isWord = ({ kind }: { kind: string }) => kind === "positional";
	const [, second] = tokenize(selectFlags(args), before).filter(isWord);
	if (second?.kind === "positional") {
		const words = [...before.slice(0, second.index), "--"].concat(
			before.slice(second.index),
			argv.slice(end + 1),
		);
		throw usage(
			`put -- before the command: bg run ${words.map(quoteForShell).join(" ")}`,
		);
	}
	const call = checkArguments("run", argsBefore, before);
	if (call.values.help) return call;
	const command = argv.slice(end + 1);
	if (command.length === 0)
		throw usage("no command to run: bg run <description> -- <command…>");
	return { args, values: { ...call.values, command: joinValues(command) } };
}
