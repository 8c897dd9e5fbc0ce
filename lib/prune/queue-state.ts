/**
 * The state of the queue for people: what is in use at each depth of each machine, and why each task waits.
 * It is read once, with one listing of the queue and one of the slots, however many tasks are described.
 */
import { errorMessage, isRefusal, unlessRefused } from "../error.ts";
import { formatDuration } from "../print/units.ts";
import { isStopped } from "../process/identity.ts";
import { identifyMachine } from "../process/machine.ts";
import {
	describeLimits,
	findLimit,
	type LimitsInForce,
	readLimits,
	readLimitsInForce,
	readStoreLimits,
	resolveLimits,
} from "../spawn/limits.ts";
import {
	isQueuePaused,
	listEntries,
	type QueueEntry,
	readModel,
} from "../spawn/queue.ts";
import type { Store } from "../store/paths.ts";
import { compareIds } from "../task/ids.ts";
import type { Status, Task } from "../task/schema.ts";
import { computeRetryDelayMs, isFinal } from "../task/states.ts";
import { describeJob, explainPending } from "./supervision.ts";

/** What is in use at one depth of one machine. */
export type Usage = {
	machine: string;
	isHere: boolean;
	depth: number;
	running: number;
	queued: number;
	/** Running tasks of each droid; of each model only if models have limits. */
	droid: Record<string, number>;
	model: Record<string, number>;
};

/** Why a task waits that no other reason holds while the queue is paused. */
export const pausedReason = "queued: the queue is paused";

/** The state of the queue when this was made. */
export class QueueState {
	readonly #limits: ReturnType<typeof readStoreLimits>;
	readonly #isPaused: boolean;
	readonly #usages = new Map<string, Usage>();
	readonly #placed = new Set<string>();
	readonly #waiting = new Map<string, Waiting>();

	/** @throws BgError (refused) if the queue or the limits of the store cannot be read. */
	constructor(store: Store) {
		this.#limits = readStoreLimits(store);
		this.#isPaused = isQueuePaused(store);
		const hasModels = Object.keys(this.#limits.model).length > 0;
		for (const entry of listEntries(store, "slots")) {
			const usage = this.#usageAt(entry);
			const model = hasModels ? readModel(store, "slots", entry) : "";
			usage.running++;
			countName(usage.droid, entry.droid);
			countName(usage.model, model);
			this.#placed.add(entry.id);
		}
		const ranks = new Map<string, number>();
		const rank = (...words: (string | number)[]) => {
			const key = words.join();
			const next = (ranks.get(key) ?? 0) + 1;
			ranks.set(key, next);
			return next;
		};
		const line = listEntries(store, "queue").sort(
			(a, b) => a.order - b.order || compareIds(a.id, b.id),
		);
		for (const entry of line) {
			const { machine, depth, droid, state } = entry;
			this.#usageAt(entry).queued++;
			if (state !== "ready") continue;
			const model = hasModels && droid ? readModel(store, "queue", entry) : "";
			this.#waiting.set(entry.id, {
				entry,
				model,
				place: rank(machine, depth),
				placeOfDroid: rank(machine, depth, "droid", droid),
				placeOfModel: rank(machine, depth, "model", model),
			});
		}
	}

	/** What is in use, by depth; this machine comes first. */
	listUsages(): Usage[] {
		this.#usageAt({ machine: hereEncoded(), depth: 1 });
		return [...this.#usages.values()].sort(
			(a, b) =>
				Number(b.isHere) - Number(a.isHere) ||
				a.machine.localeCompare(b.machine) ||
				a.depth - b.depth,
		);
	}

	/**
	 * Why a task waits, in one sentence; undefined if it does not wait or that is not known.
	 * @param findStatus the status of an unfinished task; anything else for another one.
	 */
	describeWait(
		task: Task,
		findStatus: (id: string) => Status | undefined,
		now = Date.now(),
	): string | undefined {
		const { id, status, paused_at, after = [], attempt = 1 } = task;
		if (status !== "queued") return undefined;
		if (task.engine) return describeJobWait(task);
		if (paused_at) return "paused";
		const untilStart = Date.parse(task.not_before ?? "") - now;
		// The delay before a retry does not follow the clock: one that was set back makes it no longer.
		const delay =
			attempt > 1
				? Math.min(untilStart, computeRetryDelayMs(attempt))
				: untilStart;
		if (delay > 0)
			return `queued: ${attempt > 1 ? "next try" : "starts"} in ${formatDuration(Math.ceil(delay / 1000) * 1000)}`;
		const unfinished = after.flatMap((other) => {
			const status = findStatus(other);
			return status && !isFinal({ status }) ? [`${other} (${status})`] : [];
		});
		if (unfinished.length) {
			const more = unfinished.length - 1;
			return `queued: after ${unfinished[0]}${more ? ` and ${more} more` : ""}`;
		}
		if (this.#placed.has(id)) return "queued: about to start";
		if (this.#isPaused) return pausedReason;
		const waiting = this.#waiting.get(id);
		return waiting && this.#describePlace(waiting, task);
	}

	#describePlace(waiting: Waiting, { supervisor }: Task): string {
		const { entry, model } = waiting;
		const { droid, depth, limits = readLimits({}) } = entry;
		const usage = this.#usageAt(entry);
		const { running, perDroid } = resolveLimits(this.#limits, droid, limits);
		const perModel =
			findLimit(this.#limits.model, model) ?? Number.POSITIVE_INFINITY;
		const say = (place: number, what: string, count: number, limit: number) => {
			const of = Number.isFinite(limit) ? ` of ${limit}` : "";
			const at = depth > 1 ? ` at depth ${depth}` : "";
			return `queued: ${toOrdinal(place)}, for a place${what} (${count}${of} running${at})`;
		};
		const { place, placeOfDroid, placeOfModel } = waiting;
		const ofDroid = getCount(usage.droid, droid);
		const ofModel = getCount(usage.model, model);
		if (usage.running < running) {
			if (droid && ofDroid >= perDroid)
				return say(placeOfDroid, ` of droid ${droid}`, ofDroid, perDroid);
			if (ofModel >= perModel)
				return say(placeOfModel, ` of model ${model}`, ofModel, perModel);
			if (
				supervisor &&
				entry.machine === hereEncoded() &&
				isStopped(supervisor)
			)
				return `queued: its process ${supervisor.pid} is stopped (kill -CONT ${supervisor.pid})`;
		}
		return say(place, "", usage.running, running);
	}

	#usageAt({ machine, depth }: Pick<QueueEntry, "machine" | "depth">): Usage {
		const key = `${machine},${depth}`;
		const known = this.#usages.get(key);
		if (known) return known;
		const isHere = machine === hereEncoded();
		const counts = { running: 0, queued: 0, droid: {}, model: {} };
		const usage = { machine: decode(machine), isHere, depth, ...counts };
		this.#usages.set(key, usage);
		return usage;
	}
}

/** Why a queued task waits whose engine decides when it starts; undefined for another one. */
export function describeJobWait(task: Task): string | undefined {
	const job = describeJob(task);
	const why = explainPending(task);
	return job && `queued: ${job}${why ? `, waits: ${why}` : ""}`;
}

/** Reads the state of the queue; undefined if that is refused: what lists tasks goes on without it. */
export const findQueueState = (store: Store): QueueState | undefined =>
	unlessRefused(() => new QueueState(store));

/** What is in force: as JSON, and in one line for people. */
export function readQueueSettings(store: Store): {
	limits: Partial<LimitsInForce> | { error: string };
	queue: { paused: boolean };
	line: string;
} {
	const paused = isQueuePaused(store);
	const all = findLimitsInForce(store);
	const said = "error" in all ? `limits: ${all.error}` : describeLimits(all);
	const line = paused ? `the queue is paused · ${said}` : said;
	const limits = "error" in all ? all : omitUnset(all);
	return { limits, queue: { paused }, line };
}

// --- internal ---

/** A task in line that waits for nothing but a place. */
type Waiting = {
	entry: QueueEntry;
	model: string;
	/** Its place at its depth of its machine: among all, those of its droid and those of its model. */
	place: number;
	placeOfDroid: number;
	placeOfModel: number;
};

/** The machine of this process as the names of entries have it. */
const hereEncoded = () => encodeURIComponent(identifyMachine().machine);

/** Decodes a part of a file name, which may be anything. */
function decode(part: string): string {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

/** What limits something. */
function omitUnset({
	running,
	per_droid,
	droid,
	model,
}: LimitsInForce): Partial<LimitsInForce> {
	return {
		running,
		...(per_droid && { per_droid }),
		...(Object.keys(droid).length && { droid }),
		...(Object.keys(model).length && { model }),
	};
}

function countName(counts: Record<string, number>, name: string): void {
	if (name) counts[name] = getCount(counts, name) + 1;
}

const getCount = (counts: Readonly<Record<string, number>>, name: string) =>
	Object.hasOwn(counts, name) ? (counts[name] ?? 0) : 0;

function toOrdinal(n: number): string {
	const isTeen = Math.floor(n / 10) % 10 === 1;
	const suffix = isTeen ? undefined : { 1: "st", 2: "nd", 3: "rd" }[n % 10];
	return `${n}${suffix ?? "th"}`;
}

function findLimitsInForce(store: Store): LimitsInForce | { error: string } {
	try {
		return readLimitsInForce(store);
	} catch (error) {
		if (isRefusal(error)) return { error: errorMessage(error) };
		throw error;
	}
}
