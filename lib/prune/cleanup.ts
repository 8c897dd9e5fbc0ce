/**
 * Takes finished tasks off the list; they stay on disk, where they are. On request they are deleted with all
 * their files, the oldest first, also those in the archive (prune/archive.ts). A task that has a process, or that an unfinished task names in `after`,
 * is not deleted.
 */
import { existsSync, lstatSync, rmSync } from "node:fs";
import { errorMessage, isRefusal, isSystemError, refused } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { runOnEnd } from "../spawn/command.ts";
import { removeEmptyFolder, removeFile } from "../store/files.ts";
import { withLock } from "../store/locks.ts";
import {
	archivedMessages,
	archivedOutput,
	archivedRecord,
	archiveFolder,
	messageFolder,
	onEndMark,
	outputFile,
	progressFile,
	promptFile,
	recordFile,
	type Store,
	stdinFile,
	systemPromptFile,
} from "../store/paths.ts";
import {
	findTask,
	iterateTasks,
	listArchivedIds,
	listTaskIds,
	lockTimeoutMs,
	updateTask,
} from "../store/records.ts";
import { endMessages } from "../store/sessions/messages.ts";
import { discardNotice } from "../store/sessions/notices.ts";
import { unindexSession } from "../store/sessions/session-index.ts";
import { compareIds } from "../task/ids.ts";
import { hasNewerSchema } from "../task/parse.ts";
import type { Task } from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";
import { mayBeWritten } from "./archive.ts";
import { checkSupervision } from "./supervision.ts";

export type CleanupOptions = {
	/** Whether a finished task is meant; without it, all are. */
	includes?: (task: Task) => boolean;
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
 * Takes all finished tasks of the folder off the list, and deletes those that the options name. A task in the
 * archive is off the list already, and is read only to be deleted.
 * @returns the ids in each group.
 */
export function cleanUpTasks(store: Store, options: CleanupOptions) {
	const { includes, olderThan, maxSize, dryRun, onProgress } = options;
	const mayDelete = olderThan !== undefined || maxSize !== undefined;
	const here = new Set(listTaskIds(store));
	const archived = mayDelete ? listArchivedIds(store) : [];
	const ids = [...new Set([...here, ...archived])].sort(compareIds).reverse();
	const awaited = mayDelete ? listAwaitedTasks(store) : new Set<string>();
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
	for (const [done, id] of ids.entries()) {
		let isDeletion = false;
		try {
			const task = findTask(store, id);
			if (!task || checkSupervision(task) !== "over" || hasNewerSchema(task))
				continue;
			if (includes && !includes(task)) continue;
			onProgress?.(done, ids.length);
			const bytes = mayDelete ? measureTask(store, task) : 0;
			size += bytes;
			const age =
				Date.now() - Date.parse(task.completed_at ?? task.queued_at ?? "");
			const isTooOld = olderThan !== undefined && age > olderThan;
			isTooMuch ||= maxSize !== undefined && size > maxSize;
			if ((isTooOld || isTooMuch) && !awaited.has(id)) {
				runPendingOnEnd(store, task, dryRun);
				isDeletion = !dryRun;
				if (isDeletion && !deleteTask(store, id)) continue;
				cleaned.deleted.push(id);
				cleaned.freedBytes += bytes;
			} else if (!task.archived_at && here.has(id)) {
				if (!dryRun) updateTask(store, id, (now) => ({ ...now, archived_at }));
				cleaned.archived.push(id);
			}
		} catch (error) {
			if (!isRefusal(error)) throw error;
			const said = errorMessage(error);
			const isPartial = isDeletion && isSystemError(error);
			const note = isPartial
				? `${id} may be deleted in part; the same call again deletes what is left: ${said}`
				: said;
			cleaned.kept.push({ taskId: id, note });
		}
	}
	return cleaned;
}

/** The size of a finished task on disk, in bytes. */
function measureTask(store: Store, task: Task): number {
	return listTaskFiles(store, task)
		.map((path) => lstatSync(path, { throwIfNoEntry: false })?.size ?? 0)
		.reduce((sum, size) => sum + size, 0);
}

/**
 * Deletes a finished task with all its files. Returns false if it has not ended or does not exist.
 * @throws BgError (refused) if its `--on-end` has not run yet, or its supervisor is about to write its record.
 */
function deleteTask(store: Store, id: string): boolean {
	return withLock(store, { name: id, timeoutMs: lockTimeoutMs }, () => {
		const task = findTask(store, id);
		if (!task || !isFinal(task) || hasNewerSchema(task)) return false;
		checkOnEndRan(store, task);
		checkExitRecorded(task);
		const { session_id, droid_session_id, parent_session_id } = task;
		for (const key of [session_id, droid_session_id, parent_session_id])
			if (key) unindexSession(store, key, id);
		discardNotice(store, parent_session_id, id);
		endMessages(store, task);
		for (const path of [messageFolder(store, id), archivedMessages(store, id)])
			rmSync(path, { recursive: true, force: true });
		// The record comes last, so that an interrupted deletion can be repeated.
		for (const path of listTaskFiles(store, task)) removeFile(path);
		removeEmptyFolder(archiveFolder(store, id));
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
 * A supervisor that records the exit of its process would write a deleted record again.
 * @throws BgError (refused) if it is about to.
 */
function checkExitRecorded(task: Task): void {
	const { id, process, supervisor, exit_code, signal } = task;
	if (!process || (exit_code ?? signal) !== undefined) return;
	const isWatched = supervisor && checkLiveness(supervisor) === "alive";
	if (isWatched || mayBeWritten(task))
		throw refused(`${id} is kept: its supervisor is about to record its exit`);
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

/** The tasks that unfinished tasks come after. */
const listAwaitedTasks = (store: Store): Set<string> =>
	new Set(
		[...iterateTasks(store)]
			.filter((task) => !isFinal(task))
			.flatMap(({ after = [] }) => after),
	);

/** All files of a task in the folder and in the archive, its records last. */
function listTaskFiles(store: Store, { id, attempts = [] }: Task): string[] {
	const numbers = [...attempts.map(({ attempt }) => attempt), undefined];
	return [
		...numbers.flatMap((attempt) => [
			outputFile(store, id, attempt),
			archivedOutput(store, id, attempt),
		]),
		progressFile(store, id),
		promptFile(store, id),
		systemPromptFile(store, id),
		stdinFile(store, id),
		onEndMark(store, id),
		archivedRecord(store, id),
		recordFile(store, id),
	];
}
