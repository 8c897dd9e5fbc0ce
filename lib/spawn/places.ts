/**
 * The places of this machine: which are taken, and for whom one is free. Each depth has its own, so a
 * task that waits for tasks it launched cannot block them. Each machine has its own too: whether the
 * slots of a container that is gone are free cannot be told.
 */
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	findLimit,
	type Limits,
	readLimits,
	readStoreLimits,
	resolveLimits,
	type StoreLimits,
} from "./limits.ts";
import {
	isQueuePaused,
	listLocalEntries,
	type QueueEntry,
	readModel,
} from "./queue.ts";

/** The places as they were when this was made, with those that were given away since. */
export class Places {
	readonly #store: Store;
	readonly #limits: StoreLimits;
	readonly #taken: { entry: QueueEntry; model: () => string }[];

	constructor(store: Store) {
		this.#store = store;
		this.#limits = readStoreLimits(store);
		this.#taken = listTaken(store).map((entry) => ({
			entry,
			model: () => readModel(store, "slots", entry),
		}));
	}

	/** Gives a place to a task of the queue. */
	take(entry: QueueEntry): void {
		const model = () => readModel(this.#store, "queue", entry);
		this.#taken.push({ entry, model });
	}

	/** Whether there is a place for a task of the queue. */
	isFreeFor(entry: QueueEntry): boolean {
		const { id, depth, droid, limits = readLimits({}) } = entry;
		const beside = this.#taken.filter(({ entry }) => entry.depth === depth);
		const { running, perDroid } = resolveLimits(this.#limits, droid, limits);
		if (beside.length >= running) return false;
		// An entry that is left from a failed rename.
		if (beside.some((each) => each.entry.id === id)) return false;
		const ofDroid = beside.filter((each) => each.entry.droid === droid);
		if (droid && ofDroid.length >= perDroid) return false;
		const perModel = this.#limits.model;
		if (Object.keys(perModel).length === 0) return true;
		const model = readModel(this.#store, "queue", entry);
		const ofModel = beside.filter((each) => each.model() === model);
		return (
			ofModel.length < (findLimit(perModel, model) ?? Number.POSITIVE_INFINITY)
		);
	}

	/** Whether there is a place for a task that is launched now, if nobody is ahead of it. */
	isFreeAt(depth: number, limits: Limits): boolean {
		const beside = this.#taken.filter(({ entry }) => entry.depth === depth);
		return beside.length < resolveLimits(this.#limits, "", limits).running;
	}
}

/** Whether a task in the queue would get a place at once: there is one, and nobody is ready beside it. */
export function isPlaceFree(
	store: Store,
	{ id, depth = 1 }: Task,
	limits: Limits,
): boolean {
	if (isQueuePaused(store) || !new Places(store).isFreeAt(depth, limits))
		return false;
	return !listLocalEntries(store, "queue").some(
		(entry) =>
			entry.id !== id && entry.depth === depth && entry.state === "ready",
	);
}

// --- internal ---

/** A folder with fewer names is read by one system call, whatever the runtime. */
const namesOfOneRead = 40;

/**
 * The slots of this machine, none left out. A process takes the slot that it was granted without the
 * queue's lock, by a rename. A listing that needs several reads may miss that slot under both names, but it
 * is renamed only once: a second listing has it.
 */
function listTaken(store: Store): QueueEntry[] {
	const first = listLocalEntries(store, "slots");
	if (first.length < namesOfOneRead) return first;
	const all = [...first, ...listLocalEntries(store, "slots")];
	return [...new Map(all.map((entry) => [entry.id, entry])).values()];
}
