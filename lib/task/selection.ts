/** Which tasks a list shows. Pure. */
import type { Task } from "./schema.ts";

/** How many tasks are shown without `--limit`, unless more of them run. */
const usualLimit = 50;

/**
 * Selects the tasks to show: those that run, then the newest queued ones, then the newest finished ones. Without a
 * limit that was typed, all that run are shown.
 */
export class Selection<T extends Pick<Task, "status">> {
	/** Running, queued, finished ones. */
	readonly #groups: { at: number; task: T }[][] = [[], [], []];
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
		const { status } = task;
		const group = status === "running" ? 0 : status === "queued" ? 1 : 2;
		const tasks = this.#groups[group] ?? [];
		const most = group === 0 ? this.#maxRunning : this.#limit;
		const at = this.#count++;
		if (tasks.length < most) tasks.push({ at, task });
	}

	/** The tasks to show, the newest first. */
	shown(): T[] {
		const [running = []] = this.#groups;
		return this.#groups
			.flat()
			.slice(0, Math.max(this.#limit, running.length))
			.sort((a, b) => a.at - b.at)
			.map(({ task }) => task);
	}
}
