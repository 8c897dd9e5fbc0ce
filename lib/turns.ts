/**
 * The tasks of one supervisor that wait for their turn: until those they come after are over, until
 * the pause before another attempt is over, until nobody holds them, and until there is a place.
 * They wait on the event, for every end rings; once a second they look as well.
 */
import { logFault } from "./directory.ts";
import { messageOf } from "./error.ts";
import type { Store } from "./names.ts";
import { settle } from "./prune.ts";
import { claimSlots, type Limits, leaveQueue, setReady } from "./queue.ts";
import { findStop } from "./stop-requests.ts";
import { findTask, recordVersion, updateTask, watchEnds } from "./store.ts";
import {
	backoff,
	dependencySentence,
	finish,
	isFinal,
	type Task,
	timestamp,
} from "./task.ts";

/** How often to look without an event, in ms. */
const slowLook = 1000;

type Waiting = {
	task: Task;
	resolve: (hasPlace: boolean) => void;
	/** The pause before another attempt lasts until then, on the monotonic clock in ms. */
	notBefore: number;
	ready: boolean;
	version: string | undefined;
};

export class Turns {
	readonly #store: Store;
	readonly #limits: Limits;
	readonly #waiting = new Map<string, Waiting>();
	/** Of the tasks that ours come after: how each record was when it was last read. */
	readonly #seen = new Map<
		string,
		{ version: string | undefined; end?: Task }
	>();
	#disarm: (() => void) | undefined;
	#timer: NodeJS.Timeout | undefined;
	#isDue = false;
	/** When to look thoroughly again, however often it rings, on the monotonic clock. */
	#slowAt = 0;

	constructor(store: Store, limits: Limits) {
		this.#store = store;
		this.#limits = limits;
	}

	/** Waits in the queue: true once the task has a place, false once it will never start. */
	wait(task: Task): Promise<boolean> {
		// A clock that is set back makes no pause longer.
		const pause = Math.min(
			Date.parse(task.not_before ?? "") - Date.now() || 0,
			backoff(task.attempt ?? 1),
		);
		return new Promise((resolve) => {
			this.#waiting.set(task.id, {
				task,
				resolve,
				notBefore: performance.now() + Math.max(pause, 0),
				ready: false,
				version: "not read yet",
			});
			this.lookSoon();
		});
	}

	/** Looks once for all that happened until then. */
	lookSoon(): void {
		if (this.#isDue) return;
		this.#isDue = true;
		setImmediate(() => {
			this.#isDue = false;
			this.look(false);
		});
	}

	/** Starts whose turn it is. `thorough` notices as well what rang nobody's bell. */
	look(asked: boolean): void {
		const thorough = asked || performance.now() >= this.#slowAt;
		if (thorough) this.#slowAt = performance.now() + slowLook;
		try {
			this.#look(thorough);
			// Arm first, then look again: nothing falls between.
			if (this.#arm()) this.#look(false);
		} catch (error) {
			logFault(this.#store, "supervisor", messageOf(error));
			this.#arm();
		}
	}

	#look(thorough: boolean): void {
		for (const each of this.#waiting.values()) this.#review(each, thorough);
		const ready = [...this.#waiting.values()].filter((each) => each.ready);
		const ours = new Map(ready.map(({ task }) => [task.id, task]));
		for (const id of claimSlots(this.#store, ours, this.#limits, thorough))
			this.#settle(id, true);
	}

	/** Keeps watch while anybody waits; true where it has just begun. */
	#arm(): boolean {
		clearTimeout(this.#timer);
		if (this.#waiting.size === 0) {
			this.#disarm?.();
			this.#disarm = undefined;
			return false;
		}
		const begins = !this.#disarm;
		this.#disarm ??= watchEnds(this.#store, () => this.lookSoon());
		const now = performance.now();
		const pauses = [...this.#waiting.values()]
			.map(({ notBefore }) => notBefore - now)
			.filter((pause) => pause > 0);
		this.#timer = setTimeout(
			() => this.look(false),
			Math.min(this.#slowAt - now, ...pauses),
		);
		return begins;
	}

	#settle(id: string, hasPlace: boolean): void {
		const waiting = this.#waiting.get(id);
		this.#waiting.delete(id);
		waiting?.resolve(hasPlace);
		if (!hasPlace && waiting) leaveQueue(this.#store, waiting.task);
	}

	/** Brings one task up to date: whether it may start, or never will. */
	#review(waiting: Waiting, thorough: boolean): void {
		const { id } = waiting.task;
		const version = thorough && recordVersion(this.#store, id);
		if (thorough && version !== waiting.version) {
			const task = findTask(this.#store, id);
			if (version === undefined || (task && (isFinal(task) || task.stop))) {
				this.#settle(id, false);
				return;
			}
			if (task) Object.assign(waiting, { task, version });
		}
		if (thorough && findStop(this.#store, id)) {
			this.#settle(id, false);
			return;
		}
		const state = this.#stateOf(waiting.task, thorough);
		if (typeof state === "object") {
			const { error } = state;
			const at = timestamp();
			updateTask(this.#store, id, (now) =>
				finish(now, { reason: "dependency", at, error }),
			);
			this.#settle(id, false);
			return;
		}
		const ready = state === "free" && performance.now() >= waiting.notBefore;
		// A thorough look makes an entry again that somebody took away.
		if (ready === waiting.ready && !thorough) return;
		setReady(this.#store, waiting.task, ready);
		waiting.ready = ready;
	}

	#stateOf(task: Task, thorough: boolean): "free" | "held" | { error: string } {
		let state: "free" | "held" = task.paused_at ? "held" : "free";
		for (const id of task.after ?? []) {
			const end = this.#endOf(id, thorough);
			if (end === "none") state = "held";
			else if (end === "unknown")
				return { error: `not started: nobody can say how ${id} ended` };
			else if (end.status !== "completed" && task.after_mode !== "any")
				return { error: dependencySentence(end) };
		}
		return state;
	}

	/** How a task that another comes after ended; `unknown` where its record is gone. */
	#endOf(id: string, thorough: boolean): Task | "none" | "unknown" {
		const seen = this.#seen.get(id);
		if (seen?.end) return seen.end;
		const version = recordVersion(this.#store, id);
		if (seen && version === seen.version && !thorough) return "none";
		const found = findTask(this.#store, id);
		if (!found) return version === undefined ? "unknown" : "none";
		const task = thorough ? settle(this.#store, found) : found;
		const isOver = isFinal(task);
		this.#seen.set(id, { version, ...(isOver && { end: task }) });
		return isOver ? task : "none";
	}
}
