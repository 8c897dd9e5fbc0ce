/** Tasks as verbs read them: those that a person named, and what is shown of each. */
import { addProgress } from "../droid/task-output.ts";
import type { ReportedTask } from "../print/report.ts";
import { reconcileTask, reconcileTasks } from "../prune/reconcile.ts";
import { describeNote } from "../prune/supervision.ts";
import { openStore } from "../store/directory.ts";
import type { Store } from "../store/paths.ts";
import {
	iterateTasks,
	readTask,
	resolveTaskId,
	type UnreadableRecord,
} from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { splitValues } from "./arguments.ts";
import { warn } from "./reply.ts";

/** Opens the store, and reconciles the task that a person named. @throws BgError. */
export function openTask(given: string, options?: { write: boolean }) {
	const store = openStore(options);
	const id = resolveTaskId(store, given);
	return { store, task: reconcileTask(store, readTask(store, id)) };
}

/** Opens the store and all tasks, newest first; each is read and reconciled as the caller comes to it. */
export function openTasks() {
	const store = openStore();
	const unreadable: UnreadableRecord[] = [];
	const tasks = reconcileTasks(store, iterateTasks(store, unreadable));
	return { store, tasks, unreadable };
}

/** The ids that the values of a `multiple` positional name. @throws BgError. */
export const resolveTaskIds = (store: Store, joined: string | undefined) =>
	splitValues(joined).map((given) => resolveTaskId(store, given));

/** A reconciled task with its current progress and its note. */
export const describeTask = (store: Store, task: Task): ReportedTask => ({
	...addProgress(store, task),
	note: describeNote(task),
});

export function warnUnreadable(records: readonly UnreadableRecord[]): void {
	for (const { taskId, problem } of records)
		warn(`unable to read the record of ${taskId}: ${problem}`);
}
