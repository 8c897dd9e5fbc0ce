import { type LaunchResult, launchPlans } from "../../control/launch.ts";
import { planCommand } from "../../control/plan.ts";
import { usage } from "../../error.ts";
import {
	joinValues,
	parseArguments,
	splitAtDashes,
	splitValues,
} from "../arguments.ts";
import {
	launchFlags,
	replyLaunched,
	toLaunchOptions,
} from "../launch-flags.ts";
import { defineVerb } from "../verb.ts";

const args = {
	description: {
		type: "positional",
		required: true,
		description: "what it is about, in a few words",
	},
	command: {
		type: "positional",
		required: true,
		multiple: true,
		dashes: true,
		from: "commands",
		description: "the program and its arguments, untouched",
	},
	...launchFlags,
} as const;

const { command: _, ...argsBefore } = args;

export default defineVerb({
	meta: {
		name: "run",
		description: "Start a command in the background and return at once",
	},
	examples: [
		['bg run "build" -- make -j8', "a command, as it stands behind --"],
		[
			'bg run --timeout 10m --after @last "test" -- npm test',
			"once the newest task completed",
		],
	],
	args,
	read: parseRun,
	run: ({ args: parsed }) => {
		const plan = planCommand({
			...toLaunchOptions(parsed),
			command: splitValues(parsed.command),
		});
		replyLaunched(launchPlans([plan])[0] as LaunchResult, parsed);
	},
});

/** What stands behind `--` is the command, untouched. */
function parseRun(argv: readonly string[]) {
	const [before, command] = splitAtDashes(argv);
	const parsed = parseArguments("run", argsBefore, before);
	if (parsed.help) return parsed;
	if (!command?.length)
		throw usage("no command to run: bg run <description> -- <command…>");
	return { ...parsed, command: joinValues(command) };
}
