/**
 * Slots decide which task starts next. There is no daemon: every supervisor claims slots for its own
 * tasks. An entry in the queue is a task that has not started; an entry among the slots is a task that
 * counts as running. A rename under one shared lock turns an entry into a slot, so the limits always hold.
 *
 * Each depth has its own slots, so a task that waits for tasks it launched cannot block them. Each machine
 * has its own slots too: whether the slots of a container that is gone are free cannot be told. A slot is
 * free after the task's supervisor and its process are both gone.
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

/** Frees the slot of a task. */
export function releaseSlot(store: Store, task: Task): void {
	rmSync(entryPath(store, "slots", "ready", task), { force: true });
}

export type SlotRequest = {
	/** The runnable tasks of this supervisor, by id. */
	ownTasks: ReadonlyMap<string, Task>;
	limits: Limits;
	/** Whether to ignore slots and entries of dead supervisors, which reads each record. */
	isFullPoll: boolean;
};

/**
 * Claims slots for tasks of this supervisor: by priority, then by age, among all that are ready.
 * @returns the ids that may start now.
 */
export function claimSlots(store: Store, request: SlotRequest): string[] {
	const { ownTasks, isFullPoll } = request;
	if (ownTasks.size === 0 || isQueuePaused(store)) return [];
	if (isFullPoll) sweepQueue(store, ["slots"]);
	const select = () => selectNext(store, request);
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

/** Whether the queue is paused. */
export const isQueuePaused = (store: Store) => existsSync(pauseMark(store));

/** Removes slots and queue entries that no living process needs. */
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

/** Selects the own tasks that start next. A task of another supervisor that precedes them counts as running. */
function selectNext(
	store: Store,
	{ ownTasks, limits, isFullPoll }: SlotRequest,
): string[] {
	const { BG_MAX_RUNNING, BG_MAX_PER_DROID } = limits;
	const depths = new Set([...ownTasks.values()].map(({ depth = 1 }) => depth));
	// An own task that waits has no slot; an entry of it is left from a failed claim.
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

/** Whether the task of an entry still needs it. */
function isClaimLive(store: Store, id: string, folder: QueueFolder): boolean {
	const task = findTask(store, id);
	// A record that cannot be read now may need the entry.
	if (!task)
		return (
			isLaunchPending(store, id) || readRecordVersion(store, id) !== undefined
		);
	const isAlive = (identity: Task["process"]) =>
		identity !== undefined && checkLiveness(identity) !== "gone";
	if (folder === "queue")
		return task.status === "queued" && isAlive(task.supervisor);
	if (isAlive(task.supervisor) || isAlive(task.process)) return true;
	// A supervisor may die right after it started the process, before it recorded that.
	return !isFinal(task) && findTree(id, task.process).length > 0;
}
