/**
 * Slots: which task starts next. There is no daemon: every supervisor asks for its own tasks, and all
 * agree through two folders. An entry in the queue is a task that was launched and has not started; an
 * entry among the slots is a task that takes up a place. One becomes the other by a rename under a lock
 * that all share, so the limits hold at every instant.
 *
 * Each depth has its own places, so a task that waits for tasks it launched cannot starve them. Each
 * machine has its own places too: nobody can tell whether the places of a container that is gone are
 * free. A slot is free once the task's supervisor and its process are both gone.
 */
import { existsSync, rmSync } from "node:fs";
import { checkLiveness } from "../process/identity.ts";
import { identifyMachine } from "../process/machine.ts";
import { findTree } from "../process/process-tree.ts";
import { isLaunchPending } from "../store/claims.ts";
import { moveFile } from "../store/files.ts";
import { withLock } from "../store/locks.ts";
import { folderPath, queueLock, type Store } from "../store/paths.ts";
import { findTask, readRecordVersion } from "../store/records.ts";
import { compareIds } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import type { Limits } from "./limits.ts";
import {
	entryPath,
	listEntries,
	listLocalEntries,
	parseEntryName,
	pauseMark,
	type QueueEntry,
	type QueueFolder,
	queueFolders,
} from "./queue-entries.ts";

export function releaseSlot(store: Store, task: Task): void {
	rmSync(entryPath(store, "slots", "ready", task), { force: true });
}

/**
 * Gives places to tasks of ours whose turn it is: by priority, then by age, among all that are
 * ready. `thorough` looks for places and entries of the dead as well, which costs a read of each.
 * @returns the ids that may start now.
 */
export function claimSlots(
	store: Store,
	ownTasks: ReadonlyMap<string, Task>,
	limits: Limits,
	isFullPoll: boolean,
): string[] {
	if (ownTasks.size === 0 || isQueuePaused(store)) return [];
	if (isFullPoll) sweepQueue(store, ["slots"]);
	const select = () => selectNext(store, ownTasks, limits, isFullPoll);
	if (select().length === 0) return [];
	return withQueueLock(store, () =>
		(isQueuePaused(store) ? [] : select()).filter((id) => {
			const task = ownTasks.get(id) as Task;
			return moveFile(
				entryPath(store, "queue", "ready", task),
				entryPath(store, "slots", "ready", task),
			);
		}),
	);
}

export const isQueuePaused = (store: Store) => existsSync(pauseMark(store));

/** Removes slots and entries of tasks that nobody looks after any more. */
export function sweepQueue(
	store: Store,
	inFolders: readonly QueueFolder[] = queueFolders,
): void {
	const dead = inFolders.flatMap((folder) =>
		listEntries(store, folder)
			.filter(({ id }) => !isClaimLive(store, id, folder))
			.map(({ name }) => ({ folder, name })),
	);
	if (dead.length === 0) return;
	withQueueLock(store, () => {
		for (const { folder, name } of dead) {
			const id = parseEntryName(name)?.id;
			if (id && !isClaimLive(store, id, folder))
				rmSync(`${folderPath(store, folder)}/${name}`, { force: true });
		}
	});
}

// --- internal ---

/** How long to wait for the shared lock, in ms. */
const lockTimeoutMs = 5000;

const withQueueLock = <T>(store: Store, action: () => T): T =>
	withLock(
		store,
		{
			name: queueLock(identifyMachine().machine),
			timeoutMs: lockTimeoutMs,
		},
		action,
	);

/** Which of ours start next. Who else is before them takes up a place as well. */
function selectNext(
	store: Store,
	ownTasks: ReadonlyMap<string, Task>,
	{ BG_MAX_RUNNING, BG_MAX_PER_DROID }: Limits,
	isFullPoll: boolean,
): string[] {
	const depths = new Set([...ownTasks.values()].map(({ depth = 1 }) => depth));
	// Whoever of ours waits has no place, whatever is left of an attempt to take one.
	const running = listLocalEntries(store, "slots").filter(
		(each) => depths.has(each.depth) && !ownTasks.has(each.id),
	);
	const at = (depth: number) => running.filter((each) => each.depth === depth);
	const isAlive = ({ id }: QueueEntry) =>
		!isFullPoll || ownTasks.has(id) || isClaimLive(store, id, "queue");
	const isFull = (depth: number) => at(depth).length >= BG_MAX_RUNNING;
	const next: string[] = [];
	if ([...depths].every(isFull)) return next;
	const waiting = listLocalEntries(store, "queue")
		.filter(({ state }) => state === "ready")
		.sort((a, b) => a.order - b.order || compareIds(a.id, b.id));
	for (const entry of waiting) {
		const { depth, droid, id } = entry;
		if (isFull(depth)) continue;
		const same = at(depth).filter((each) => droid && each.droid === droid);
		if (same.length >= BG_MAX_PER_DROID || !isAlive(entry)) continue;
		running.push(entry);
		if (ownTasks.has(id)) next.push(id);
	}
	return next;
}

/** Whether somebody still looks after what an entry stands for. */
function isClaimLive(store: Store, id: string, folder: QueueFolder): boolean {
	const task = findTask(store, id);
	// A record that cannot be read now says nothing of its task.
	if (!task)
		return (
			isLaunchPending(store, id) || readRecordVersion(store, id) !== undefined
		);
	const isAlive = (identity: Task["process"]) =>
		identity !== undefined && checkLiveness(identity) !== "gone";
	if (folder === "queue")
		return task.status === "queued" && isAlive(task.supervisor);
	if (isAlive(task.supervisor) || isAlive(task.process)) return true;
	// A supervisor may die right after it started the process, before it could write that down.
	return !isFinal(task) && findTree(id, task.process).length > 0;
}
