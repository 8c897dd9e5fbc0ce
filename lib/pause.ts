/**
 * Holding tasks: what runs is stopped where it is (SIGSTOP to the tree), what is queued does not
 * start. The record says so first; its time does not count from then on.
 */
import { BgError } from "./error.ts";
import type { Store } from "./names.ts";
import { lookSignal, signal } from "./process.ts";
import { describeStanding, settle, standingOf } from "./prune.ts";
import { readTask, ringEnds, updateTask } from "./store.ts";
import { isFinal, type Task, timestamp } from "./task.ts";
import { pauseTree } from "./tree.ts";

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
	const before = settle(store, readTask(store, id));
	// Ended by hand while it was held: its process may go on as well.
	if (isFinal(before) && !paused && standingOf(before) === "lingering") {
		await pauseTree(id, before.process, false);
		return before;
	}
	if (isFinal(before))
		throw new BgError(
			"refused",
			`${id} is already ${before.status} (bg status ${id})`,
		);
	const standing = standingOf(before);
	if (standing !== "watched" && standing !== "orphaned")
		throw new BgError(
			"refused",
			`${id} cannot be held here: ${describeStanding(before, standing) ?? standing} (bg status ${id})`,
		);
	const task = updateTask(store, id, (now) => hold(now, paused));
	if (task.status === "running") await pauseTree(id, task.process, paused);
	if (task.supervisor) signal(task.supervisor, lookSignal);
	ringEnds(store);
	return task;
}

// --- internal ---

function hold(task: Task, paused: boolean): Task | undefined {
	const { paused_at, ...rest } = task;
	if (isFinal(task) || paused === (paused_at !== undefined)) return undefined;
	if (paused_at === undefined) return { ...task, paused_at: timestamp() };
	const lasted = Math.max(0, Date.now() - Date.parse(paused_at));
	return { ...rest, paused_ms: (task.paused_ms ?? 0) + lasted };
}
