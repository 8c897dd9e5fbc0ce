/**
 * The limit on the tokens of a droid. Its count is read with the monitor's polls, at most once a second, and only for
 * a task that has a limit. droid counts after each turn, so a task may pass its limit by one turn. A count that cannot
 * be read stops nothing; `status` says why.
 */
import { readCurrentDigest, readTaskUsage } from "../droid/task-output.ts";
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { countBudget } from "../task/usage.ts";

/** The shortest time between two reads, in ms: a growing output is polled more often. */
const minReadMs = 900;

/** Counts the tokens of one task. */
export class Budget {
	readonly #store: Store;
	#readAt = Number.NEGATIVE_INFINITY;

	constructor(store: Store) {
		this.#store = store;
	}

	/** Whether an unfinished task has used more than its limit, as far as is known. */
	isExceeded(task: Task): boolean {
		const { max_tokens } = task;
		if (max_tokens === undefined || isFinal(task)) return false;
		const now = performance.now();
		if (now - this.#readAt < minReadMs) return false;
		this.#readAt = now;
		const used = readTaskUsage(this.#store, task);
		if (!used || countBudget(used) <= max_tokens) return false;
		// A droid that has printed its last line is about to exit.
		return readCurrentDigest(this.#store, task).finalText === undefined;
	}
}
