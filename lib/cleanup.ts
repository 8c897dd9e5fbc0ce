/**
 * Putting finished tasks away. They leave the list and stay on disk; only where it is asked for are
 * they deleted, the oldest first. Who still has a process, or is waited for, stays.
 */
import { BgError } from "./error.ts";
import type { Store } from "./names.ts";
import { liveness } from "./process.ts";
import { standingOf } from "./prune.ts";
import { runOnEnd } from "./spawn.ts";
import {
	checkOnEndRan,
	deleteTask,
	eachTask,
	isOnEndPending,
	sizeOfTask,
	updateTask,
} from "./store.ts";
import { isFinal, isNewer, type Task, timestamp } from "./task.ts";

export type CleanupOptions = {
	/** Delete what ended longer ago than this, in ms. */
	olderThan?: number | undefined;
	/** Delete the oldest until the finished ones take no more than this, in bytes. */
	maxSize?: number | undefined;
	/** Say what would happen, and do none of it. */
	dryRun: boolean;
	/** Told before each task how many were looked at, and how many there are. */
	onLook?: (done: number, all: number) => void;
};

export type Cleaned = {
	cleaned: true;
	archived: string[];
	deleted: string[];
	freedBytes: number;
	/** Of these nothing could be put away now, and why. */
	kept: { taskId: string; note: string }[];
};

export function cleanUp(store: Store, options: CleanupOptions): Cleaned {
	const { olderThan, maxSize, dryRun, onLook } = options;
	const all = [...eachTask(store)];
	const over = all.filter(
		(task) => standingOf(task) === "over" && !isNewer(task),
	);
	const awaited = new Set(
		all.filter((task) => !isFinal(task)).flatMap(({ after = [] }) => after),
	);
	const cleaned: Cleaned = {
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
		onLook?.(done, over.length);
		const bytes = sizeOfTask(store, task.id);
		size += bytes;
		const isTooOld = olderThan !== undefined && ageOf(task) > olderThan;
		isTooMuch ||= maxSize !== undefined && size > maxSize;
		try {
			if ((isTooOld || isTooMuch) && !awaited.has(task.id)) {
				runPendingOnEnd(store, task, dryRun);
				if (!dryRun && !deleteTask(store, task.id)) continue;
				cleaned.deleted.push(task.id);
				cleaned.freedBytes += bytes;
			} else if (!task.archived_at) {
				if (!dryRun) archive(store, task.id);
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

const ageOf = (task: Task): number =>
	Date.now() - Date.parse(task.completed_at ?? task.queued_at ?? "");

/**
 * Runs a pending `--on-end` if the supervisor that would have run it is gone.
 * @throws BgError (refused) if it is not: the task is kept until its `--on-end` has run.
 */
function runPendingOnEnd(store: Store, task: Task, dryRun: boolean): void {
	const { id, supervisor } = task;
	if (!isOnEndPending(store, task)) return;
	if (supervisor && liveness(supervisor) !== "gone") checkOnEndRan(store, task);
	else if (!dryRun) runOnEnd(store, id);
}

function archive(store: Store, id: string): void {
	const archived_at = timestamp();
	updateTask(store, id, (now) => ({ ...now, archived_at }));
}
