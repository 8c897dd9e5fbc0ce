/**
 * Putting finished tasks away. They leave the list and stay on disk; only where it is asked for are
 * they deleted, the oldest first. Who still has a process, or is waited for, stays.
 */
import { BgError } from "./error.ts";
import type { Store } from "./names.ts";
import { checkLiveness } from "./process.ts";
import { checkSupervision } from "./prune.ts";
import { runOnEnd } from "./spawn.ts";
import {
	checkOnEndRan,
	deleteTask,
	isOnEndPending,
	iterateTasks,
	measureTask,
	updateTask,
} from "./store.ts";
import { hasNewerSchema, isFinal, type Task, timestamp } from "./task.ts";

export type CleanupOptions = {
	/** Delete what ended longer ago than this, in ms. */
	olderThan?: number | undefined;
	/** Delete the oldest until the finished ones take no more than this, in bytes. */
	maxSize?: number | undefined;
	/** Say what would happen, and do none of it. */
	dryRun: boolean;
	/** Told before each task how many were looked at, and how many there are. */
	onProgress?: (done: number, all: number) => void;
};

export type CleanupResult = {
	cleaned: true;
	archived: string[];
	deleted: string[];
	freedBytes: number;
	/** Of these nothing could be put away now, and why. */
	kept: { taskId: string; note: string }[];
};

export function cleanUpTasks(
	store: Store,
	options: CleanupOptions,
): CleanupResult {
	const { olderThan, maxSize, dryRun, onProgress } = options;
	const all = [...iterateTasks(store)];
	const over = all.filter(
		(task) => checkSupervision(task) === "over" && !hasNewerSchema(task),
	);
	const awaited = new Set(
		all.filter((task) => !isFinal(task)).flatMap(({ after = [] }) => after),
	);
	const cleaned: CleanupResult = {
		cleaned: true,
		archived: [],
		deleted: [],
		freedBytes: 0,
		kept: [],
	};
	// Newest first: what is past the size is the oldest.
	let size = 0;
	let isTooMuch = false;
	for (const [done, task] of over.entries()) {
		onProgress?.(done, over.length);
		const bytes = measureTask(store, task.id);
		size += bytes;
		const isTooOld = olderThan !== undefined && measureAge(task) > olderThan;
		isTooMuch ||= maxSize !== undefined && size > maxSize;
		try {
			if ((isTooOld || isTooMuch) && !awaited.has(task.id)) {
				runPendingOnEnd(store, task, dryRun);
				if (!dryRun && !deleteTask(store, task.id)) continue;
				cleaned.deleted.push(task.id);
				cleaned.freedBytes += bytes;
			} else if (!task.archived_at) {
				if (!dryRun) archiveTask(store, task.id);
				cleaned.archived.push(task.id);
			}
		} catch (error) {
			if (!(error instanceof BgError)) throw error;
			cleaned.kept.push({ taskId: task.id, note: error.message });
		}
	}
	return cleaned;
}

// --- internal ---

const measureAge = (task: Task): number =>
	Date.now() - Date.parse(task.completed_at ?? task.queued_at ?? "");

/**
 * Runs a pending `--on-end` if the supervisor that would have run it is gone.
 * @throws BgError (refused) if it is not: the task is kept until its `--on-end` has run.
 */
function runPendingOnEnd(store: Store, task: Task, dryRun: boolean): void {
	const { id, supervisor } = task;
	if (!isOnEndPending(store, task)) return;
	if (supervisor && checkLiveness(supervisor) !== "gone")
		checkOnEndRan(store, task);
	else if (!dryRun) runOnEnd(store, id);
}

function archiveTask(store: Store, id: string): void {
	const archived_at = timestamp();
	updateTask(store, id, (now) => ({ ...now, archived_at }));
}
