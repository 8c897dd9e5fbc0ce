/**
 * Archives finished tasks: they leave the list and stay on disk. On request they are deleted with all
 * their files, the oldest first. A task that has a process, or that an unfinished task names in `after`,
 * is not deleted.
 */
import { existsSync, lstatSync, rmSync } from "node:fs";
import { BgError, refused } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { runOnEnd } from "../spawn/command.ts";
import { withLock } from "../store/locks.ts";
import { discardNotice } from "../store/notices.ts";
import {
	onEndMark,
	outputFile,
	progressFile,
	promptFile,
	recordFile,
	type Store,
	systemPromptFile,
} from "../store/paths.ts";
import {
	findTask,
	iterateTasks,
	lockTimeoutMs,
	updateTask,
} from "../store/records.ts";
import { unindexSession } from "../store/session-index.ts";
import { hasNewerSchema } from "../task/parse.ts";
import type { Task } from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";
import { checkSupervision } from "./supervision.ts";

export type CleanupOptions = {
	/** Only tasks of this parent session. */
	parentSession?: string | undefined;
	/** Delete tasks that ended longer ago than this, in ms. */
	olderThan?: number;
	/** Delete the oldest tasks until the finished ones take at most this, in bytes. */
	maxSize?: number;
	/** Whether to return what would be done without doing it. */
	dryRun: boolean;
	/** Called before each task with how many were handled, and how many there are. */
	onProgress?: (done: number, all: number) => void;
};

/**
 * Archives the finished tasks, and deletes those that the options name.
 * @returns the ids in each group.
 */
export function cleanUpTasks(store: Store, options: CleanupOptions) {
	const { parentSession, olderThan, maxSize, dryRun, onProgress } = options;
	const all = [...iterateTasks(store)];
	const finished = all.filter(
		(task) =>
			(!parentSession || task.parent_session_id === parentSession) &&
			checkSupervision(task) === "over" &&
			!hasNewerSchema(task),
	);
	const awaited = new Set(
		all.filter((task) => !isFinal(task)).flatMap(({ after = [] }) => after),
	);
	const cleaned = {
		cleaned: true,
		archived: [] as string[],
		deleted: [] as string[],
		freedBytes: 0,
		/** The tasks that could not be archived or deleted now, and why. */
		kept: [] as { taskId: string; note: string }[],
	};
	// Newest first: the tasks past the size limit are the oldest.
	let size = 0;
	let isTooMuch = false;
	const archived_at = timestamp();
	for (const [done, task] of finished.entries()) {
		onProgress?.(done, finished.length);
		const bytes = measureTask(store, task.id);
		size += bytes;
		const age =
			Date.now() - Date.parse(task.completed_at ?? task.queued_at ?? "");
		const isTooOld = olderThan !== undefined && age > olderThan;
		isTooMuch ||= maxSize !== undefined && size > maxSize;
		try {
			if ((isTooOld || isTooMuch) && !awaited.has(task.id)) {
				runPendingOnEnd(store, task, dryRun);
				if (!dryRun && !deleteTask(store, task.id)) continue;
				cleaned.deleted.push(task.id);
				cleaned.freedBytes += bytes;
			} else if (!task.archived_at) {
				if (!dryRun)
					updateTask(store, task.id, (now) => ({ ...now, archived_at }));
				cleaned.archived.push(task.id);
			}
		} catch (error) {
			if (!(error instanceof BgError)) throw error;
			cleaned.kept.push({ taskId: task.id, note: error.message });
		}
	}
	return cleaned;
}

/** The size of a finished task on disk, in bytes. */
function measureTask(store: Store, id: string): number {
	return listTaskFiles(store, id)
		.map((path) => lstatSync(path, { throwIfNoEntry: false })?.size ?? 0)
		.reduce((sum, size) => sum + size, 0);
}

/**
 * Deletes a finished task with all its files. Returns false if it has not ended or does not exist.
 * @throws BgError (refused) if its `--on-end` has not run yet.
 */
function deleteTask(store: Store, id: string): boolean {
	return withLock(store, { name: id, timeoutMs: lockTimeoutMs }, () => {
		const task = findTask(store, id);
		if (!task || !isFinal(task) || hasNewerSchema(task)) return false;
		checkOnEndRan(store, task);
		const { session_id, droid_session_id, parent_session_id } = task;
		for (const key of [session_id, droid_session_id, parent_session_id])
			if (key) unindexSession(store, key, id);
		discardNotice(store, parent_session_id, id);
		// The record comes last, so that an interrupted deletion can be repeated.
		for (const path of listTaskFiles(store, id)) rmSync(path, { force: true });
		return true;
	});
}

// --- internal ---

/** @throws BgError (refused) if a task's `--on-end` has not been run yet. */
function checkOnEndRan(store: Store, { id, on_end }: Task): void {
	if (on_end && existsSync(onEndMark(store, id)))
		throw refused(`${id} is kept: its --on-end has not run yet`);
}

/**
 * Runs a pending `--on-end` if the supervisor that would have run it is gone.
 * @throws BgError (refused) if that supervisor is alive: the task is kept until it has run it.
 */
function runPendingOnEnd(store: Store, task: Task, dryRun: boolean): void {
	const { id, on_end, supervisor } = task;
	if (!on_end) return;
	if (supervisor && checkLiveness(supervisor) !== "gone")
		checkOnEndRan(store, task);
	else if (!dryRun) runOnEnd(store, id);
}

/** All files of a task, its record last. */
function listTaskFiles(store: Store, id: string): string[] {
	const attempts = findTask(store, id)?.attempts ?? [];
	return [
		...attempts.map(({ attempt }) => outputFile(store, id, attempt)),
		outputFile(store, id),
		progressFile(store, id),
		promptFile(store, id),
		systemPromptFile(store, id),
		onEndMark(store, id),
		recordFile(store, id),
	];
}
