/**
 * What stops a task before its own end, once: a signal to its supervisor, an intent that somebody
 * wrote into its record, its time limit, its output limit. It writes no end: that is the
 * supervisor's.
 *
 * Time is added up look by look on the monotonic clock, and a look counts for 2 s at most: neither
 * a machine that slept nor a clock that was set fires a limit or delays it.
 */
import { logFault } from "./directory.ts";
import { messageOf } from "./error.ts";
import type { Store } from "./names.ts";
import { cutOutput, outputSize } from "./outputs.ts";
import { formatDuration, formatSize } from "./print.ts";
import { runOnEnd } from "./spawn.ts";
import { readTask, recordVersion, updateTask } from "./store.ts";
import {
	type Identity,
	intend,
	isFinal,
	outputLimit,
	type Reason,
	type Task,
	timestamp,
} from "./task.ts";
import { findTree, type StopOptions, stopTree } from "./tree.ts";

/** How often to look, in ms: usually, and while the output grows fast. */
const slowLook = 1000;
const fastLook = 100;

/** Growth between two looks that is fast, in bytes. */
const fastGrowth = 1024 * 1024;

/** The most that one look adds to a task's time, in ms. */
const longestTick = 2000;

/** How often a task's time and activity are noted in its record, in ms. */
const noteEvery = 60_000;

/** Who takes less than this share of a CPU computes nothing. */
const idleShare = 0.001;

export class Stopper {
	/** Whether the supervisor was told to leave: then nothing is tried again. */
	isShutDown = false;
	readonly #store: Store;
	readonly #id: string;
	#task: Task;
	#root: Identity | undefined;
	#version: string | undefined;
	#stopping: Promise<unknown> | undefined;
	#timer: NodeJS.Timeout | undefined;
	#lastLook = performance.now();
	#elapsed = 0;
	#noted = { elapsed: 0, size: 0, cpu: 0 };
	#runs = false;
	#size = 0;

	constructor(store: Store, task: Task) {
		this.#store = store;
		this.#id = task.id;
		this.#task = task;
	}

	/** The task's process runs: its limits count from now on. */
	begin(task: Task): void {
		this.#task = task;
		this.#root = task.process;
		this.#elapsed = task.elapsed_ms ?? 0;
		this.#noted = { elapsed: this.#elapsed, size: 0, cpu: 0 };
		this.#lastLook = performance.now();
		this.#size = 0;
		this.#version = undefined;
		this.#stopping = undefined;
		this.#runs = true;
		this.look();
	}

	/** Where an intent is written down, or a limit is passed: begins to stop. Then looks again. */
	look(): void {
		clearTimeout(this.#timer);
		if (this.#stopping || !this.#runs) return;
		try {
			this.#look(false);
		} catch (error) {
			this.#fault(error);
			this.#timer = setTimeout(() => this.look(), slowLook);
		}
	}

	/** The task's process is gone: waits until the rest is, where it was to be stopped. */
	async finish(): Promise<void> {
		clearTimeout(this.#timer);
		try {
			if (!this.#stopping && this.#runs) this.#look(true);
		} catch (error) {
			this.#fault(error);
		}
		// Until another attempt begins there is nothing to look after.
		this.#runs = false;
		await this.#stopping;
		const limit = this.#limit;
		if (this.#size > limit)
			cutOutput(
				this.#store,
				this.#id,
				limit,
				`bg: cut here: the task wrote more than ${formatSize(limit)}`,
			);
	}

	/** A signal to the supervisor: stop my tasks. */
	shutDown(signal: string): void {
		this.isShutDown = true;
		try {
			this.#intend("shutdown", signal);
		} catch (error) {
			this.#fault(error);
		}
		this.#stop();
	}

	get #limit(): number {
		return outputLimit(this.#task);
	}

	#look(isOver: boolean): void {
		const version = recordVersion(this.#store, this.#id);
		if (version !== this.#version) {
			this.#task = readTask(this.#store, this.#id);
			this.#version = version;
		}
		// Who ended by hand, and lives on, is over for those who wait.
		if (isFinal(this.#task) && this.#task.on_end)
			runOnEnd(this.#store, this.#id);
		const { stop, timeout_ms = Number.POSITIVE_INFINITY } = this.#task;
		this.#tick();
		const growth = this.#grow();
		const left = isFinal(this.#task) ? slowLook : timeout_ms - this.#elapsed;
		if (stop) {
			this.#stop(stop.signal && { signal: `SIG${stop.signal}` });
		} else if (this.#size > this.#limit) {
			this.#intend("output-limit", formatSize(this.#limit));
			this.#stop({ signal: "SIGKILL" });
		} else if (left <= 0 && !isOver) {
			this.#intend("timeout", formatDuration(timeout_ms));
			this.#stop();
		} else if (!isOver) {
			const pause = growth > fastGrowth ? fastLook : slowLook;
			this.#timer = setTimeout(() => this.look(), Math.min(pause, left));
		}
	}

	#tick(): void {
		const now = performance.now();
		const passed = Math.min(now - this.#lastLook, longestTick);
		this.#lastLook = now;
		if (!this.#task.paused_at) this.#elapsed += passed;
		if (this.#elapsed - this.#noted.elapsed >= noteEvery) this.#note();
	}

	/** Notes the task's time, and whether it wrote or computed anything since the last note. */
	#note(): void {
		const before = this.#noted;
		const now = {
			elapsed: this.#elapsed,
			size: this.#size,
			cpu: findTree(this.#id, this.#root)
				.map(({ cpu }) => cpu)
				.reduce((sum, each) => sum + each, 0),
		};
		this.#noted = now;
		const isBusy =
			now.size !== before.size ||
			Math.abs(now.cpu - before.cpu) >= noteEvery * idleShare;
		updateTask(this.#store, this.#id, (task) =>
			isFinal(task)
				? undefined
				: {
						...task,
						elapsed_ms: Math.round(now.elapsed),
						quiet_ms: isBusy
							? 0
							: Math.round((task.quiet_ms ?? 0) + now.elapsed - before.elapsed),
						...(isBusy && { active_at: timestamp() }),
					},
		);
	}

	#grow(): number {
		const before = this.#size;
		this.#size = outputSize(this.#store, this.#id);
		return this.#size - before;
	}

	#fault(error: unknown): void {
		logFault(this.#store, "supervisor", `${this.#id} ${messageOf(error)}`);
	}

	/** The intent is written before the first signal. */
	#intend(reason: Reason, by: string): void {
		updateTask(this.#store, this.#id, (task) =>
			intend(task, { reason, at: timestamp(), by }),
		);
	}

	#stop(options: StopOptions = {}): void {
		this.#stopping ??= stopTree(this.#id, {
			root: this.#root,
			...options,
		}).catch((error) => this.#fault(error));
	}
}
