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
import { namePattern } from "./droid.ts";
import { BgError } from "./error.ts";
import { discard, making, moveFile, namesIn, touch } from "./files.ts";
import { isBeingLaunched } from "./launching.ts";
import { withLock } from "./lock.ts";
import { thisMachine } from "./machine.ts";
import { inStore, queueLock, type Store } from "./names.ts";
import { idPattern } from "./patterns.ts";
import { liveness } from "./process.ts";
import { findTask, recordVersion } from "./store.ts";
import { compareIds, isFinal, type Task } from "./task.ts";
import { findTree } from "./tree.ts";

/** What the environment may limit, and what holds where it says nothing; 0 is no limit. */
const limits = {
	BG_MAX_RUNNING: 8,
	BG_MAX_PER_DROID: 0,
	BG_MAX_DEPTH: 3,
	BG_MAX_QUEUED: 1000,
} as const;

export type Limits = Record<keyof typeof limits, number>;

/** Numbers that order the queue: the higher one starts first. */
export const priorities = { lowest: -999, usual: 0, highest: 999 } as const;

/** @throws BgError (usage) where a limit is no number. */
export function readLimits(env: NodeJS.ProcessEnv = process.env): Limits {
	const entries = Object.entries(limits).map(([name, usual]) => {
		const given = env[name] || String(usual);
		if (!/^\d{1,6}$/.test(given))
			throw new BgError(
				"usage",
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
		making(inStore(store, "queue"), () => {
			for (const task of tasks) touch(pathOf(store, "queue", "held", task));
		});
		checkLength(store, tasks.length, limits);
	} catch (error) {
		for (const task of tasks) withdrawEntry(store, task);
		throw error;
	}
}

/** Says whether a queued task may start as soon as it is its turn. */
export function setReady(store: Store, task: Task, ready: boolean): void {
	const [from, to] = ready
		? (["held", "ready"] as const)
		: (["ready", "held"] as const);
	const entry = pathOf(store, "queue", to, task);
	if (!moveFile(pathOf(store, "queue", from, task), entry)) touch(entry);
}

/** Takes a task out of the queue that will not start, or is tried again by nobody. */
export function leaveQueue(store: Store, task: Task): void {
	for (const state of states)
		rmSync(pathOf(store, "queue", state, task), { force: true });
}

/** The same for tasks of which nothing but their ids may be known. */
export function withdrawEntries(store: Store, ids: ReadonlySet<string>): void {
	for (const { id, name } of entriesIn(store, "queue"))
		if (ids.has(id))
			rmSync(`${inStore(store, "queue")}/${name}`, { force: true });
}

/** Removes a task's queue entries after another error. A failure here is ignored. */
export function withdrawEntry(store: Store, task: Task): void {
	for (const state of states) discard(pathOf(store, "queue", state, task));
}

export function releaseSlot(store: Store, task: Task): void {
	rmSync(pathOf(store, "slots", "ready", task), { force: true });
}

/**
 * Gives places to tasks of ours whose turn it is: by priority, then by age, among all that are
 * ready. `thorough` looks for places and entries of the dead as well, which costs a read of each.
 * @returns the ids that may start now.
 */
export function claimSlots(
	store: Store,
	ours: ReadonlyMap<string, Task>,
	limits: Limits,
	thorough: boolean,
): string[] {
	if (ours.size === 0 || isQueuePaused(store)) return [];
	if (thorough) sweepQueue(store, ["slots"]);
	const look = () => nextOf(store, ours, limits, thorough);
	if (look().length === 0) return [];
	return whileNobodyElse(store, () =>
		(isQueuePaused(store) ? [] : look()).filter((id) => {
			const task = ours.get(id) as Task;
			return moveFile(
				pathOf(store, "queue", "ready", task),
				pathOf(store, "slots", "ready", task),
			);
		}),
	);
}

export const isQueuePaused = (store: Store) => existsSync(pauseMark(store));

/** While the queue is paused nothing new starts; what runs goes on. */
export function pauseQueue(store: Store, paused: boolean): void {
	making(pauseMark(store), () => {
		if (paused) touch(pauseMark(store));
		else rmSync(pauseMark(store), { force: true });
	});
}

/** Removes slots and entries of tasks that nobody looks after any more. */
export function sweepQueue(
	store: Store,
	where: readonly Folder[] = folders,
): void {
	const dead = where.flatMap((folder) =>
		entriesIn(store, folder)
			.filter(({ id }) => !isHeld(store, id, folder))
			.map(({ name }) => ({ folder, name })),
	);
	if (dead.length === 0) return;
	whileNobodyElse(store, () => {
		for (const { folder, name } of dead) {
			const id = parseEntry(name)?.id;
			if (id && !isHeld(store, id, folder))
				rmSync(`${inStore(store, folder)}/${name}`, { force: true });
		}
	});
}

// --- internal ---

/** How long to wait for the shared lock, in ms. */
const lockPatience = 5000;

const whileNobodyElse = <T>(store: Store, act: () => T): T =>
	withLock(store, queueLock(thisMachine().machine), lockPatience, act);

const folders = ["slots", "queue"] as const;
type Folder = (typeof folders)[number];

const states = ["held", "ready"] as const;
type State = (typeof states)[number];

type Entry = {
	name: string;
	state: State;
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
	const count = () => entriesHere(store, "queue").length;
	if (count() <= BG_MAX_QUEUED) return;
	sweepQueue(store);
	const waiting = count();
	if (waiting <= BG_MAX_QUEUED) return;
	const before = waiting - added;
	const wayOut = before
		? "wait for some (bg wait --any), or raise it"
		: "raise it";
	throw new BgError(
		"refused",
		`${before} tasks are queued, this would add ${added}, and BG_MAX_QUEUED is ${BG_MAX_QUEUED}: ${wayOut}`,
	);
}

const pauseMark = (store: Store) => `${inStore(store, "queue")}/paused`;

/** Orders as text as it shall start: the highest priority first, then the oldest. */
function pathOf(
	store: Store,
	folder: Folder,
	state: State,
	task: Task,
): string {
	const order = priorities.highest - (task.priority ?? priorities.usual);
	const { agent = "" } = task;
	const droid = task.kind === "droid" && namePattern.test(agent) ? agent : "";
	const { machine } = task.supervisor ?? thisMachine();
	const where = encodeURIComponent(machine);
	const name = [state, order, task.depth ?? 1, task.id, where, droid].join(",");
	return `${inStore(store, folder)}/${name}`;
}

function parseEntry(name: string): Entry | undefined {
	const [, state, order, depth, id = "", machine = "", droid = ""] =
		/^(held|ready),(\d+),(\d+),([^,]+),([^,]+),(.*)$/.exec(name) ?? [];
	if (!state || !idPattern.test(id)) return undefined;
	return {
		name,
		state: state as State,
		order: Number(order),
		depth: Number(depth),
		id,
		machine,
		droid,
	};
}

function entriesIn(store: Store, folder: Folder): Entry[] {
	return namesIn(store, inStore(store, folder)).flatMap(
		(name) => parseEntry(name) ?? [],
	);
}

/** The entries that this machine's limits and order are about. */
function entriesHere(store: Store, folder: Folder): Entry[] {
	const here = encodeURIComponent(thisMachine().machine);
	return entriesIn(store, folder).filter(({ machine }) => machine === here);
}

/** Which of ours start next. Who else is before them takes up a place as well. */
function nextOf(
	store: Store,
	ours: ReadonlyMap<string, Task>,
	{ BG_MAX_RUNNING, BG_MAX_PER_DROID }: Limits,
	thorough: boolean,
): string[] {
	const depths = new Set([...ours.values()].map(({ depth = 1 }) => depth));
	// Whoever of ours waits has no place, whatever is left of an attempt to take one.
	const running = entriesHere(store, "slots").filter(
		(each) => depths.has(each.depth) && !ours.has(each.id),
	);
	const at = (depth: number) => running.filter((each) => each.depth === depth);
	const isAlive = ({ id }: Entry) =>
		!thorough || ours.has(id) || isHeld(store, id, "queue");
	const isFull = (depth: number) => at(depth).length >= BG_MAX_RUNNING;
	const next: string[] = [];
	if ([...depths].every(isFull)) return next;
	const waiting = entriesHere(store, "queue")
		.filter(({ state }) => state === "ready")
		.sort((a, b) => a.order - b.order || compareIds(a.id, b.id));
	for (const entry of waiting) {
		const { depth, droid, id } = entry;
		if (isFull(depth)) continue;
		const same = at(depth).filter((each) => droid && each.droid === droid);
		if (same.length >= BG_MAX_PER_DROID || !isAlive(entry)) continue;
		running.push(entry);
		if (ours.has(id)) next.push(id);
	}
	return next;
}

/** Whether somebody still looks after what an entry stands for. */
function isHeld(store: Store, id: string, folder: Folder): boolean {
	const task = findTask(store, id);
	// A record that cannot be read now says nothing of its task.
	if (!task)
		return isBeingLaunched(store, id) || recordVersion(store, id) !== undefined;
	const isAlive = (who: Task["process"]) =>
		who !== undefined && liveness(who) !== "gone";
	if (folder === "queue")
		return task.status === "queued" && isAlive(task.supervisor);
	if (isAlive(task.supervisor) || isAlive(task.process)) return true;
	// A supervisor may die right after it started the process, before it could write that down.
	return !isFinal(task) && findTree(id, task.process).length > 0;
}
