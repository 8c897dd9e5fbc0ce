/** Which tasks a list shows, and in which order. Pure. */
import type { Task } from "./schema.ts";
import { isFinal } from "./states.ts";

/** How many tasks are shown without `--limit`, unless more of them run. */
const usualLimit = 50;

/** A task and its place in the order of all. */
type Placed<T> = { at: number; task: T };

/**
 * Selects the tasks to show: those that run, then queued ones, then those that ended last. Without a limit that was
 * typed, all that run are shown.
 */
export class Selection<T extends Pick<Task, "status" | "completed_at">> {
	readonly #running: Placed<T>[] = [];
	#queued: Placed<T>[] = [];
	#finished: Placed<T>[] = [];
	readonly #hasOldestQueued: boolean;
	readonly #limit: number;
	readonly #maxRunning: number;
	#count = 0;

	/**
	 * @param typed the limit that was typed; 0: none.
	 * @param queued which of too many queued tasks are shown.
	 */
	constructor(
		typed: number | undefined,
		queued: "oldest" | "newest" = "newest",
	) {
		this.#hasOldestQueued = queued === "oldest";
		this.#limit = (typed ?? usualLimit) || Number.POSITIVE_INFINITY;
		this.#maxRunning =
			typed === undefined ? Number.POSITIVE_INFINITY : this.#limit;
	}

	/** Adds a task that is older than those before. */
	add(task: T): void {
		const placed = { at: this.#count++, task };
		if (task.status === "running") {
			if (this.#running.length < this.#maxRunning) this.#running.push(placed);
		} else if (task.status === "queued") {
			this.#queued.push(placed);
			if (this.#queued.length > 4 * this.#limit) this.#dropQueued(this.#limit);
		} else {
			this.#finished.push(placed);
			// Not at each task, because it sorts.
			if (this.#finished.length > 4 * this.#limit) this.#dropFinished();
		}
	}

	/** The tasks to show, the newest first. */
	shown(): T[] {
		this.#dropFinished();
		this.#dropQueued(Math.max(0, this.#limit - this.#running.length));
		const all = [...this.#running, ...this.#queued, ...this.#finished];
		return all
			.slice(0, Math.max(this.#limit, this.#running.length))
			.sort((a, b) => a.at - b.at)
			.map(({ task }) => task);
	}

	/** Keeps so many queued tasks. The newest were added first. */
	#dropQueued(count: number): void {
		const from = this.#hasOldestQueued
			? Math.max(0, this.#queued.length - count)
			: 0;
		this.#queued = this.#queued.slice(from, from + count);
	}

	/** Keeps the finished tasks that may be shown, those that ended last at the front. */
	#dropFinished(): void {
		this.#finished.sort((a, b) => endOf(b.task) - endOf(a.task) || a.at - b.at);
		this.#finished = this.#finished.slice(0, this.#limit);
	}
}

/**
 * Orders tasks for a person, as `bg watch` does: running and queued ones as they were launched, then those that
 * ended last. `tasks`: the newest first.
 */
export function orderForPerson<T extends Pick<Task, "status" | "completed_at">>(
	tasks: readonly T[],
): T[] {
	const launched = tasks.toReversed();
	return [
		...launched.filter(({ status }) => status === "running"),
		...launched.filter(({ status }) => status === "queued"),
		...tasks.filter(isFinal).toSorted((a, b) => endOf(b) - endOf(a)),
	];
}

// --- internal ---

/** When a task ended, in ms since 1970; 0 if that is not known. */
const endOf = ({ completed_at = "" }: Pick<Task, "completed_at">) =>
	Date.parse(completed_at) || 0;
