/**
 * The tasks of one supervisor that wait to start: until the tasks they come after have ended, until the
 * delay before a retry has passed, until they are not paused, and until they get a slot. A process that
 * changes one of those wakes the supervisor by a signal. A full round, which reads what others may have changed
 * without a signal, comes every 2 s in the keeper of the queue, and else every 45 s.
 */
import { setImmediate } from "node:timers/promises";
import { errorMessage, isRefusal } from "../error.ts";
import { type Snapshot, takeSnapshot } from "../process/snapshot.ts";
import { logFault } from "../store/directory.ts";
import { findStop } from "../store/ends.ts";
import { LockHeldError } from "../store/locks.ts";
import type { Store } from "../store/paths.ts";
import {
	findTask,
	readRecordVersion,
	updateTaskAsync,
} from "../store/records.ts";
import type { Stop, Task } from "../task/schema.ts";
import {
	computeDelayLeftMs,
	finishTask,
	isFinal,
	requestStop,
	timestamp,
} from "../task/states.ts";
import {
	checkReadiness,
	type End,
	findEnd,
	type HeldTask,
	listAwaited,
	releaseDependents,
	releaseHeld,
} from "./dependencies.ts";
import {
	type Beat,
	handOverAsync,
	readBeat,
	repairQueue,
	takeGrants,
} from "./hand-over.ts";
import { type Limits, readLimits } from "./limits.ts";
import { Line } from "./places.ts";
import { dequeue, listEntries, setRunnable } from "./queue.ts";

/** How often the keeper repairs the queue, in ms. */
const tickMs = 2000;

/** How often another supervisor looks whether the queue is repaired, in ms. */
const idleTickMs = 45_000;

/** How old the last repair is, in ms, if those in line seem to be dead. */
const deadBeatMs = 4000;

/** A timer may fire that much too early, in ms. */
const timerSlackMs = 100;

/** How often to look whether queue entries are missing, in ms. */
const restoreMs = 10_000;

/** How seldom the records of all waiting tasks are read, compared to what that takes: of few, at each full round. */
const wholeUpdateFactor = 20;

/** The version of a record that was not read yet. */
const notRead = "not read yet";

/** Reconciles a task whose supervisor may be gone; only tries its lock. */
type Reconcile = (
	store: Store,
	task: Task,
	options?: { getSnapshot?: () => Snapshot },
) => Task;

export type WaitOptions = {
	/** Whether the task's queue entry says that it may start. */
	isRunnable: boolean;
	/** The delay before a retry, in ms. It does not follow the clock; `--delay` does. */
	pauseMs?: number;
	/** Finds a requested stop; the record may not say so yet. */
	getStop?: () => Stop | undefined;
};

type WaitingTask = WaitOptions & {
	task: Task;
	resolve: (hasSlot: boolean) => void;
	/** When the delay before a retry ends, on the monotonic clock in ms. */
	notBefore: number;
	version: string | undefined;
};

/** Whether it is time to repair the queue, or its keeper does not. */
const isRepairDue = ({ ageMs, isKeeper }: Beat) =>
	ageMs > (isKeeper ? tickMs - timerSlackMs : deadBeatMs);

/** Starts tasks as soon as they may start. It works in rounds, one after the other. */
export class WaitingTasks {
	readonly #store: Store;
	readonly #reconcile: Reconcile;
	#limits: Limits | undefined;
	readonly #waiting = new Map<string, WaitingTask>();
	/** Those that wait for nothing but a slot, by id, and the others. */
	readonly #runnable = new Set<string>();
	readonly #held = new Set<WaitingTask>();
	readonly #line: Line;
	/** How the tasks that these come after ended, as far as that was read. */
	readonly #ends = new Map<string, End>();
	#rounds: Promise<void> | undefined;
	#isRoundDue = false;
	/** Whether a place may be free, or a task may have become ready, since the last hand-over. */
	#mustHandOver = false;
	#timer: NodeJS.Timeout | undefined;
	/** The tasks of others that are held, as they were read last. */
	readonly #heldOfOthers = new Map<string, HeldTask>();
	/** When all records have to be read again, on the monotonic clock in ms. */
	#nextFullRoundAt = 0;
	/** The same for tasks that wait for nothing but a slot. */
	#nextWholeUpdateAt = 0;
	#nextBeatCheckAt = 0;
	/** The keeper of the queue as it was read last. */
	#keeper: string | undefined;
	/**
	 * When its first repair is due, on the monotonic clock in ms: the process that named it may have died before it
	 * woke it. Rounds in between change nothing.
	 */
	#keeperDueAt = 0;
	/** When missing queue entries are added again, likewise. */
	#nextRestoreAt = performance.now() + restoreMs;
	#lastFault = "";

	constructor(store: Store, reconcile: Reconcile) {
		this.#store = store;
		this.#reconcile = reconcile;
		this.#line = new Line(store);
	}

	/**
	 * The limits of the launch, from the environment. They are read only if a task is queued: a supervisor that adopts
	 * a task has the environment of another call of bg.
	 */
	get limits(): Limits {
		this.#limits ??= readLimits();
		return this.#limits;
	}

	/** Waits in the queue. Resolves to true when the task has a slot, to false if it will never start. */
	wait(task: Task, options: WaitOptions): Promise<boolean> {
		const { pauseMs = 0 } = options;
		return new Promise((resolve) => {
			const waiting = {
				...options,
				task,
				resolve,
				notBefore: performance.now() + pauseMs,
				version: notRead,
			};
			this.#waiting.set(task.id, waiting);
			this.#file(waiting);
			this.#mustHandOver ||= options.isRunnable;
			// Its record may have changed since the caller read it.
			if (!options.isRunnable && pauseMs === 0) this.#lookWithin(0);
			this.#startRounds();
		});
	}

	/** A signal came: something has changed for one of the tasks. */
	wake(): void {
		this.#nextFullRoundAt = 0;
		this.#nextWholeUpdateAt = 0;
		this.#mustHandOver ||= this.#runnable.size > 0;
		this.#startRounds();
	}

	/** A task of this supervisor has ended: others may come after it. */
	noteEnd(task: Task): void {
		this.#ends.set(task.id, task);
	}

	/** Whether a task waits for something else than a slot. */
	get isAnyHeld(): boolean {
		return this.#held.size > 0;
	}

	/**
	 * Gives free places to the tasks that are next, of this supervisor and of others.
	 * @throws BgError (refused) if the queue's lock stays held.
	 */
	settle(): Promise<void> {
		this.#mustHandOver = true;
		return this.#requestRound();
	}

	/** Repairs the queue if those in line seem to be dead. Call it from time to time while tasks run. */
	checkBeat(): void {
		if (performance.now() < this.#nextBeatCheckAt) return;
		this.#nextBeatCheckAt = performance.now() + tickMs;
		const { ageMs } = readBeat(this.#store);
		if (Number.isFinite(ageMs) && ageMs > deadBeatMs) this.wake();
	}

	#startRounds(): void {
		this.#requestRound().catch((error) => this.#logFault(error));
	}

	/** Logs a fault once, though it comes back at each round. */
	#logFault(error: unknown): void {
		const message = errorMessage(error);
		if (message !== this.#lastFault)
			logFault(this.#store, "supervisor", message);
		this.#lastFault = message;
	}

	#requestRound(): Promise<void> {
		this.#isRoundDue = true;
		this.#rounds ??= this.#runRounds();
		return this.#rounds;
	}

	async #runRounds(): Promise<void> {
		try {
			// All tasks of a launch begin to wait before the first round, and places that become free together are handed
			// over together.
			await setImmediate();
			while (this.#isRoundDue) {
				this.#isRoundDue = false;
				await this.#round();
			}
		} catch (error) {
			this.#lookWithin(tickMs);
			throw error;
		} finally {
			// Right after the last check: a request that comes later needs rounds of its own.
			this.#rounds = undefined;
			this.#setTimer();
		}
	}

	async #round(): Promise<void> {
		const store = this.#store;
		const isFull = performance.now() >= this.#nextFullRoundAt;
		if (isFull) {
			this.#nextFullRoundAt = performance.now() + idleTickMs;
			this.#forgetEnds();
			this.#restoreEntries();
		}
		const startedAt = performance.now();
		const isWhole = isFull && startedAt >= this.#nextWholeUpdateAt;
		for (const each of isWhole ? this.#waiting.values() : this.#held)
			await this.#update(each, isFull);
		if (isWhole) {
			const cost = performance.now() - startedAt;
			this.#nextWholeUpdateAt = startedAt + cost * wholeUpdateFactor;
		}
		// A grant comes with a signal.
		if (isFull)
			for (const id of takeGrants(store, this.#runnable))
				this.#resolve(id, true);
		if (isFull && isRepairDue(readBeat(store))) await this.#repair();
		const own = this.#runnable;
		// If nothing has changed, the repair by the first task in line is enough: it hands over as well.
		const isListingDue = performance.now() >= this.#line.nextListingAt;
		if (!this.#mustHandOver && !(own.size && isListingDue)) return;
		// Before the hand-over: a place that is freed during it needs another one.
		this.#mustHandOver = false;
		try {
			const line = own.size ? this.#line : undefined;
			const started = await handOverAsync(store, own, line);
			for (const id of started) this.#resolve(id, true);
		} catch (error) {
			this.#mustHandOver = true;
			throw error;
		}
	}

	/** Notes what a task waits for. */
	#file(waiting: WaitingTask): void {
		const { task, isRunnable, notBefore } = waiting;
		const isHeld = !isRunnable || notBefore > performance.now();
		if (isHeld) this.#held.add(waiting);
		else this.#held.delete(waiting);
		if (isRunnable) this.#runnable.add(task.id);
		else this.#runnable.delete(task.id);
	}

	/** Makes a full round due in so many ms at the latest. */
	#lookWithin(ms: number): void {
		const at = performance.now() + ms;
		this.#nextFullRoundAt = Math.min(this.#nextFullRoundAt, at);
	}

	#setTimer(): void {
		clearTimeout(this.#timer);
		if (this.#waiting.size === 0) return;
		const now = performance.now();
		const { ageMs, keeper, isKeeper } = readBeat(this.#store);
		if (isKeeper) this.#lookWithin(tickMs);
		else if (keeper !== this.#keeper)
			this.#keeperDueAt = now + deadBeatMs - ageMs + timerSlackMs;
		this.#keeper = keeper;
		if (now < this.#keeperDueAt) this.#lookWithin(this.#keeperDueAt - now);
		let next = this.#nextFullRoundAt;
		if (this.#runnable.size) next = Math.min(next, this.#line.nextListingAt);
		for (const { notBefore, task } of this.#held) {
			const at = Math.max(notBefore, now + computeDelayLeftMs(task));
			if (at > now) next = Math.min(next, at);
		}
		const untilNext = Math.max(next - now, 0);
		this.#timer = setTimeout(() => this.#startRounds(), untilNext);
	}

	#resolve(id: string, hasSlot: boolean): void {
		const waiting = this.#waiting.get(id);
		if (!waiting) return;
		this.#waiting.delete(id);
		this.#runnable.delete(id);
		this.#held.delete(waiting);
		waiting.resolve(hasSlot);
		if (hasSlot) return;
		dequeue(this.#store, waiting.task);
		// It may have been the first in line.
		this.#mustHandOver = true;
	}

	/** Tasks that had not ended yet may have ended by now. */
	#forgetEnds(): void {
		for (const [id, end] of this.#ends)
			if (end === "none") this.#ends.delete(id);
	}

	/** Restores queue entries that others removed or changed. */
	#restoreEntries(): void {
		if (performance.now() < this.#nextRestoreAt) return;
		this.#nextRestoreAt = performance.now() + restoreMs;
		const store = this.#store;
		const folders = ["queue", "slots"] as const;
		const entries = folders.flatMap((folder) => listEntries(store, folder));
		const found = new Map(entries.map((entry) => [entry.id, entry]));
		for (const { task, isRunnable } of this.#waiting.values()) {
			const entry = found.get(task.id);
			if (entry && !(entry.state === "held" && isRunnable)) continue;
			setRunnable(store, task, isRunnable, this.limits);
			this.#mustHandOver = true;
		}
	}

	/** Updates one task: whether it may start, or never will. */
	async #update(waiting: WaitingTask, isFull: boolean): Promise<void> {
		const store = this.#store;
		const { id } = waiting.task;
		let isChanged = false;
		if (isFull) {
			const version = readRecordVersion(store, id);
			const task =
				version === waiting.version ? waiting.task : findTask(store, id);
			const isOver = task ? isFinal(task) || task.stop : !version;
			if (isOver || findStop(store, id)) {
				this.#resolve(id, false);
				return;
			}
			// Its first version is that of its launch.
			isChanged = version !== waiting.version && waiting.version !== notRead;
			if (task) Object.assign(waiting, { task, version });
		}
		const readiness = checkReadiness(waiting.task, (other) =>
			this.#findEnd(other),
		);
		if (typeof readiness === "object") {
			const { error } = readiness;
			const at = timestamp();
			const finish = (now: Task) => {
				const stop = waiting.getStop?.();
				const current = stop ? requestStop(now, stop) : now;
				return finishTask(current, { reason: "dependency", at, error });
			};
			try {
				await updateTaskAsync(store, id, finish, { timeoutMs: 0 });
				this.#resolve(id, false);
			} catch (fault) {
				// Another round tries it again. Meanwhile no other task waits for this one's record.
				if (!isRefusal(fault)) throw fault;
				this.#lookWithin(tickMs);
				if (!(fault instanceof LockHeldError)) this.#logFault(fault);
			}
			return;
		}
		const isRunnable =
			readiness === "free" && performance.now() >= waiting.notBefore;
		// It may have been paused and continued in between, which changes the entry.
		if (isRunnable !== waiting.isRunnable || isChanged) {
			setRunnable(store, waiting.task, isRunnable, this.limits);
			waiting.isRunnable = isRunnable;
			this.#mustHandOver = true;
		}
		this.#file(waiting);
	}

	/** How a task that another comes after ended; read once in each full round. */
	#findEnd(id: string): End {
		const known = this.#ends.get(id);
		if (known) return known;
		const end = this.#reconcileEnd(id);
		this.#ends.set(id, end);
		return end;
	}

	#reconcileEnd(id: string, options?: { getSnapshot: () => Snapshot }): End {
		const task = findTask(this.#store, id);
		// What that ends may have had a place.
		if (task && isFinal(this.#reconcile(this.#store, task, options)))
			this.#mustHandOver ||= !isFinal(task);
		return findEnd(this.#store, id);
	}

	/** Repairs the queue: for tasks of others as well, whose processes may be dead. */
	async #repair(): Promise<void> {
		const store = this.#store;
		const { started, removed } = await repairQueue(store, this.#runnable);
		this.#line.expire();
		for (const id of started) this.#resolve(id, true);
		// All of them were found to be dead before, so one snapshot serves them all.
		let snapshot: Snapshot | undefined;
		const getSnapshot = () => {
			snapshot ??= takeSnapshot();
			return snapshot;
		};
		for (const id of removed) {
			this.#reconcileEnd(id, { getSnapshot });
			// Each end is a durable write: the limits of running tasks come in between.
			await setImmediate();
		}
		if (await releaseHeld(store, this.#waiting, this.#heldOfOthers))
			this.#mustHandOver = true;
		for (const id of listAwaited(store))
			if (this.#reconcileEnd(id) !== "none")
				if (await releaseDependents(store, id)) this.#mustHandOver = true;
	}
}
