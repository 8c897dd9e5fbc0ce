/**
 * The queue and the slots. An entry in the queue is a task that has not started. An entry among the slots
 * is a task that counts as running: `ready` once its supervisor has taken the slot, `held` while the slot
 * is only granted to it. Renames turn the one into the other, so each task has at most one entry.
 *
 * A queue entry's name holds all that orders the queue: `ready` or `held` (the task waits for other tasks
 * or its next attempt, or is paused), priority, depth, id, machine and droid; then the limits of its
 * launch: of running tasks and of tasks of its droid. An older bg does not write those two and reads the
 * slots, whose names have stayed the same. An entry's text is the task's model.
 */
import { existsSync, rmSync } from "node:fs";
import { droidNamePattern } from "../droid/definitions/definition.ts";
import { findModel } from "../droid/exec.ts";
import { ifExists, wrapWriteErrors } from "../error.ts";
import { identifyMachine } from "../process/machine.ts";
import {
	discard,
	listNames,
	moveFile,
	readFile,
	removeFile,
	touch,
	writePrivateFile,
} from "../store/files.ts";
import { folderPath, type Store } from "../store/paths.ts";
import { compareIds, idPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { type Limits, priorities } from "./limits.ts";

export type QueueFolder = "queue" | "slots";

type EntryState = "held" | "ready";

export type QueueEntry = {
	name: string;
	state: EntryState;
	/** Lower numbers start first. */
	order: number;
	depth: number;
	id: string;
	machine: string;
	droid: string;
	/** The same for entries to which the same limits apply, of one model. */
	kind: string;
	/** The limits of the launch; undefined in a slot, and in the queue for a task of an older bg. */
	limits?: Pick<Limits, "BG_MAX_RUNNING" | "BG_MAX_PER_DROID">;
};

/** The file whose existence pauses the queue. */
export const pauseMark = (store: Store) =>
	`${folderPath(store, "queue")}/paused`;

/** The path of an entry. */
export const entryPath = (
	store: Store,
	folder: QueueFolder,
	{ name }: QueueEntry,
) => `${folderPath(store, folder)}/${name}`;

/** Adds tasks to the queue; all or, if that fails, none. @throws BgError (refused) */
export function enqueue(
	store: Store,
	tasks: readonly Task[],
	limits: Limits,
): void {
	try {
		wrapWriteErrors(folderPath(store, "queue"), () => {
			for (const task of tasks)
				addEntry(store, task, limits, isHeldAtFirst(task));
		});
	} catch (error) {
		for (const task of tasks) withdrawEntry(store, task, limits);
		throw error;
	}
}

/**
 * Sets whether a queued task may start as soon as there is a slot.
 * @param limits to add the entry with if it is missing; without them, a missing entry stays missing.
 */
export function setRunnable(
	store: Store,
	task: Task,
	isRunnable: boolean,
	limits?: Limits,
): void {
	const state = isRunnable ? "ready" : "held";
	const rename = (entry: QueueEntry) => inState(entry, state);
	if (renameEntry(store, task, rename) || !limits) return;
	// A listing may miss an entry that is renamed meanwhile.
	if (renameEntry(store, task, rename) || findEntry(store, "slots", task.id))
		return;
	addEntry(store, task, limits, !isRunnable);
}

/** Changes the place of a queued task in the order to that of its priority. */
export function reorderEntry(store: Store, task: Task): void {
	renameEntry(store, task, ({ name }) => {
		const [state, , ...rest] = name.split(",");
		return [state, orderOf(task), ...rest].join(",");
	});
}

/** Removes a task from the queue. */
export const dequeue = (store: Store, { id }: Task) =>
	removeEntries(store, "queue", new Set([id]));

/** Frees the slot of a task, taken or only granted. */
export function releaseSlot(store: Store, task: Task): void {
	const slot = `${folderPath(store, "slots")}/${slotName(task)}`;
	if (!removeFile(slot)) removeEntries(store, "slots", new Set([task.id]));
}

/** Frees the slot of a task if it is only granted. */
export function withdrawGrant(store: Store, { id }: Task): void {
	for (const entry of listEntries(store, "slots"))
		if (entry.id === id && entry.state === "held")
			rmSync(entryPath(store, "slots", entry), { force: true });
}

/** Removes tasks from the queue or the slots by their ids alone. */
export function removeEntries(
	store: Store,
	folder: QueueFolder,
	ids: ReadonlySet<string>,
): void {
	for (const entry of listEntries(store, folder))
		if (ids.has(entry.id))
			rmSync(entryPath(store, folder, entry), { force: true });
}

/** Removes the entry of a task that is not launched, after another error. A failure here is ignored. */
export function withdrawEntry(store: Store, task: Task, limits: Limits): void {
	const name = entryName(task, limits, isHeldAtFirst(task) ? "held" : "ready");
	discard(`${folderPath(store, "queue")}/${name}`);
}

/** Pauses or continues the queue: while it is paused no task starts; running tasks go on. */
export function setQueuePaused(store: Store, isPaused: boolean): void {
	wrapWriteErrors(pauseMark(store), () => {
		if (isPaused) touch(pauseMark(store));
		else rmSync(pauseMark(store), { force: true });
	});
}

/** The entries of all machines. */
export function listEntries(store: Store, folder: QueueFolder): QueueEntry[] {
	return listNames(store, folderPath(store, folder)).flatMap(
		(name) => parseEntryName(name) ?? [],
	);
}

/** The entries of this machine, those that start first at the front. Only they count for its limits. */
export function listLocalEntries(
	store: Store,
	folder: QueueFolder,
): QueueEntry[] {
	const here = encodeURIComponent(identifyMachine().machine);
	const before = parsed[folder];
	const now = new Map<string, QueueEntry>();
	for (const name of listNames(store, folderPath(store, folder))) {
		const entry = before.get(name) ?? parseEntryName(name);
		if (entry) now.set(name, entry);
	}
	parsed[folder] = now;
	return [...now.values()]
		.filter(({ machine }) => machine === here)
		.sort((a, b) => a.order - b.order || compareIds(a.id, b.id));
}

/** The entries of the last listings by their names: most of them are listed again and again. */
const parsed: Record<QueueFolder, ReadonlyMap<string, QueueEntry>> = {
	queue: new Map(),
	slots: new Map(),
};

/** Whether the queue is paused. */
export const isQueuePaused = (store: Store) => existsSync(pauseMark(store));

/** The path of an entry's slot while it is only granted. */
export const grantPath = (store: Store, entry: QueueEntry) =>
	`${folderPath(store, "slots")}/${inState(entry, "held")}`;

/** The path of an entry's slot once it is taken. */
export const slotPath = (store: Store, entry: QueueEntry) =>
	`${folderPath(store, "slots")}/${inState(entry, "ready").split(",").slice(0, slotFields).join(",")}`;

/** The path of an entry in the queue once it may start. */
export const readyPath = (store: Store, entry: QueueEntry) =>
	`${folderPath(store, "queue")}/${inState(entry, "ready")}`;

/** The models of entries that were read: an entry's text never changes. */
const models = new WeakMap<QueueEntry, string>();

/** The model of an entry's task; empty if it names none or the entry is gone. */
export function readModel(
	store: Store,
	folder: QueueFolder,
	entry: QueueEntry,
): string {
	const known = models.get(entry);
	if (known !== undefined) return known;
	const path = entryPath(store, folder, entry);
	const model = ifExists(() => readFile(store, path));
	// An entry that is being written is empty at first.
	if (model) models.set(entry, model);
	return model ?? "";
}

// --- internal ---

/** An entry's name in a state. */
const inState = ({ name }: QueueEntry, state: EntryState) =>
	name.replace(/^[^,]+/, state);

/** How many fields the name of a slot has. */
const slotFields = 6;

/** Whether a task cannot start even if there is a slot when it is launched. */
export const isHeldAtFirst = ({ after, paused_at, not_before }: Task) =>
	Boolean(after?.length || paused_at || not_before);

/** A whole number of a record, which may hold any. */
const wholeNumber = (given: number | undefined, usual: number) =>
	given !== undefined && Math.abs(given) < 1e6 ? Math.trunc(given) : usual;

const orderOf = ({ priority }: Task) =>
	Math.max(priorities.highest - wholeNumber(priority, priorities.usual), 0);

function addEntry(
	store: Store,
	task: Task,
	limits: Limits,
	isHeld: boolean,
): void {
	const name = entryName(task, limits, isHeld ? "held" : "ready");
	const model = findModel(task) ?? "";
	writePrivateFile(`${folderPath(store, "queue")}/${name}`, model);
}

/** How often a rename is tried whose entry another process has renamed meanwhile. */
const maxRenames = 20;

/**
 * Renames the queue entry of a task. Its state and its order are changed by different processes.
 * @returns whether it is there.
 */
function renameEntry(
	store: Store,
	{ id }: Task,
	rename: (entry: QueueEntry) => string,
): boolean {
	for (let tries = 0; tries < maxRenames; tries++) {
		const entry = findEntry(store, "queue", id);
		if (!entry) return false;
		const name = rename(entry);
		const to = entryPath(store, "queue", { ...entry, name });
		if (name === entry.name || moveFile(entryPath(store, "queue", entry), to))
			return true;
	}
	return true;
}

function entryName(task: Task, limits: Limits, state: EntryState): string {
	const count = (limit: number) => (Number.isFinite(limit) ? limit : 0);
	const { BG_MAX_RUNNING, BG_MAX_PER_DROID } = limits;
	return [
		slotName(task, state),
		count(BG_MAX_RUNNING),
		count(BG_MAX_PER_DROID),
	].join(",");
}

/** The name of a task's slot. */
function slotName(task: Task, state: EntryState = "ready"): string {
	const { agent = "", kind, id } = task;
	const droid = kind === "droid" && droidNamePattern.test(agent) ? agent : "";
	const { machine } = task.supervisor ?? identifyMachine();
	return [
		state,
		orderOf(task),
		Math.max(wholeNumber(task.depth, 1), 0),
		id,
		encodeURIComponent(machine),
		droid,
	].join(",");
}

/** Parses the name of an entry; undefined if it is not one. */
function parseEntryName(name: string): QueueEntry | undefined {
	const pattern =
		/^(held|ready),(\d+),(\d+),([^,]+),([^,]+),([^,]*)(?:,(\d+),(\d+))?$/;
	const [, state, order, depth, id = "", machine = "", droid = "", ...counts] =
		pattern.exec(name) ?? [];
	if (!state || !idPattern.test(id)) return undefined;
	const [running, perDroid] = counts.map(
		(count) => Number(count) || Number.POSITIVE_INFINITY,
	);
	return {
		name,
		state: state as EntryState,
		order: Number(order),
		depth: Number(depth),
		id,
		machine,
		droid,
		kind: [depth, droid, ...counts].join(),
		...(counts[0] !== undefined && {
			limits: {
				BG_MAX_RUNNING: running as number,
				BG_MAX_PER_DROID: perDroid as number,
			},
		}),
	};
}

function findEntry(
	store: Store,
	folder: QueueFolder,
	id: string,
): QueueEntry | undefined {
	const name = listNames(store, folderPath(store, folder)).find(
		(each) => each.includes(`,${id},`) && parseEntryName(each)?.id === id,
	);
	return name === undefined ? undefined : parseEntryName(name);
}
