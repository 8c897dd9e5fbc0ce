/**
 * The end of a task, or of an attempt: it is written whatever it takes, the place is free, what was
 * to follow is started, and what lives on is named.
 */
import { setTimeout as delay } from "node:timers/promises";
import { errorMessage } from "./error.ts";
import type { Store } from "./names.ts";
import {
	readCurrentDigest,
	readResult,
	type TaskResult,
	windowBytes,
} from "./output.ts";
import { keepAttemptOutput, readOutputSize } from "./outputs.ts";
import { describeProcesses } from "./process.ts";
import { markLost } from "./prune.ts";
import { releaseSlot, setRunnable } from "./queue.ts";
import { retryWrite } from "./retry.ts";
import { runOnEnd } from "./spawn.ts";
import { removeStops } from "./stop-requests.ts";
import type { Monitor } from "./stopper.ts";
import { notifyWaiters, removePromptFiles, updateTask } from "./store.ts";
import {
	describeExit,
	finishTask,
	isFinal,
	isRetryable,
	maxLeftBehind,
	requestStop,
	requeueForRetry,
	type Task,
	type TaskEnd,
	timestamp,
} from "./task.ts";
import { findTree, resumeTree, type Snapshot, takeSnapshot } from "./tree.ts";

/** How a process ended; without code and signal, nobody could see. */
export type ProcessExit =
	| { code: number | null; signal: string | null }
	| { error: Error };

/** How long the output of an ended task is read again if that fails, in ms. */
const readRetryLimitMs = 10_000;

/**
 * Records the end: that of a request to stop if there is one, else the process's own. Returns the
 * task instead if it is to be tried again. Every step is retried until it succeeds, and none that
 * fails keeps the next ones from being done.
 */
export async function concludeTask(
	store: Store,
	task: Task,
	exit: ProcessExit | undefined,
	monitor: Monitor,
	scanner: LeftoverScanner,
): Promise<Task | undefined> {
	// At a logout a task may die of the signal that is about to reach its supervisor as well.
	if (exit && "signal" in exit && exit.signal) await delay(20);
	const { id } = task;
	await monitor.finish();
	const isCut = succeeds(() => monitor.cut());
	// The slot is free before waiting supervisors are woken.
	const isFree = succeeds(() => releaseSlot(store, task));
	const after = await recordEnd(store, task, exit, monitor);
	if (!isFree) await retryWrite(store, id, () => releaseSlot(store, task));
	notifyWaiters(store);
	if (!isCut) await retryWrite(store, id, () => monitor.cut());
	if (after?.status === "queued") {
		await retryWrite(store, id, () => setRunnable(store, after, false));
		return after;
	}
	await retryWrite(store, id, () => {
		removePromptFiles(store, id);
		removeStops(store, id);
		runOnEnd(store, id);
	});
	if (after?.paused_at) await retryWrite(store, id, () => resumeTree(id));
	await countWholeStream(store, task);
	if (exit) await recordLeftovers(store, id, scanner);
	return undefined;
}

/** Writes the end, or the next attempt, into the record; returns the record. */
async function recordEnd(
	store: Store,
	task: Task,
	exit: ProcessExit | undefined,
	monitor: Monitor,
): Promise<Task | undefined> {
	const { id } = task;
	const { facts, completed, error } = await readTaskResult(store, task);
	const decide = (now: Task): Task | undefined => {
		const queued = now.status === "queued" ? { ...task, stop: now.stop } : now;
		const stop = monitor.unrecordedStop;
		const current = stop ? requestStop(queued, stop) : queued;
		if (exit) {
			const ended = finishTask(current, toTaskEnd(exit, facts, error));
			if (monitor.isShutDown || !isRetryable(current, ended)) return ended;
			// Before the record says so: a supervisor may die between the two.
			keepAttemptOutput(store, id, current.attempt ?? 1);
			return requeueForRetry(current, ended);
		}
		if (isFinal(now)) return undefined;
		if (current.status === "queued" || !completed)
			return markLost(store, current);
		return finishTask(current, { reason: "stream", at: timestamp(), facts });
	};
	return retryWrite(store, id, () =>
		updateTask(store, id, decide, { fallback: task }),
	);
}

/** What the task's output says. If it cannot be read, that is tried again for a while. */
async function readTaskResult(store: Store, task: Task): Promise<TaskResult> {
	const deadline = performance.now() + readRetryLimitMs;
	for (;;) {
		const resultError = readResult(store, task);
		if (!resultError.isUnread || performance.now() > deadline)
			return resultError;
		await delay(100);
	}
}

/** Looks for what lives on after the ends of tasks: for all that ended within a second at once. */
export class LeftoverScanner {
	#next: Promise<Snapshot> | undefined;
	readonly #isBusy: () => boolean;

	constructor(isBusy: () => boolean) {
		this.#isBusy = isBusy;
	}

	scan(): Promise<Snapshot> {
		this.#next ??= this.#scan();
		return this.#next;
	}

	async #scan(): Promise<Snapshot> {
		await delay(this.#isBusy() ? 1000 : 0);
		this.#next = undefined;
		return takeSnapshot();
	}
}

// --- internal ---

/** A stream longer than one look is counted to its end, once the end itself is written. */
async function countWholeStream(store: Store, task: Task): Promise<void> {
	if (task.kind !== "droid" || readOutputSize(store, task.id) <= windowBytes)
		return;
	let digest = readCurrentDigest(store, task);
	for (let offset = -1; offset !== digest.offset; ) {
		offset = digest.offset;
		await delay(0);
		digest = readCurrentDigest(store, task);
	}
	const { progress } = digest;
	await retryWrite(store, task.id, () =>
		updateTask(store, task.id, (now) => ({
			...now,
			progress: { ...now.progress, ...progress },
		})),
	);
}

/**
 * Names what lives on after the end. Not at once: a droid's own helpers need up to 2 s to see that
 * it is gone.
 */
async function recordLeftovers(
	store: Store,
	id: string,
	scanner: LeftoverScanner,
): Promise<void> {
	const find = (snapshot: Snapshot) =>
		findTree(id, undefined, undefined, snapshot);
	const scan = () =>
		retryWrite(store, id, async () => find(await scanner.scan()));
	if (!(await scan())?.length) return;
	await delay(3000);
	const living = (await scan()) ?? [];
	const left_behind = describeProcesses(living.slice(0, maxLeftBehind));
	if (left_behind.length)
		await retryWrite(store, id, () =>
			updateTask(store, id, (now) => ({ ...now, left_behind })),
		);
}

function toTaskEnd(
	exit: ProcessExit,
	facts: NonNullable<TaskEnd["facts"]>,
	resultError: string | undefined,
): TaskEnd {
	const at = timestamp();
	if ("error" in exit)
		return {
			reason: "spawn",
			at,
			error: `never started: ${errorMessage(exit.error)}`,
		};
	const sentence = describeExit(exit.code, exit.signal);
	return {
		reason: "exit",
		failed: sentence !== undefined,
		at,
		...(sentence && {
			error: resultError ? `${sentence}: ${resultError}` : sentence,
		}),
		facts: {
			...facts,
			...(exit.code !== null && { exit_code: exit.code }),
			...(exit.signal && { signal: exit.signal }),
		},
	};
}

function succeeds(act: () => void): boolean {
	try {
		act();
		return true;
	} catch {
		return false;
	}
}
