import { answer, formatFlags } from "../answer.ts";
import { openStore } from "../directory.ts";
import { BgError, exitCodes } from "../error.ts";
import { cutBytes } from "../print.ts";
import { settle } from "../prune.ts";
import { readTask, resolveId, updateTask } from "../store.ts";
import {
	finish,
	isFinal,
	maxResultBytes,
	type Task,
	timestamp,
} from "../task.ts";
import { defineVerb } from "../verb.ts";

export const complete = defineVerb({
	meta: {
		name: "complete",
		description: "Say what came out of a task (this does not end its process)",
	},
	examples: [
		['bg complete @last "It works."', "ends the task as completed"],
		['bg complete @last "" "It does not build."', "ends the task as error"],
	],
	args: {
		id: {
			type: "positional",
			required: true,
			from: "unfinished",
			description: "a task id",
		},
		result: {
			type: "positional",
			required: true,
			description: "what came out",
		},
		error: {
			type: "positional",
			required: false,
			description: "what went wrong: the task ends as error",
		},
		...formatFlags,
	},
	run: ({ args }) => {
		if (`${args.result}${args.error ?? ""}`.includes("\uFFFD"))
			throw new BgError(
				"usage",
				"the result arrived broken (it was not UTF-8)",
			);
		const store = openStore({ write: true });
		const id = resolveId(store, args.id);
		settle(store, readTask(store, id));
		let changed = false;
		const task = updateTask(store, id, (now) => {
			if (isFinal(now) || now.stop) return undefined;
			changed = true;
			return finish(now, {
				reason: "manual",
				failed: Boolean(args.error),
				at: timestamp(),
				...(args.error && { error: args.error }),
				facts: { result: cutBytes(args.result, maxResultBytes, "first") },
			});
		});
		const json = { taskId: id, status: task.status, completed: changed };
		answer(args, json, () =>
			changed ? `${id} is ${task.status}` : `${id} ${alreadyOf(task)}`,
		);
		return changed ? exitCodes.ok : exitCodes.failed;
	},
});

// --- internal ---

const alreadyOf = (task: Task) =>
	isFinal(task) ? `was already ${task.status}` : "is being stopped";
