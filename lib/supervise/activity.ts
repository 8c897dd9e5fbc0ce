/**
 * Adds up how long a task has run and records once a minute whether it did anything. Time is added poll
 * by poll on the monotonic clock, and a poll counts for 2 s at most: neither a machine that slept nor a
 * clock that was set adds any.
 */
import { findTree } from "../process/process-tree.ts";
import { takeSnapshotAsync } from "../process/snapshot.ts";
import type { Store } from "../store/paths.ts";
import { updateTaskAsync } from "../store/records.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";

/** The most that one poll adds to a task's time, in ms. */
const maxTickMs = 2000;

/** How often a task's time and activity are recorded, in ms. */
const recordIntervalMs = 60_000;

/** A task that uses less than this share of a CPU counts as idle. */
const idleShare = 0.001;

/** What was recorded last: time and CPU time in ms, the size of the output in bytes. */
type Sample = { elapsedMs: number; size: number; cpu: number };

/** Measures one task. */
export class Activity {
	/** How long the task has run without its pauses, in ms. */
	elapsedMs = 0;
	readonly #store: Store;
	readonly #id: string;
	#lastTick = performance.now();
	#recorded: Sample = { elapsedMs: 0, size: 0, cpu: 0 };

	constructor(store: Store, id: string) {
		this.#store = store;
		this.#id = id;
	}

	/** The task's process runs: time counts from now on. */
	start({ elapsed_ms: elapsedMs = 0 }: Task): void {
		this.elapsedMs = elapsedMs;
		this.#recorded = { elapsedMs, size: 0, cpu: 0 };
		this.#lastTick = performance.now();
	}

	/**
	 * Adds the time since the last poll.
	 * @param root the task's process, if it is known.
	 * @param size of the output, in bytes.
	 * @returns a promise if a record is due: the time is added before, the record is written after.
	 */
	tick(
		task: Task,
		root: Identity | undefined,
		size: number,
	): Promise<void> | undefined {
		const now = performance.now();
		if (!task.paused_at)
			this.elapsedMs += Math.min(now - this.#lastTick, maxTickMs);
		this.#lastTick = now;
		if (this.elapsedMs - this.#recorded.elapsedMs < recordIntervalMs)
			return undefined;
		return this.#record(task, root, size);
	}

	/** Records the time, and whether the task wrote or computed anything since the last record. */
	async #record(
		{ attempt }: Task,
		root: Identity | undefined,
		size: number,
	): Promise<void> {
		const before = this.#recorded;
		const { elapsedMs } = this;
		const cpu = await this.#measureCpu(root);
		// The next attempt has begun meanwhile.
		if (cpu === undefined) return;
		this.#recorded = { elapsedMs, size, cpu };
		const isBusy =
			size !== before.size ||
			Math.abs(cpu - before.cpu) >= recordIntervalMs * idleShare;
		const quietMs = elapsedMs - before.elapsedMs;
		await updateTaskAsync(
			this.#store,
			this.#id,
			(task) =>
				// Meanwhile the next attempt may have begun, whose time is its own.
				isFinal(task) || task.attempt !== attempt
					? undefined
					: {
							...task,
							elapsed_ms: Math.round(elapsedMs),
							quiet_ms: isBusy ? 0 : Math.round((task.quiet_ms ?? 0) + quietMs),
							...(isBusy && { active_at: timestamp() }),
						},
			{ timeoutMs: recordIntervalMs / 2 },
		);
	}

	/** The CPU time of the task's tree, in ms; undefined if another attempt starts before it is known. */
	async #measureCpu(root: Identity | undefined): Promise<number | undefined> {
		const before = this.#recorded;
		// The next record is due a minute from now, whenever this one is written.
		const pending = { ...before, elapsedMs: this.elapsedMs };
		this.#recorded = pending;
		const isCurrent = () => this.#recorded === pending;
		try {
			const snapshot = await takeSnapshotAsync();
			const tree = findTree(this.#id, root, { snapshot });
			const cpu = tree.reduce((sum, each) => sum + each.cpu, 0);
			return isCurrent() ? cpu : undefined;
		} catch (error) {
			if (isCurrent()) this.#recorded = before;
			throw error;
		}
	}
}
