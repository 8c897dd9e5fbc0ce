import { dropJobs } from "../../control/cancel/jobs.ts";
import { loadedEngine } from "../../engine/engine.ts";
import { usage } from "../../error.ts";
import { truncateBytes } from "../../print/text.ts";
import { resumeTree } from "../../process/process-tree.ts";
import { unlessUnknown } from "../../process/system.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { followEnds } from "../../spawn/dependencies.ts";
import { openStore } from "../../store/directory.ts";
import { readTask, resolveTaskId, updateTask } from "../../store/records.ts";
import { maxResultBytes, type Task } from "../../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../../task/states.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb, optional, required } from "../verb.ts";

export default defineVerb({
	name: "complete",
	description: "Record a task's result, without ending its process",
	group: "control",
	examples: {
		'bg complete @last "It works."': "the task ends as completed",
		'bg complete @last "" "It does not build."': "the task ends as error",
	},
	args: {
		id: required("task id", { from: "unfinished" }),
		result: required("the result"),
		error: optional("the error; the task then ends as error"),
		...formatFlags,
	},
	run: async ({ args }) => {
		if (`${args.result}${args.error ?? ""}`.includes("\uFFFD"))
			throw usage("the result is not valid UTF-8");
		const store = openStore({ write: true });
		const id = resolveTaskId(store, args.id, { unfinished: true });
		reconcileTask(store, readTask(store, id));
		let changed = false;
		const task = updateTask(store, id, (now) => {
			if (isFinal(now) || now.stop) return undefined;
			changed = true;
			return finishTask(now, {
				reason: "manual",
				failed: Boolean(args.error),
				at: timestamp(),
				...(args.error && { error: args.error }),
				facts: { result: truncateBytes(args.result, maxResultBytes, "first") },
			});
		});
		if (changed && task.paused_at) unlessUnknown(() => resumeTree(task));
		const isPending = task.engine && task.started_at === undefined;
		if (changed && isPending) await dropJobs(store, [task]);
		else if (changed) {
			await followEnds(store, [id]);
			if (task.engine) void loadedEngine()?.ring([task]);
		}
		const json = { id, taskId: id, status: task.status, completed: changed };
		reply(args, json, () =>
			changed ? `${id} is ${task.status}` : `${id} ${describeUnchanged(task)}`,
		);
		return changed;
	},
});

// --- internal ---

const describeUnchanged = (task: Task) =>
	isFinal(task) ? `was already ${task.status}` : "is being stopped";
