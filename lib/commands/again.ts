import { planResume, planRetry } from "../again.ts";
import { openStore } from "../directory.ts";
import { type LaunchResult, launchPlans } from "../launch.ts";
import { reconcileTask } from "../prune.ts";
import { readTask, resolveTaskId } from "../store.ts";
import type { Task } from "../task.ts";
import { defineVerb } from "../verb.ts";
import { launchReplyFlags, replyLaunched } from "./launch.ts";

export const retry = defineVerb({
	meta: {
		name: "retry",
		description: "Launch the same task again, as a new one",
	},
	examples: [["bg retry @last", "the same again, as a new task"]],
	args: {
		id: {
			type: "positional",
			required: true,
			from: "tasks",
			description: "a task id",
		},
		...launchReplyFlags,
	},
	run: ({ args }) => {
		const plan = planRetry(readFinished(args.id));
		replyLaunched(launchPlans([plan])[0] as LaunchResult, args);
	},
});

export const resume = defineVerb({
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

// --- internal ---

function readFinished(given: string): Task {
	const store = openStore({ write: true });
	return reconcileTask(store, readTask(store, resolveTaskId(store, given)));
}
