/**
 * Hands places over. There is no daemon: the process that frees a place, or finds one free, chooses the
 * next task under the queue's lock, grants it the slot and wakes only that task. The woken process takes
 * the slot by a rename, which succeeds only once. A grant that nobody took for 2 s goes back to the queue.
 *
 * The supervisor of the first task in line, besides those that get a place, is the keeper of the queue: it is
 * awake, and repairs the queue every 2 s. So the queue goes on whichever process dies at whichever moment. The
 * file called beat names the keeper, and its time is that of the last repair. A new keeper is named and woken
 * before a place is granted; the last one looks once whether the new one has begun.
 *
 * A slot is free after the task's supervisor and its process are both gone.
 */
import { lstatSync, rmSync, writeFileSync } from "node:fs";
import { isRefusal, isSystemError, unlessRefused } from "../error.ts";
import {
	checkLiveness,
	identifySelf,
	isResponsive,
} from "../process/identity.ts";
import { identifyMachine } from "../process/machine.ts";
import { findTree } from "../process/process-tree.ts";
import { readProcFile, unlessUnknown } from "../process/system.ts";
import { isLaunchPending } from "../store/claims.ts";
import { listNames, moveFile, readFile } from "../store/files.ts";
import { withLock, withLockAsync } from "../store/locks.ts";
import {
	folderPath,
	queueBeat,
	queueLock,
	type Store,
} from "../store/paths.ts";
import { findTask, readRecordVersion } from "../store/records.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { dismissTask, isParked, isWaking, wakeTask } from "./parked.ts";
import { Line, Places } from "./places.ts";
import {
	entryPath,
	grantPath,
	isQueuePaused,
	listEntries,
	listLocalEntries,
	type QueueEntry,
	type QueueFolder,
	readyPath,
	reorderEntry,
	slotPath,
} from "./queue.ts";

/** How long a granted slot may stay untaken, in ms. */
const grantTimeoutMs = 2000;

/** How long to wait for the queue's lock, in ms. */
const lockTimeoutMs = 5000;

const noTasks: ReadonlySet<string> = new Set();

/**
 * Gives every free place to the task that is next, and makes sure that the first one in line is awake.
 * @param timeoutMs how long to wait for the queue's lock, in ms. Its holder hands over as well.
 * @returns false if that was not possible: the first task in line does it within seconds.
 */
export function handOver(store: Store, timeoutMs = lockTimeoutMs): boolean {
	try {
		const lock = { ...localLock(), timeoutMs };
		withLock(store, lock, () => assignPlaces(store, noTasks));
		return true;
	} catch (error) {
		if (isRefusal(error)) return false;
		throw error;
	}
}

/**
 * Gives a queued task the place in the order that its record says, and hands over what is free.
 * @throws BgError (refused) if the queue's lock stays held.
 */
export function reorderTask(store: Store, id: string): void {
	withLock(store, localLock(), () => {
		// Read under the lock: of two changes at once the later one counts in both places.
		const task = findTask(store, id);
		if (task) reorderEntry(store, task);
		assignPlaces(store, noTasks);
	});
}

/**
 * The same as `handOver` in a supervisor, which does not block while it waits for the lock. Tasks of its own get their
 * slots at once.
 * @param own the ids of its tasks that wait for a slot.
 * @param line the queue as this supervisor has listed it.
 * @returns the ids that have a slot now.
 * @throws BgError (refused) if the queue's lock stays held.
 */
export async function handOverAsync(
	store: Store,
	own: ReadonlySet<string>,
	line = new Line(store),
): Promise<string[]> {
	return withLockAsync(store, localLock(), () => {
		const plan = planHandOver(store, own, line.list());
		const { started, isWhole } = assignPlaces(store, own, plan);
		line.remove(new Set(plan.picks.map(({ entry }) => entry)));
		// Entries of an old listing may be gone, and others may be in their place.
		if (!line.isOld || isWhole) return started;
		line.expire();
		return [...started, ...assignPlaces(store, own).started];
	});
}

/**
 * Takes the slots that were granted to tasks of this process. If the queue has been paused since, they go back.
 * @returns the ids of the tasks that have a slot now.
 */
export function takeGrants(store: Store, own: ReadonlySet<string>): string[] {
	const isPaused = isQueuePaused(store);
	return listLocalEntries(store, "slots")
		.filter(({ state, id }) => state === "held" && own.has(id))
		.filter((grant) => {
			const to = isPaused ? readyPath(store, grant) : slotPath(store, grant);
			return moveFile(entryPath(store, "slots", grant), to) && !isPaused;
		})
		.map(({ id }) => id);
}

/**
 * Repairs the queue: returns grants that nobody took, frees the slots of dead tasks, removes dead tasks
 * from the line, and hands over what is free then.
 * @param own as for `handOverAsync`.
 * @returns the ids that have a slot now, and the ids that were removed from the line.
 */
export async function repairQueue(
	store: Store,
	own: ReadonlySet<string>,
): Promise<{ started: string[]; removed: string[] }> {
	return withLockAsync(store, localLock(), () => {
		writeBeat(store, identifySelf());
		returnGrants(store);
		removeDead(store, "slots", listLocalEntries(store, "slots"));
		const plan = planHandOver(store, own);
		removeDead(store, "queue", plan.dead);
		return {
			started: assignPlaces(store, own, plan).started,
			removed: plan.dead.map(({ id }) => id),
		};
	});
}

/** Removes slots and queue entries that no living process needs, of all machines. */
export function sweepQueue(store: Store): void {
	for (const folder of ["slots", "queue"] as const) {
		const dead = listEntries(store, folder).filter(
			({ id }) => !isClaimLive(store, id, folder),
		);
		if (dead.length)
			withLock(store, localLock(), () => removeDead(store, folder, dead));
	}
	const inLine = new Set(
		listEntries(store, "queue").map((each) => each.machine),
	);
	for (const { name, machine } of listBeats(store))
		if (!inLine.has(machine))
			rmSync(`${folderPath(store, "parked")}/${name}`, { force: true });
}

/** What is known of the last repair of this machine's queue. */
export type Beat = {
	/** How long ago it was, in ms. Infinity if there was none or nobody was in line then, or it cannot be told. */
	ageMs: number;
	/** The process that makes the next one; undefined if that cannot be told. */
	keeper: string | undefined;
	/** Whether that is this process. Also if it cannot be told. */
	isKeeper: boolean;
};

/** Reads when the queue was repaired last, and who is its keeper. */
export function readBeat(store: Store): Beat {
	const path = localBeat(store);
	const mtimeMs = unlessRefused(() => lstatSync(path).mtimeMs);
	const keeper = readKeeper(store);
	return {
		ageMs:
			mtimeMs === undefined
				? Number.POSITIVE_INFINITY
				: Math.abs(Date.now() - mtimeMs),
		keeper,
		isKeeper: keeper === undefined || keeper === unlessRefused(nameSelf),
	};
}

// --- internal ---

/** The beats of all machines, whose names are encoded as in queue entries. */
const listBeats = (store: Store) =>
	listNames(store, folderPath(store, "parked")).flatMap((name) => {
		const [, machine] = /^beat,(.*)$/.exec(name) ?? [];
		return machine === undefined ? [] : [{ name, machine }];
	});

const localBeat = (store: Store) => queueBeat(store, identifyMachine().machine);

/**
 * Tells parked tasks and supervisors that the queue is repaired, and who is its keeper. The first line is the
 * time and, for parked shells, the seconds since boot if the system says them; the second line is the keeper.
 * On a full disk the file is empty.
 */
function writeBeat(store: Store, keeper: Identity): void {
	const uptime = unlessUnknown(() => readProcFile("/proc/uptime")) ?? "";
	const text = `${Date.now()} ${/^\d*/.exec(uptime)}\n${nameProcess(keeper)}\n`;
	try {
		writeFileSync(localBeat(store), text, { mode: 0o600 });
	} catch (error) {
		if (!isSystemError(error)) throw error;
	}
}

/** The keeper; undefined if the beat does not name one, as that of an older bg. */
const readKeeper = (store: Store) =>
	unlessRefused(() => readFile(store, localBeat(store)))?.split("\n")[1] ||
	undefined;

/** A process of this machine, in a word. */
const nameProcess = ({ pid, start }: Identity) => `${pid},${start}`;

const nameSelf = () => nameProcess(identifySelf());

const localLock = () => ({
	name: queueLock(identifyMachine().machine),
	timeoutMs: lockTimeoutMs,
});

type Candidate = { entry: QueueEntry; task: Pick<Task, "id" | "supervisor"> };

type Plan = {
	/** Those that get a place, in their order. */
	picks: Candidate[];
	/** The first one in line besides those. */
	first?: Candidate;
	/** Entries of tasks that wait no more, as far as the plan had to look. */
	dead: QueueEntry[];
	/** How many stay in line, or have not taken the slot that was granted to them. */
	left: number;
};

/** Chooses by priority, then by age, among the tasks that may start; one that may not holds up nobody. */
function planHandOver(
	store: Store,
	own: ReadonlySet<string>,
	waiting: readonly QueueEntry[] = listLocalEntries(store, "queue"),
): Plan {
	const plan: Plan = { picks: [], dead: [], left: 0 };
	const isPaused = isQueuePaused(store);
	const places = new Places(store);
	for (const state of ["ready", "held"] as const)
		for (const entry of waiting) {
			if (entry.state !== state) continue;
			const fits = state === "ready" && !isPaused && places.isFreeFor(entry);
			if (!fits && plan.first) continue;
			const { id } = entry;
			const task = own.has(id) ? { id } : findWaiter(store, id);
			if (task === "dead") plan.dead.push(entry);
			else if (task === "not now") continue;
			else if (fits) places.take(entry);
			// A supervisor of an older bg takes its slot itself, and repairs nothing.
			if (typeof task === "string" || !entry.limits) continue;
			if (fits) plan.picks.push({ entry, task });
			else plan.first = { entry, task };
		}
	const started = plan.picks.filter(({ task }) => own.has(task.id));
	plan.left =
		waiting.length - started.length - plan.dead.length + places.granted;
	return plan;
}

/**
 * Carries a plan out, under the queue's lock.
 * @returns the own tasks that have a slot now, and whether all that were chosen got theirs.
 */
function assignPlaces(
	store: Store,
	own: ReadonlySet<string>,
	{ picks, first, left, dead } = planHandOver(store, own),
): { started: string[]; isWhole: boolean } {
	for (const { id } of dead) {
		const task = findTask(store, id);
		if (task && isFinal(task)) dismissTask(store, task);
	}
	if (left === 0) rmSync(localBeat(store), { force: true });
	if (first) callKeeper(store, first.task, own);
	const moved = picks.filter(({ entry, task }) => {
		const isOwn = own.has(task.id);
		const to = isOwn ? slotPath(store, entry) : grantPath(store, entry);
		if (!moveFile(entryPath(store, "queue", entry), to)) return false;
		if (!isOwn) wakeTask(store, task);
		return true;
	});
	const started = moved.map(({ task }) => task.id).filter((id) => own.has(id));
	return { started, isWhole: moved.length === picks.length };
}

/** Makes the supervisor of the first one in line the keeper of the queue, and wakes it if it was not. */
function callKeeper(
	store: Store,
	task: Candidate["task"],
	own: ReadonlySet<string>,
): void {
	const supervisor = own.has(task.id) ? identifySelf() : task.supervisor;
	if (!supervisor) return;
	const name = nameProcess(supervisor);
	const isCalled = !isParked(store, task) && readKeeper(store) === name;
	// If it dies before its first repair, the others notice by the age of this.
	if (!isCalled) writeBeat(store, supervisor);
	// The process that renamed the mark of a parked task may have died before it sent the signal.
	else if (!isWaking(store, task)) return;
	if (name !== nameSelf()) wakeTask(store, task);
}

/** Returns grants that nobody took to the queue. A rename sets the time of its file's last change. */
function returnGrants(store: Store): void {
	for (const grant of listLocalEntries(store, "slots")) {
		if (grant.state !== "held") continue;
		const path = entryPath(store, "slots", grant);
		const { ctimeMs } = lstatSync(path, { throwIfNoEntry: false }) ?? {};
		if (ctimeMs === undefined) continue;
		if (Math.abs(Date.now() - ctimeMs) > grantTimeoutMs)
			moveFile(path, readyPath(store, grant));
	}
}

/** Removes those entries of a folder that no living process needs. Call it under the queue's lock. */
function removeDead(
	store: Store,
	folder: QueueFolder,
	entries: readonly QueueEntry[],
): void {
	for (const entry of entries)
		if (!isClaimLive(store, entry.id, folder))
			rmSync(entryPath(store, folder, entry), { force: true });
}

/** A task that can take a place; "dead" if it waits no more, "not now" if nobody would take the place. */
function findWaiter(store: Store, id: string): Task | "dead" | "not now" {
	const task = findTask(store, id);
	if (!isClaimLive(store, id, "queue", task)) return "dead";
	const canAnswer =
		task?.supervisor && !task.paused_at && isResponsive(task.supervisor);
	return canAnswer ? task : "not now";
}

/** Whether the task of an entry still needs it. */
function isClaimLive(
	store: Store,
	id: string,
	folder: QueueFolder,
	task = findTask(store, id),
): boolean {
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
