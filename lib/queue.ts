/**
 * Whose turn it is. There is no daemon: every supervisor asks for its own tasks, and all agree
 * through two folders. An entry in the queue stands for a task that was launched and did not start
 * yet; an entry among the slots for one that takes up a place. Turning the one into the other is a
 * rename, made under a lock that all share, so the limits hold at every instant.
 *
 * An entry's name says all that the order needs: `ready` or `held` (it waits for other tasks, for
 * its next attempt, or to be continued), priority, depth, id, machine and droid. Each depth has its
 * own places, so a task that waits for tasks it launched cannot starve them. So has each machine: of
 * a container that is gone nobody could ever say whether its places are free. A slot is free once
 * the task's supervisor and its process are both gone.
 */
import { existsSync, rmSync } from "node:fs";
import { droidNamePattern } from "./droid.ts";
import { refused, usage } from "./error.ts";
import {
	discard,
	listNames,
	moveFile,
	touch,
	wrapWriteErrors,
} from "./files.ts";
import { isLaunchPending } from "./launching.ts";
import { withLock } from "./lock.ts";
import { identifyMachine } from "./machine.ts";
import { folderPath, queueLock, type Store } from "./names.ts";
import { idPattern } from "./patterns.ts";
import { checkLiveness } from "./process.ts";
import { findTask, readRecordVersion } from "./store.ts";
import { compareIds, isFinal, type Task } from "./task.ts";
import { findTree } from "./tree.ts";

/** What the environment may limit, and what holds where it says nothing; 0 is no limit. */
const defaultLimits = {
	BG_MAX_RUNNING: 8,
	BG_MAX_PER_DROID: 0,
	BG_MAX_DEPTH: 3,
	BG_MAX_QUEUED: 1000,
} as const;

export type Limits = Record<keyof typeof defaultLimits, number>;

/** Numbers that order the queue: the higher one starts first. */
export const priorities = { lowest: -999, usual: 0, highest: 999 } as const;

/** @throws BgError (usage) where a limit is no number. */
export function readLimits(env: NodeJS.ProcessEnv = process.env): Limits {
	const entries = Object.entries(defaultLimits).map(([name, usual]) => {
		const given = env[name] || String(usual);
		if (!/^\d{1,6}$/.test(given))
			throw usage(
				`${name} is ${JSON.stringify(given)}: it takes a number, 0 for no limit`,
			);
		return [name, Number(given) || Number.POSITIVE_INFINITY];
	});
	return Object.fromEntries(entries) as Limits;
}

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

/** While the queue is paused nothing new starts; what runs goes on. */
export function setQueuePaused(store: Store, isPaused: boolean): void {
	wrapWriteErrors(pauseMark(store), () => {
		if (isPaused) touch(pauseMark(store));
		else rmSync(pauseMark(store), { force: true });
	});
}

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
	withLock(store, queueLock(identifyMachine().machine), lockTimeoutMs, action);

const queueFolders = ["slots", "queue"] as const;
type QueueFolder = (typeof queueFolders)[number];

const entryStates = ["held", "ready"] as const;
type EntryState = (typeof entryStates)[number];

type QueueEntry = {
	name: string;
	state: EntryState;
	order: number;
	depth: number;
	id: string;
	machine: string;
	droid: string;
};

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

const pauseMark = (store: Store) => `${folderPath(store, "queue")}/paused`;

/** Orders as text as it shall start: the highest priority first, then the oldest. */
function entryPath(
	store: Store,
	folder: QueueFolder,
	state: EntryState,
	task: Task,
): string {
	const order = priorities.highest - (task.priority ?? priorities.usual);
	const { agent = "" } = task;
	const droid =
		task.kind === "droid" && droidNamePattern.test(agent) ? agent : "";
	const { machine } = task.supervisor ?? identifyMachine();
	const encodedMachine = encodeURIComponent(machine);
	const name = [
		state,
		order,
		task.depth ?? 1,
		task.id,
		encodedMachine,
		droid,
	].join(",");
	return `${folderPath(store, folder)}/${name}`;
}

function parseEntryName(name: string): QueueEntry | undefined {
	const [, state, order, depth, id = "", machine = "", droid = ""] =
		/^(held|ready),(\d+),(\d+),([^,]+),([^,]+),(.*)$/.exec(name) ?? [];
	if (!state || !idPattern.test(id)) return undefined;
	return {
		name,
		state: state as EntryState,
		order: Number(order),
		depth: Number(depth),
		id,
		machine,
		droid,
	};
}

function listEntries(store: Store, folder: QueueFolder): QueueEntry[] {
	return listNames(store, folderPath(store, folder)).flatMap(
		(name) => parseEntryName(name) ?? [],
	);
}

/** The entries that this machine's limits and order are about. */
function listLocalEntries(store: Store, folder: QueueFolder): QueueEntry[] {
	const here = encodeURIComponent(identifyMachine().machine);
	return listEntries(store, folder).filter(({ machine }) => machine === here);
}

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
