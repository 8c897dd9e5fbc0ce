/**
 * The names of queue entries and slots. A name holds all that orders the queue: `ready` or `held` (the task
 * waits for other tasks or its next attempt, or is paused), priority, depth, id, machine and droid.
 */
import { droidNamePattern } from "../droid/definition.ts";
import { identifyMachine } from "../process/machine.ts";
import { listNames } from "../store/files.ts";
import { folderPath, type Store } from "../store/paths.ts";
import { idPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { priorities } from "./limits.ts";

export const queueFolders = ["slots", "queue"] as const;
export type QueueFolder = (typeof queueFolders)[number];

export const entryStates = ["held", "ready"] as const;
type EntryState = (typeof entryStates)[number];

export type QueueEntry = {
	name: string;
	state: EntryState;
	order: number;
	depth: number;
	id: string;
	machine: string;
	droid: string;
};

/** The file whose existence pauses the queue. */
export const pauseMark = (store: Store) =>
	`${folderPath(store, "queue")}/paused`;

/** The path of a task's entry. Names sort in the order of starting: highest priority, then oldest id. */
export function entryPath(
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

/** Parses the name of an entry; undefined if it is not one. */
export function parseEntryName(name: string): QueueEntry | undefined {
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

/** The entries of all machines. */
export function listEntries(store: Store, folder: QueueFolder): QueueEntry[] {
	return listNames(store, folderPath(store, folder)).flatMap(
		(name) => parseEntryName(name) ?? [],
	);
}

/** The entries of this machine: only they count for its limits and order. */
export function listLocalEntries(
	store: Store,
	folder: QueueFolder,
): QueueEntry[] {
	const here = encodeURIComponent(identifyMachine().machine);
	return listEntries(store, folder).filter(({ machine }) => machine === here);
}
