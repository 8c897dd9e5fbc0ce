/**
 * The end of a task, or of an attempt: it is written whatever it takes, the place is free, what was
 * to follow is started, and what lives on is named.
 */
import { setTimeout as delay } from "node:timers/promises";
import { removePromptFiles } from "../droid/exec.ts";
import {
	readCurrentDigest,
	readResult,
	type TaskResult,
	windowBytes,
} from "../droid/task-output.ts";
import { errorMessage } from "../error.ts";
import { resumeTree } from "../process/process-tree.ts";
import { markLost } from "../prune/reconcile.ts";
import { runOnEnd } from "../spawn/on-end.ts";
import { setRunnable } from "../spawn/queue.ts";
import { releaseSlot } from "../spawn/slots.ts";
import { notifyWaiters, removeStops } from "../store/ends.ts";
import { keepAttemptOutput, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { updateTask } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import {
	describeExit,
	finishTask,
	isFinal,
	isRetryable,
	requestStop,
	requeueForRetry,
	type TaskEnd,
	timestamp,
} from "../task/states.ts";
import { type LeftoverScanner, recordLeftovers } from "./leftovers.ts";
import type { Monitor } from "./monitor.ts";
import { retryWrite } from "./retry-write.ts";

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
