/** Which tasks a list shows. Pure. */
import type { Task } from "./schema.ts";

/** How many tasks are shown without `--limit`, unless more of them run. */
const usualLimit = 50;

/** A task and its place in the order of all. */
type Placed<T> = { at: number; task: T };

/**
 * Selects the tasks to show: those that run, then the newest queued ones, then those that ended last. Without a
 * limit that was typed, all that run are shown.
 */
export class Selection<T extends Pick<Task, "status" | "completed_at">> {
	readonly #running: Placed<T>[] = [];
	readonly #queued: Placed<T>[] = [];
	#finished: Placed<T>[] = [];
	readonly #limit: number;
	readonly #maxRunning: number;
	#count = 0;

	/** @param typed the limit that was typed; 0: none. */
	constructor(typed: number | undefined) {
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
			if (this.#queued.length < this.#limit) this.#queued.push(placed);
		} else {
			this.#finished.push(placed);
			// Not at each task, because it sorts.
			if (this.#finished.length > 4 * this.#limit) this.#dropFinished();
		}
	}

	/** The tasks to show, the newest first. */
	shown(): T[] {
		this.#dropFinished();
		const all = [...this.#running, ...this.#queued, ...this.#finished];
		return all
			.slice(0, Math.max(this.#limit, this.#running.length))
			.sort((a, b) => a.at - b.at)
			.map(({ task }) => task);
	}

	/** Keeps the finished tasks that may be shown, those that ended last at the front. */
	#dropFinished(): void {
		const end = ({ task }: Placed<T>) =>
			Date.parse(task.completed_at ?? "") || 0;
		this.#finished.sort((a, b) => end(b) - end(a) || a.at - b.at);
		this.#finished = this.#finished.slice(0, this.#limit);
	}
}
