/**
 * The tasks of one supervisor that wait to start: until the tasks they come after have ended, until the
 * delay before a retry has passed, until they are not paused, and until there is a slot. Every end wakes
 * them; once a second there is a full poll.
 */
import { errorMessage } from "../error.ts";
import { logFault } from "../store/directory.ts";
import { findStop, watchEnds } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { findTask, readRecordVersion, updateTask } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import {
	computeRetryDelayMs,
	dependencySentence,
	finishTask,
	isFinal,
	timestamp,
} from "../task/states.ts";
import type { Limits } from "./limits.ts";
import { dequeue, setRunnable } from "./queue.ts";
import { claimSlots } from "./slots.ts";

/** How often to poll without an event, in ms. */
const fullPollIntervalMs = 1000;

/** Reconciles a task whose supervisor may be gone. */
type Reconcile = (store: Store, task: Task) => Task;

type WaitingTask = {
	task: Task;
	resolve: (hasSlot: boolean) => void;
	/** When the delay before a retry ends, on the monotonic clock in ms. */
	notBefore: number;
	isRunnable: boolean;
	version: string | undefined;
};

/** Starts tasks as soon as they may start. */
export class WaitingTasks {
	readonly #store: Store;
	readonly #limits: Limits;
	readonly #reconcile: Reconcile;
	readonly #waiting = new Map<string, WaitingTask>();
	/** The tasks that these come after, as they were when last read. */
	readonly #seen = new Map<
		string,
		{ version: string | undefined; end?: Task }
	>();
	#unwatch: (() => void) | undefined;
	#timer: NodeJS.Timeout | undefined;
	#isPollScheduled = false;
	/** When the next full poll is due, on the monotonic clock in ms. */
	#nextFullPollAt = 0;

	constructor(store: Store, limits: Limits, reconcile: Reconcile) {
		this.#store = store;
		this.#limits = limits;
		this.#reconcile = reconcile;
	}

	/** Waits in the queue. Resolves to true when the task has a slot, to false if it will never start. */
	wait(task: Task): Promise<boolean> {
		// A clock that is set back does not make the delay longer.
		const pause = Math.min(
			Date.parse(task.not_before ?? "") - Date.now() || 0,
			computeRetryDelayMs(task.attempt ?? 1),
		);
		return new Promise((resolve) => {
			this.#waiting.set(task.id, {
				task,
				resolve,
				notBefore: performance.now() + Math.max(pause, 0),
				isRunnable: false,
				version: "not read yet",
			});
			this.pollSoon();
		});
	}

	/** Polls once for all events until then. */
	pollSoon(): void {
		if (this.#isPollScheduled) return;
		this.#isPollScheduled = true;
		setImmediate(() => {
			this.#isPollScheduled = false;
			this.poll(false);
		});
	}

	/** Starts the tasks that may start. A full poll, if due or requested, also sees changes without an event. */
	poll(isRequested: boolean): void {
		const isFullPoll = isRequested || performance.now() >= this.#nextFullPollAt;
		if (isFullPoll)
			this.#nextFullPollAt = performance.now() + fullPollIntervalMs;
		try {
			this.#poll(isFullPoll);
			// The watch starts before the second poll, so no event is missed.
			if (this.#watch()) this.#poll(false);
		} catch (error) {
			logFault(this.#store, "supervisor", errorMessage(error));
			this.#watch();
		}
	}

	#poll(isFullPoll: boolean): void {
		for (const each of this.#waiting.values()) this.#update(each, isFullPoll);
		const runnable = [...this.#waiting.values()].filter(
			(each) => each.isRunnable,
		);
		const ownTasks = new Map(runnable.map(({ task }) => [task.id, task]));
		const limits = this.#limits;
		const request = { ownTasks, limits, isFullPoll };
		for (const id of claimSlots(this.#store, request)) this.#resolve(id, true);
	}

	/** Watches for ends while any task waits. Returns whether the watch has just started. */
	#watch(): boolean {
		clearTimeout(this.#timer);
		if (this.#waiting.size === 0) {
			this.#unwatch?.();
			this.#unwatch = undefined;
			return false;
		}
		const isNew = !this.#unwatch;
		this.#unwatch ??= watchEnds(this.#store, () => this.pollSoon());
		const now = performance.now();
		const pauses = [...this.#waiting.values()]
			.map(({ notBefore }) => notBefore - now)
			.filter((pause) => pause > 0);
		this.#timer = setTimeout(
			() => this.poll(false),
			Math.min(this.#nextFullPollAt - now, ...pauses),
		);
		return isNew;
	}

	#resolve(id: string, hasSlot: boolean): void {
		const waiting = this.#waiting.get(id);
		this.#waiting.delete(id);
		waiting?.resolve(hasSlot);
		if (!hasSlot && waiting) dequeue(this.#store, waiting.task);
	}

	/** Updates one task: whether it may start, or never will. */
	#update(waiting: WaitingTask, isFullPoll: boolean): void {
		const { id } = waiting.task;
		const version = isFullPoll && readRecordVersion(this.#store, id);
		if (isFullPoll && version !== waiting.version) {
			const task = findTask(this.#store, id);
			if (version === undefined || (task && (isFinal(task) || task.stop))) {
				this.#resolve(id, false);
				return;
			}
			if (task) Object.assign(waiting, { task, version });
		}
		if (isFullPoll && findStop(this.#store, id)) {
			this.#resolve(id, false);
			return;
		}
		const state = this.#checkState(waiting.task, isFullPoll);
		if (typeof state === "object") {
			const { error } = state;
			const at = timestamp();
			updateTask(this.#store, id, (now) =>
				finishTask(now, { reason: "dependency", at, error }),
			);
			this.#resolve(id, false);
			return;
		}
		const isRunnable =
			state === "free" && performance.now() >= waiting.notBefore;
		// A full poll recreates a missing queue entry.
		if (isRunnable === waiting.isRunnable && !isFullPoll) return;
		setRunnable(this.#store, waiting.task, isRunnable);
		waiting.isRunnable = isRunnable;
	}

	#checkState(
		task: Task,
		isFullPoll: boolean,
	): "free" | "held" | { error: string } {
		let state: "free" | "held" = task.paused_at ? "held" : "free";
		for (const id of task.after ?? []) {
			const end = this.#findEnd(id, isFullPoll);
			if (end === "none") state = "held";
			else if (end === "unknown")
				return { error: `not started: how ${id} ended is unknown` };
			else if (end.status !== "completed" && task.after_mode !== "any")
				return { error: dependencySentence(end) };
		}
		return state;
	}

	/** How a task that another comes after ended; `unknown` if its record is gone. */
	#findEnd(id: string, isFullPoll: boolean): Task | "none" | "unknown" {
		const seen = this.#seen.get(id);
		if (seen?.end) return seen.end;
		const version = readRecordVersion(this.#store, id);
		if (seen && version === seen.version && !isFullPoll) return "none";
		const found = findTask(this.#store, id);
		if (!found) return version === undefined ? "unknown" : "none";
		const task = isFullPoll ? this.#reconcile(this.#store, found) : found;
		const isOver = isFinal(task);
		this.#seen.set(id, { version, ...(isOver && { end: task }) });
		return isOver ? task : "none";
	}
}
