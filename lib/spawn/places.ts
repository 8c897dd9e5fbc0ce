/**
 * The places of this machine: which are taken, and for whom one is free. Each depth has its own, so a
 * task that waits for tasks it launched cannot block them. Each machine has its own too: whether the
 * slots of a container that is gone are free cannot be told.
 */
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	findLimit,
	readLimits,
	readStoreLimits,
	resolveLimits,
	type StoreLimits,
} from "./limits.ts";
import {
	isQueuePaused,
	listLocalEntries,
	type QueueEntry,
	type QueueFolder,
	readModel,
} from "./queue.ts";

/** The places as they were when this was made, with those that were given away since. */
export class Places {
	readonly #store: Store;
	readonly #limits: StoreLimits;
	readonly #taken: { entry: QueueEntry; folder: QueueFolder }[];
	/** The kinds of entries for which no place is free. None becomes free: places are only given away. */
	readonly #full = new Set<string>();

	constructor(store: Store) {
		this.#store = store;
		this.#limits = readStoreLimits(store);
		this.#taken = listTaken(store).map((entry) => ({ entry, folder: "slots" }));
	}

	/** How many slots are granted to tasks that have not taken them. */
	get granted(): number {
		return this.#taken.filter(
			({ entry, folder }) => folder === "slots" && entry.state === "held",
		).length;
	}

	/** Gives a place to a task of the queue. */
	take(entry: QueueEntry): void {
		this.#taken.push({ entry, folder: "queue" });
	}

	/** Whether there is a place for a task of the queue. */
	isFreeFor(entry: QueueEntry): boolean {
		if (this.#full.has(entry.kind)) return false;
		const { id, depth, droid, limits = readLimits({}) } = entry;
		const beside = this.#taken.filter(({ entry }) => entry.depth === depth);
		const { running, perDroid } = resolveLimits(this.#limits, droid, limits);
		if (beside.length >= running) return this.#noteFull(entry);
		// An entry that is left from a failed rename.
		if (beside.some((each) => each.entry.id === id)) return false;
		const ofDroid = beside.filter((each) => each.entry.droid === droid);
		if (droid && ofDroid.length >= perDroid) return this.#noteFull(entry);
		const perModel = this.#limits.model;
		if (Object.keys(perModel).length === 0) return true;
		const model = readModel(this.#store, "queue", entry);
		const limit = findLimit(perModel, model);
		if (limit === undefined) return true;
		const ofModel = beside.filter(
			(each) => readModel(this.#store, each.folder, each.entry) === model,
		);
		return ofModel.length < limit;
	}

	#noteFull({ kind }: QueueEntry): false {
		this.#full.add(kind);
		return false;
	}
}

/**
 * The queue of this machine as one process sees it. A long queue is listed only from time to time: a listing
 * of 10,000 entries takes 10 ms, which each end of a task would need. So a task that is added meanwhile may be
 * passed over for `maxAgeMs`, and is not if a place stays free.
 */
export class Line {
	readonly #store: Store;
	#entries: QueueEntry[] = [];
	#listedUntil = 0;
	#isOld = false;

	constructor(store: Store) {
		this.#store = store;
	}

	/** The entries, those that start first at the front. */
	list(): readonly QueueEntry[] {
		const startedAt = performance.now();
		this.#isOld = startedAt < this.#listedUntil;
		if (this.#isOld) return this.#entries;
		this.#entries = listLocalEntries(this.#store, "queue");
		const cost = performance.now() - startedAt;
		this.#listedUntil =
			this.#entries.length < longQueue
				? 0
				: startedAt + Math.min(cost * maxCostFactor, maxAgeMs);
		return this.#entries;
	}

	/** Notes that entries are in the queue no more. */
	remove(removed: ReadonlySet<QueueEntry>): void {
		if (removed.size && this.#listedUntil)
			this.#entries = this.#entries.filter((each) => !removed.has(each));
	}

	/** Whether the last call of `list` returned an earlier listing. */
	get isOld(): boolean {
		return this.#isOld;
	}

	/** When to hand over again because the last time was by an earlier listing; on the monotonic clock in ms. */
	get nextListingAt(): number {
		return this.#isOld ? this.#listedUntil : Number.POSITIVE_INFINITY;
	}

	/** Lets the next call list the entries. */
	expire(): void {
		this.#listedUntil = 0;
	}
}

/** Whether a task in the queue would get a place at once: there is one, and nobody is ready beside it. */
export function isPlaceFree(store: Store, { id }: Task): boolean {
	if (isQueuePaused(store)) return false;
	const entries = listLocalEntries(store, "queue");
	const own = entries.find((entry) => entry.id === id);
	if (!own || !new Places(store).isFreeFor(own)) return false;
	return !entries.some(
		(entry) =>
			entry !== own && entry.depth === own.depth && entry.state === "ready",
	);
}

// --- internal ---

/** How many entries a queue has that is not listed each time. */
const longQueue = 1000;

/** How old such a listing gets: that many times what it took, and at most this, in ms. */
const maxCostFactor = 10;
const maxAgeMs = 200;

/**
 * The slots of this machine, none left out. A process takes the slot that it was granted without the
 * queue's lock, by a rename. A listing may miss that slot under both names, but it is renamed only once: a
 * second listing has it.
 */
function listTaken(store: Store): QueueEntry[] {
	const first = listLocalEntries(store, "slots");
	const all = [...first, ...listLocalEntries(store, "slots")];
	return [...new Map(all.map((entry) => [entry.id, entry])).values()];
}
