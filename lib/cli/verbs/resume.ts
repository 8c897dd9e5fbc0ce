import { type LaunchResult, launchPlans } from "../../control/launch.ts";
import { planResume } from "../../control/rerun.ts";
import { launchReplyFlags, replyLaunched } from "../launch-flags.ts";
import { defineVerb } from "../verb.ts";
import { readFinished } from "./retry.ts";

export default defineVerb({
	meta: {
		name: "resume",
		description: "Carry on the session of a droid that is done, as a new task",
	},
	examples: [
		[
			'bg resume @last "Now write a test for it."',
			"the newest droid goes on where it stopped",
		],
	],
	args: {
		id: {
			type: "positional",
			required: true,
			from: "tasks",
			description: "a task id",
		},
		prompt: {
			type: "positional",
			required: true,
			description: "what the droid shall do now",
		},
		fork: {
			type: "boolean",
			description: "in a copy of the session, which itself stays as it is",
		},
		...launchReplyFlags,
	},
	run: ({ args }) => {
		const plan = planResume(
			readFinished(args.id),
			args.prompt,
			args.fork ?? false,
		);
		replyLaunched(launchPlans([plan])[0] as LaunchResult, args);
	},
});
