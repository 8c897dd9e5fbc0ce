/**
 * Stops a task before its own end: on a signal to its supervisor, on a request in its record or beside
 * it, at its time limit, at its output limit, past its tokens. It does not record the end: the supervisor does.
 *
 * A stop happens whether or not it can be recorded, and is repeated until the tree is gone. Nothing here
 * waits for a lock while it blocks this process: the limits of other tasks hold meanwhile.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import type { StopCause } from "../engine/types.ts";
import { errorMessage } from "../error.ts";
import { formatDuration, formatSize, formatTokens } from "../print/units.ts";
import { identifySelf, isSameProcess } from "../process/identity.ts";
import { describeProcesses } from "../process/proc.ts";
import { type StopOptions, stopTree } from "../process/process-tree.ts";
import { signalGroup } from "../process/signals.ts";
import { runOnEnd } from "../spawn/command.ts";
import { logFault } from "../store/directory.ts";
import { findStop } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { readRecordVersion, readTask } from "../store/records.ts";
import {
	type Identity,
	outputLimit,
	type Reason,
	type Stop,
	type Task,
} from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";
import { Activity } from "./activity.ts";
import { Budget } from "./budget.ts";
import { OutputWatch } from "./output-watch.ts";
import { recordStop, type StopRecord } from "./retry-write.ts";

/** How often to poll while nothing happens, in ms. */
const slowPollMs = 1000;

/** When to poll first, in ms: before an output can be far past its limit (output-watch.ts). */
const firstPollMs = 8;

/** Watches one task, from the start of its supervisor to the task's end. */
export class Monitor {
	/** Whether the supervisor got a signal to end: then no attempt follows. */
	isShutDown = false;
	/** Why its job is ended, to be started again: this supervisor leaves its task to that one. */
	putBack: string | undefined;
	/** Whether another job has the task: this supervisor ends what it started, and records nothing more. */
	isReplaced = false;
	readonly #store: Store;
	readonly #id: string;
	readonly #onPoll: () => void;
	readonly #onLook: () => void;
	readonly #output: OutputWatch;
	readonly #activity: Activity;
	readonly #budget: Budget;
	#task: Task;
	#root: Identity | undefined;
	#child: ChildProcess | undefined;
	#version: string | undefined;
	/** Why the task is stopped, recorded or not. */
	#stop: Stop | undefined;
	#stopping: Promise<void> | undefined;
	/** Absent if the record itself asked to stop. */
	#stopRecord: StopRecord | undefined;
	#timer: NodeJS.Timeout | undefined;
	#isRunning = false;
	#lastFault = "";

	/** When to look at the record next, on the monotonic clock in ms. */
	#nextLookAt = 0;
	readonly #lookMs: number;

	/**
	 * @param onPoll is called at each poll, about once a second while the task runs.
	 * @param lookMs how often to look at the record at most, in ms.
	 * @param onLook is called then.
	 */
	constructor(
		store: Store,
		task: Task,
		{
			onPoll = () => {},
			onLook = () => {},
			lookMs = 0,
		}: { onPoll?: () => void; onLook?: () => void; lookMs?: number },
	) {
		this.#lookMs = lookMs;
		this.#store = store;
		this.#onPoll = onPoll;
		this.#onLook = onLook;
		this.#id = task.id;
		this.#task = task;
		this.#output = new OutputWatch(store, task.id, () => this.poll());
		this.#activity = new Activity(store, task.id);
		this.#budget = new Budget(store);
	}

	/**
	 * The task's process runs: its limits count from now on.
	 * @param started `child`: that process, if this supervisor started it. `version`: of the record that `task` is.
	 */
	start(
		task: Task,
		{ child, version }: { child?: ChildProcess; version?: string } = {},
	): void {
		this.#task = task;
		this.#root = task.process;
		this.#child = child;
		this.#activity.start(task);
		this.#output.size = 0;
		this.#version = version;
		this.#stopping = undefined;
		this.#isRunning = true;
		// Many tasks end before their first poll, which then costs nothing.
		this.#schedule(firstPollMs);
	}

	/** The task's process, if it could not be identified as it began. */
	set root(root: Identity) {
		this.#root = root;
	}

	/** Polls now: reads what changed, and begins to stop the task if it is due. */
	poll(): void {
		if (!this.#stopping && this.#isRunning) this.#poll(false);
	}

	/** Polls now, and looks at the record. */
	look(): void {
		this.#nextLookAt = 0;
		this.poll();
	}

	/** The task's process is gone: waits until a tree that is being stopped is gone as well. */
	async finish(): Promise<void> {
		if (!this.#stopping && this.#isRunning) this.#poll(true);
		clearTimeout(this.#timer);
		this.#output.close();
		this.#isRunning = false;
		await this.#stopping;
	}

	/** Cuts an output that is past its limit. */
	cut(): void {
		this.#output.cut(this.#limit);
	}

	/**
	 * The supervisor got a signal to end: stops the task.
	 * @param cause what the engine says, if the supervisor is a job.
	 * @returns a promise that is resolved once the record says so, or is gone.
	 */
	async shutDown(signal: string, cause?: StopCause): Promise<void> {
		this.isShutDown = true;
		const { reason = "shutdown", error } = cause?.end ?? {};
		const at = timestamp();
		const words = error ? `${signal}: ${error}` : signal;
		const by = reason === "engine" && error ? error : words;
		// What is stopped for another reason is not started again.
		if (cause?.again && !this.#stop && !this.#task.stop)
			this.putBack = error ?? by;
		this.#begin({ reason, at, by });
		await this.#stopRecord?.recorded;
	}

	/**
	 * Whether another job has the task, by its record as it is now. If so, nothing more is recorded of this one.
	 */
	checkReplaced({ engine, supervisor }: Task): boolean {
		if (!engine || isSameProcess(supervisor, identifySelf())) return false;
		this.isReplaced = true;
		return true;
	}

	/** Why the task is stopped or must not start; its record may not say so yet. */
	get requestedStop(): Stop | undefined {
		return this.#stop ?? this.#attempt(() => findStop(this.#store, this.#id));
	}

	/** Of the output, in bytes. */
	get #limit(): number {
		return outputLimit(this.#task);
	}

	/** A part that fails does not prevent the others. */
	#poll(isFinalPoll: boolean): void {
		clearTimeout(this.#timer);
		const isLookDue = performance.now() >= this.#nextLookAt;
		if (isLookDue || isFinalPoll) {
			this.#nextLookAt = performance.now() + this.#lookMs;
			this.#attempt(() => this.#refresh());
			this.#attempt(this.#onLook);
		}
		this.#attempt(this.#onPoll);
		this.#attempt(() => {
			const { size } = this.#output;
			this.#activity
				.tick(this.#task, this.#root, size)
				?.catch((error) => this.#logFault(error));
		});
		const growth = this.#attempt(() => this.#output.measure()) ?? 0;
		// A task that was completed manually counts as finished for waiters.
		if (isFinal(this.#task) && this.#task.on_end)
			this.#attempt(() => runOnEnd(this.#store, this.#id));
		const stop =
			this.#stop ??
			this.#task.stop ??
			this.#attempt(() => findStop(this.#store, this.#id)) ??
			this.#exceeded(isFinalPoll);
		if (stop) this.#begin(stop);
		else if (!isFinalPoll) {
			const outputPollMs = this.#output.schedule(growth, this.#limit);
			this.#schedule(outputPollMs ?? slowPollMs);
		}
	}

	/** The reason to stop a task that is past a limit. */
	#exceeded(isFinalPoll: boolean): Stop | undefined {
		const at = timestamp();
		const reasonOf = (reason: Reason, by: string) => ({ reason, at, by });
		if (this.#output.size > this.#limit)
			return reasonOf("output-limit", formatSize(this.#limit));
		if (!isFinalPoll && this.#timeLeft <= 0)
			return reasonOf("timeout", formatDuration(this.#task.timeout_ms ?? 0));
		// What ends by itself in the turn that passes the limit has its own end.
		if (
			!isFinalPoll &&
			this.#attempt(() => this.#budget.isExceeded(this.#task))
		)
			return reasonOf("budget", formatTokens(this.#task.max_tokens ?? 0));
		return undefined;
	}

	/** Until the time limit, in ms; Infinity if there is none. */
	get #timeLeft(): number {
		const { timeout_ms = Number.POSITIVE_INFINITY } = this.#task;
		return isFinal(this.#task)
			? Number.POSITIVE_INFINITY
			: timeout_ms - this.#activity.elapsedMs;
	}

	/** Polls again after a pause in ms, or sooner at the time limit. */
	#schedule(pauseMs: number): void {
		const pause = Math.min(pauseMs, this.#timeLeft);
		this.#timer = setTimeout(() => this.poll(), pause);
	}

	#refresh(): void {
		const version = readRecordVersion(this.#store, this.#id);
		if (version === this.#version) return;
		const task = readTask(this.#store, this.#id);
		this.#version = version;
		if (this.checkReplaced(task))
			this.#begin({ reason: "engine", at: timestamp(), by: "another job" });
		else this.#task = task;
	}

	/** Stops the tree. The reason is recorded before the first signal if that is possible. */
	#begin(stop: Stop): void {
		this.#stop ??= stop;
		const { reason, signal } = this.#stop;
		const isFlood = reason === "output-limit";
		const child = this.#child;
		// The writer must not fill the disk while its tree is searched.
		if (isFlood && child) this.#attempt(() => signalGroup(child, "SIGSTOP"));
		this.#output.close();
		if (!this.#task.stop && this.putBack === undefined && !this.isReplaced)
			this.#stopRecord ??= recordStop(this.#store, this.#id, {
				stop: this.#stop,
				isOther: (now) => this.checkReplaced(now),
			});
		this.#stopping ??= this.#stopUntilGone({
			...(isFlood && { signal: "SIGKILL" }),
			...(signal && { signal: `SIG${signal}` }),
		});
	}

	/** Repeats the stop until nothing is alive; once the process itself has ended, one pass is enough. */
	async #stopUntilGone(options: StopOptions): Promise<void> {
		const child = this.#child;
		await this.#stopRecord?.tried;
		for (let passes = 0; ; passes++) {
			const wasRunning = this.#isRunning;
			try {
				const survivors = await stopTree(this.#id, {
					root: this.#root,
					// On the same node, a later one belongs to the job that has the task now.
					...(this.#task.engine && { maxAttempt: this.#task.attempt ?? 1 }),
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
				this.#logFault(error);
			}
			if (!wasRunning) return;
			await delay(slowPollMs);
		}
	}

	/** Undefined if it fails; the same fault is logged once. */
	#attempt<T>(act: () => T): T | undefined {
		try {
			return act();
		} catch (error) {
			this.#logFault(error);
			return undefined;
		}
	}

	#logFault(fault: unknown): void {
		const message = errorMessage(fault);
		if (message !== this.#lastFault)
			logFault(this.#store, "supervisor", `${this.#id} ${message}`);
		this.#lastFault = message;
	}
}
