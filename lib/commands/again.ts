import { planResume, planRetry } from "../again.ts";
import { openStore } from "../directory.ts";
import { type Launched, launchPlans } from "../launch.ts";
import { settle } from "../prune.ts";
import { readTask, resolveId } from "../store.ts";
import type { Task } from "../task.ts";
import { defineVerb } from "../verb.ts";
import { answerFlags, tellLaunched } from "./launch.ts";

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
		...answerFlags,
	},
	run: ({ args }) => {
		const plan = planRetry(find(args.id));
		tellLaunched(launchPlans([plan])[0] as Launched, args);
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
		...answerFlags,
	},
	run: ({ args }) => {
		const plan = planResume(find(args.id), args.prompt, args.fork ?? false);
		tellLaunched(launchPlans([plan])[0] as Launched, args);
	},
});

// --- internal ---

function find(given: string): Task {
	const store = openStore({ write: true });
	return settle(store, readTask(store, resolveId(store, given)));
}
