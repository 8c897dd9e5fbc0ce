/** Adds, holds and removes queue entries, and pauses the whole queue. */
import { rmSync } from "node:fs";
import { refused, wrapWriteErrors } from "../error.ts";
import { discard, moveFile, touch } from "../store/files.ts";
import { folderPath, type Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import type { Limits } from "./limits.ts";
import {
	entryPath,
	entryStates,
	listEntries,
	listLocalEntries,
	pauseMark,
} from "./queue-entries.ts";
import { sweepQueue } from "./slots.ts";

/**
 * Adds tasks to the queue, held.
 * @throws BgError (refused) if that fails or the queue would be too long; then none is in it.
 */
export function enqueue(
	store: Store,
	tasks: readonly Task[],
	limits: Limits,
): void {
	try {
		wrapWriteErrors(folderPath(store, "queue"), () => {
			for (const task of tasks) touch(entryPath(store, "queue", "held", task));
		});
		checkLength(store, tasks.length, limits);
	} catch (error) {
		for (const task of tasks) withdrawEntry(store, task);
		throw error;
	}
}

/** Sets whether a queued task may start as soon as there is a slot. Creates a missing entry. */
export function setRunnable(
	store: Store,
	task: Task,
	isRunnable: boolean,
): void {
	const [from, to] = isRunnable
		? (["held", "ready"] as const)
		: (["ready", "held"] as const);
	const entry = entryPath(store, "queue", to, task);
	if (!moveFile(entryPath(store, "queue", from, task), entry)) touch(entry);
}

/** Removes a task from the queue. */
export function dequeue(store: Store, task: Task): void {
	for (const state of entryStates)
		rmSync(entryPath(store, "queue", state, task), { force: true });
}

/** Removes tasks from the queue by their ids alone. */
export function removeEntries(store: Store, ids: ReadonlySet<string>): void {
	for (const { id, name } of listEntries(store, "queue"))
		if (ids.has(id))
			rmSync(`${folderPath(store, "queue")}/${name}`, { force: true });
}

/** Removes a task's queue entries after another error. A failure here is ignored. */
export function withdrawEntry(store: Store, task: Task): void {
	for (const state of entryStates)
		discard(entryPath(store, "queue", state, task));
}

/** Pauses or continues the queue: while it is paused no task starts; running tasks go on. */
export function setQueuePaused(store: Store, isPaused: boolean): void {
	wrapWriteErrors(pauseMark(store), () => {
		if (isPaused) touch(pauseMark(store));
		else rmSync(pauseMark(store), { force: true });
	});
}

// --- internal ---

/** Checks the length of the queue, which has the `added` tasks already. @throws BgError (refused). */
function checkLength(
	store: Store,
	added: number,
	{ BG_MAX_QUEUED }: Limits,
): void {
	const count = () => listLocalEntries(store, "queue").length;
	if (count() <= BG_MAX_QUEUED) return;
	sweepQueue(store);
	const waiting = count();
	if (waiting <= BG_MAX_QUEUED) return;
	const before = waiting - added;
	const hint = before
		? "wait for some (bg wait --any), or raise it"
		: "raise it";
	throw refused(
		`${before} tasks are queued, this would add ${added}, and BG_MAX_QUEUED is ${BG_MAX_QUEUED}: ${hint}`,
	);
}
