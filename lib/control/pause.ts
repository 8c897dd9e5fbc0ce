/**
 * Holding tasks: what runs is stopped where it is (SIGSTOP to the tree), what is queued does not
 * start. The record says so first; its time does not count from then on.
 */
import { refused } from "../error.ts";
import { pauseTree } from "../process/process-tree.ts";
import { sendSignal, wakeSignal } from "../process/signals.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { checkSupervision, describeSupervision } from "../prune/supervision.ts";
import { notifyWaiters } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { readTask, updateTask } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";

/**
 * Holds a task, or lets it go on.
 * @returns it as it now is.
 * @throws BgError (refused) where it is over, or nobody here can hold it.
 */
export async function pauseTask(
	store: Store,
	id: string,
	paused: boolean,
): Promise<Task> {
	const before = reconcileTask(store, readTask(store, id));
	// Ended by hand while it was held: its process may go on as well.
	if (isFinal(before) && !paused && checkSupervision(before) === "lingering") {
		await pauseTree(id, before.process, false);
		return before;
	}
	if (isFinal(before))
		throw refused(`${id} is already ${before.status} (bg status ${id})`);
	const supervision = checkSupervision(before);
	if (supervision !== "watched" && supervision !== "orphaned")
		throw refused(
			`${id} cannot be held here: ${describeSupervision(before, supervision) ?? supervision} (bg status ${id})`,
		);
	const task = updateTask(store, id, (now) => applyPause(now, paused));
	if (task.status === "running") await pauseTree(id, task.process, paused);
	if (task.supervisor) sendSignal(task.supervisor, wakeSignal);
	notifyWaiters(store);
	return task;
}

// --- internal ---

function applyPause(task: Task, paused: boolean): Task | undefined {
	const { paused_at, ...rest } = task;
	if (isFinal(task) || paused === (paused_at !== undefined)) return undefined;
	if (paused_at === undefined) return { ...task, paused_at: timestamp() };
	const lasted = Math.max(0, Date.now() - Date.parse(paused_at));
	return { ...rest, paused_ms: (task.paused_ms ?? 0) + lasted };
}
