import {
	joinValues,
	readArguments,
	splitAtDashes,
	valuesOf,
} from "../arguments.ts";
import { BgError } from "../error.ts";
import { type Launched, launchPlans, planCommand } from "../launch.ts";
import { defineVerb } from "../verb.ts";
import { launchFlags, optionsOf, tellLaunched } from "./launch.ts";

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

export const run = defineVerb({
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
	read: readRun,
	run: ({ args: parsed }) => {
		const plan = planCommand({
			...optionsOf(parsed),
			command: valuesOf(parsed.command),
		});
		tellLaunched(launchPlans([plan])[0] as Launched, parsed);
	},
});

/** What stands behind `--` is the command, untouched. */
function readRun(argv: readonly string[]) {
	const [before, command] = splitAtDashes(argv);
	const parsed = readArguments("run", argsBefore, before);
	if (parsed.help) return parsed;
	if (!command?.length)
		throw new BgError(
			"usage",
			"no command to run: bg run <description> -- <command…>",
		);
	return { ...parsed, command: joinValues(command) };
}
