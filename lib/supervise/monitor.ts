/**
 * Stops a task before its own end: on a signal to its supervisor, on a request in its record or
 * beside it, at its time limit, at its output limit. It records no end: the supervisor does.
 *
 * A stop happens whether or not it can be recorded, and is repeated until the tree is gone. Time is
 * added up poll by poll on the monotonic clock, and a poll counts for 2 s at most: neither a machine
 * that slept nor a clock that was set fires a limit or delays it.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "../error.ts";
import { formatDuration, formatSize } from "../print/units.ts";
import { describeProcesses } from "../process/proc.ts";
import {
	findTree,
	type StopOptions,
	stopTree,
} from "../process/process-tree.ts";
import { signalGroup } from "../process/signals.ts";
import { runOnEnd } from "../spawn/on-end.ts";
import { logFault } from "../store/directory.ts";
import { findStop } from "../store/ends.ts";
import {
	readOutputSize,
	truncateOutput,
	watchOutput,
} from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { readRecordVersion, readTask, updateTask } from "../store/records.ts";
import {
	type Identity,
	outputLimit,
	type Reason,
	type Stop,
	type Task,
} from "../task/schema.ts";
import { isFinal, requestStop, timestamp } from "../task/states.ts";

/** How often to poll while nothing happens, in ms. */
const slowPollMs = 1000;

/** How fast a disk in memory can be written, in bytes a ms: the output is polled accordingly. */
const maxWriteSpeed = 4 * 1024 * 1024;

/** How far past its limit an output may get, in bytes, before it is stopped. */
const outputMargin = 32 * 1024 * 1024;

/** The shortest time between two polls of an output, in ms. */
const fastPollMs = 5;

/** The most that one poll adds to a task's time, in ms. */
const maxTickMs = 2000;

/** How often a task's time and activity are noted in its record, in ms. */
const notePeriodMs = 60_000;

/** A task that takes less than this share of a CPU computes nothing. */
const idleShare = 0.001;

export class Monitor {
	/** Whether the supervisor was told to leave: then no attempt follows. */
	isShutDown = false;
	readonly #store: Store;
	readonly #id: string;
	#task: Task;
	#root: Identity | undefined;
	#child: ChildProcess | undefined;
	#version: string | undefined;
	/** Why the task is stopped, recorded or not. */
	#stop: Stop | undefined;
	#stopping: Promise<void> | undefined;
	#timer: NodeJS.Timeout | undefined;
	#unwatch: (() => void) | undefined;
	#canWatch = true;
	#lastTick = performance.now();
	#elapsed = 0;
	#noted = { elapsed: 0, size: 0, cpu: 0 };
	#isRunning = false;
	#size = 0;
	#lastFault = "";

	constructor(store: Store, task: Task) {
		this.#store = store;
		this.#id = task.id;
		this.#task = task;
	}

	/** The task's process runs: its limits count from now on. `child` is that process, if it is ours. */
	start(task: Task, child?: ChildProcess): void {
		this.#task = task;
		this.#root = task.process;
		this.#child = child;
		this.#elapsed = task.elapsed_ms ?? 0;
		this.#noted = { elapsed: this.#elapsed, size: 0, cpu: 0 };
		this.#lastTick = performance.now();
		this.#size = 0;
		this.#version = undefined;
		this.#stopping = undefined;
		this.#isRunning = true;
		this.poll();
	}

	/** The task's process, if it could not be identified as it began. */
	set root(root: Identity) {
		this.#root = root;
	}

	/** Polls now: reads what changed, and begins to stop the task if it is due. */
	poll(): void {
		if (!this.#stopping && this.#isRunning) this.#poll(false);
	}

	/** The task's process is gone: waits until the rest of a tree that is being stopped is, too. */
	async finish(): Promise<void> {
		if (!this.#stopping && this.#isRunning) this.#poll(true);
		clearTimeout(this.#timer);
		this.#watch(false);
		this.#isRunning = false;
		await this.#stopping;
	}

	/** Cuts an output that is past its limit. */
	cut(): void {
		const limit = this.#limit;
		if (this.#size > limit)
			truncateOutput(this.#store, this.#id, {
				bytes: limit,
				line: `bg: cut here: the task wrote more than ${formatSize(limit)}`,
			});
	}

	/** A signal to the supervisor: stop my tasks. */
	shutDown(signal: string): void {
		this.isShutDown = true;
		this.#begin({ reason: "shutdown", at: timestamp(), by: signal });
	}

	/** Why the task is stopped: a request that is not in its record, because it cannot be written. */
	get unrecordedStop(): Stop | undefined {
		return this.#stop ?? this.#attempt(() => findStop(this.#store, this.#id));
	}

	get #limit(): number {
		return outputLimit(this.#task);
	}

	/** Each part may fail, and keeps no other from its work. */
	#poll(isFinalPoll: boolean): void {
		clearTimeout(this.#timer);
		this.#attempt(() => this.#refresh());
		this.#attempt(() => this.#tick());
		const growth = this.#attempt(() => this.#measureGrowth()) ?? 0;
		// A task that was completed manually counts as finished for waiters.
		if (isFinal(this.#task) && this.#task.on_end)
			this.#attempt(() => runOnEnd(this.#store, this.#id));
		const stop =
			this.#task.stop ??
			this.#attempt(() => findStop(this.#store, this.#id)) ??
			this.#exceeded(isFinalPoll);
		if (stop) this.#begin(stop);
		else if (!isFinalPoll) this.#schedule(growth);
	}

	/** A limit that is passed, as the reason to stop. */
	#exceeded(isFinalPoll: boolean): Stop | undefined {
		const at = timestamp();
		const reasonOf = (reason: Reason, by: string) => ({ reason, at, by });
		if (this.#size > this.#limit)
			return reasonOf("output-limit", formatSize(this.#limit));
		if (!isFinalPoll && this.#timeLeft <= 0)
			return reasonOf("timeout", formatDuration(this.#task.timeout_ms ?? 0));
		return undefined;
	}

	get #timeLeft(): number {
		const { timeout_ms = Number.POSITIVE_INFINITY } = this.#task;
		return isFinal(this.#task)
			? Number.POSITIVE_INFINITY
			: timeout_ms - this.#elapsed;
	}

	/**
	 * While the output grows, it is polled before it can be far past its limit; as soon as it rests,
	 * the first byte is reported by the system.
	 */
	#schedule(growth: number): void {
		const left = this.#limit + outputMargin - this.#size;
		const fast = Math.max(left / maxWriteSpeed, fastPollMs);
		const isWatched = this.#watch(growth === 0 && this.#canWatch);
		const pause = Math.min(isWatched ? slowPollMs : fast, this.#timeLeft);
		this.#timer = setTimeout(() => this.poll(), pause);
	}

	/** Begins or ends to watch the output; returns whether it is watched and rests. */
	#watch(wanted: boolean): boolean {
		if (!wanted) {
			this.#unwatch?.();
			this.#unwatch = undefined;
			return false;
		}
		if (this.#unwatch) return true;
		const onChange = () => {
			this.#watch(false);
			this.poll();
		};
		const onError = () => {
			this.#canWatch = false;
			onChange();
		};
		this.#unwatch = watchOutput(this.#store, this.#id, {
			onChange,
			onError,
		});
		// Watch first, then look again: nothing falls between.
		const growth = this.#attempt(() => this.#measureGrowth()) ?? 0;
		return growth > 0 ? this.#watch(false) : this.#unwatch !== undefined;
	}

	#refresh(): void {
		const version = readRecordVersion(this.#store, this.#id);
		if (version === this.#version) return;
		this.#task = readTask(this.#store, this.#id);
		this.#version = version;
	}

	#tick(): void {
		const now = performance.now();
		const elapsed = Math.min(now - this.#lastTick, maxTickMs);
		this.#lastTick = now;
		if (!this.#task.paused_at) this.#elapsed += elapsed;
		if (this.#elapsed - this.#noted.elapsed >= notePeriodMs)
			this.#recordActivity();
	}

	/** Notes the task's time, and whether it wrote or computed anything since the last note. */
	#recordActivity(): void {
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
			Math.abs(now.cpu - before.cpu) >= notePeriodMs * idleShare;
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

	#measureGrowth(): number {
		const before = this.#size;
		this.#size = readOutputSize(this.#store, this.#id);
		return this.#size - before;
	}

	/** Records why, before the first signal if that is possible, and stops the tree. */
	#begin(stop: Stop): void {
		this.#stop ??= stop;
		const { reason, signal } = this.#stop;
		const isFlood = reason === "output-limit";
		const child = this.#child;
		// The writer must not fill the disk while its tree is searched for.
		if (isFlood && child) this.#attempt(() => signalGroup(child, "SIGSTOP"));
		this.#record();
		this.#watch(false);
		this.#stopping ??= this.#stopUntilGone({
			...(isFlood && { signal: "SIGKILL" }),
			...(signal && { signal: `SIG${signal}` }),
		});
	}

	#record(): void {
		const stop = this.#stop;
		if (!stop || this.#task.stop) return;
		this.#attempt(() => {
			this.#task = updateTask(this.#store, this.#id, (task) =>
				requestStop(task, stop),
			);
		});
	}

	/** Repeats the stop until nothing lives, or names what survives the process's own end. */
	async #stopUntilGone(options: StopOptions): Promise<void> {
		const child = this.#child;
		for (let passes = 0; ; passes++) {
			const wasRunning = this.#isRunning;
			try {
				const survivors = await stopTree(this.#id, {
					root: this.#root,
					...options,
					...(passes && { graceMs: 0 }),
					...(child && {
						signalRoot: (name) => signalGroup(child, name),
					}),
				});
				if (survivors.length === 0) return;
				const names = describeProcesses(survivors).map(
					({ pid, command }) => `${pid} ${command}`,
				);
				this.#logFault(`survived SIGKILL: ${names.join(", ")}`);
			} catch (error) {
				this.#logFault(errorMessage(error));
			}
			if (!wasRunning) return;
			this.#record();
			await delay(slowPollMs);
		}
	}

	/** Undefined if it fails; the same fault is logged once. */
	#attempt<T>(act: () => T): T | undefined {
		try {
			return act();
		} catch (error) {
			this.#logFault(errorMessage(error));
			return undefined;
		}
	}

	#logFault(message: string): void {
		if (message !== this.#lastFault)
			logFault(this.#store, "supervisor", `${this.#id} ${message}`);
		this.#lastFault = message;
	}
}
