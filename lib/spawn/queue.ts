/** The queue: entering and leaving it, holding an entry, pausing the whole queue. */
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
 * Puts tasks into the queue, held.
 * @throws BgError (refused) if that fails, or if the queue would grow too long; then none is in it.
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

/** Says whether a queued task may start as soon as it is its turn. */
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

/** Takes a task out of the queue that will not start, or is tried again by nobody. */
export function dequeue(store: Store, task: Task): void {
	for (const state of entryStates)
		rmSync(entryPath(store, "queue", state, task), { force: true });
}

/** The same for tasks of which nothing but their ids may be known. */
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

/** While the queue is paused nothing new starts; what runs goes on. */
export function setQueuePaused(store: Store, isPaused: boolean): void {
	wrapWriteErrors(pauseMark(store), () => {
		if (isPaused) touch(pauseMark(store));
		else rmSync(pauseMark(store), { force: true });
	});
}

// --- internal ---

/** Checks that the queue is not too long with the `added` tasks that are in it already. */
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
