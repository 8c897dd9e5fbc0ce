/**
 * Ends a task, or one attempt of it. The end that is recorded is that of a request to stop if there is
 * one, else the process's own; if no supervisor saw the process end, its output decides.
 */
import { setTimeout as delay, setImmediate } from "node:timers/promises";
import { removePromptFiles } from "../droid/exec.ts";
import {
	readCurrentDigest,
	readResult,
	type TaskResult,
	windowBytes,
} from "../droid/task-output.ts";
import { errorMessage } from "../error.ts";
import { resumeTree } from "../process/process-tree.ts";
import { takeSnapshotAsync } from "../process/snapshot.ts";
import { markLost } from "../prune/reconcile.ts";
import { endKeptInput, isKilledAtStart, runOnEnd } from "../spawn/command.ts";
import { releaseDependents } from "../spawn/dependencies.ts";
import { releaseSlot, setRunnable } from "../spawn/queue.ts";
import type { WaitingTasks } from "../spawn/waiting.ts";
import { notifyWaiters, removeStops } from "../store/ends.ts";
import { keepAttemptOutput, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { updateTaskAsync } from "../store/records.ts";
import { endMessages } from "../store/sessions/messages.ts";
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

/** How a process that this supervisor started ended, or why it could not be started. */
export type ProcessExit =
	| {
			code: number | null;
			signal: string | null;
			/** When it began, on the monotonic clock in ms. */
			startedAt: number;
	  }
	| { error: Error };

/** How long the output of an ended task is read again if that fails, in ms. */
const readRetryLimitMs = 10_000;

/** What ends a task, and what every step of that needs. */
export type TaskContext = {
	store: Store;
	monitor: Monitor;
	scanner: LeftoverScanner;
	waiting: WaitingTasks;
};

/**
 * Ends a task or one attempt: hands the place over, records the end, starts what follows. Every
 * step is retried until it succeeds, and a step that fails does not prevent the next ones.
 * @param exit how the process ended; undefined if this supervisor did not start it.
 * @returns the task if it is queued for another attempt.
 */
export async function concludeTask(
	context: TaskContext,
	task: Task,
	exit?: ProcessExit,
): Promise<Task | undefined> {
	const { store, monitor, scanner, waiting } = context;
	const { id } = task;
	const retry = (write: () => void | Promise<void>) =>
		retryWrite(store, id, write);
	// At a logout a task may die of the signal that is about to reach its supervisor as well.
	if (exit && "signal" in exit && exit.signal) await delay(20);
	await monitor.finish();
	if (task.stdin) await retry(() => endKeptInput(store, task));
	const isCut = succeeds(() => monitor.cut());
	// What starts in this place does not start before this end.
	const at = timestamp();
	const handedOver = retry(() => {
		releaseSlot(store, task);
		return waiting.settle();
	});
	// The next task starts before the slow write of this end.
	await setImmediate();
	const after = await recordEnd(context, task, { at, exit });
	await handedOver;
	notifyWaiters(store);
	if (!isCut) await retry(() => monitor.cut());
	if (after?.status === "queued") {
		await retry(() => setRunnable(store, after, false, waiting.limits));
		return after;
	}
	if (after) waiting.noteEnd(after);
	await retry(async () => {
		const isAnyReleased = await releaseDependents(store, id);
		if (isAnyReleased || waiting.isAnyHeld) await waiting.settle();
	});
	await retry(() => {
		if (task.kind === "droid" || task.stdin) removePromptFiles(store, id);
		removeStops(store, id);
		if (task.on_end) runOnEnd(store, id);
	});
	if (task.kind === "droid")
		await retry(() => endMessages(store, after ?? task));
	if (after?.paused_at)
		await retry(async () => resumeTree(id, await takeSnapshotAsync()));
	await countWholeStream(store, task);
	if (exit) {
		const root =
			"code" in exit && task.pid
				? { pid: task.pid, startedAt: exit.startedAt }
				: undefined;
		await recordLeftovers(store, id, scanner, root);
	}
	return undefined;
}

// --- internal ---

/** Records the end or the next attempt; returns the record, undefined if it was deleted. */
async function recordEnd(
	{ store, monitor }: TaskContext,
	task: Task,
	{ at, exit }: { at: string; exit: ProcessExit | undefined },
): Promise<Task | undefined> {
	const { id } = task;
	const { facts, completed, error } = await readTaskResult(store, task);
	const ownEnd = exit && toTaskEnd(exit, { at, facts, error });
	const decide = (now: Task): Task | undefined => {
		const queued = now.status === "queued" ? { ...task, stop: now.stop } : now;
		const stop = monitor.requestedStop;
		const current = stop ? requestStop(queued, stop) : queued;
		if (ownEnd) {
			const ended = finishTask(current, ownEnd);
			if (monitor.isShutDown || !isRetryable(current, ended)) return ended;
			// This comes before the record: a supervisor that dies between the two loses no output.
			keepAttemptOutput(store, id, current.attempt ?? 1);
			return requeueForRetry(current, ended);
		}
		if (isFinal(now)) return undefined;
		if (current.status === "queued" || !completed)
			return markLost(store, current);
		return finishTask(current, { reason: "stream", at, facts });
	};
	return retryWrite(store, id, () =>
		updateTaskAsync(store, id, decide, { fallback: task }),
	);
}

/** Reads the result from the task's output. If that fails, it is tried again for 10 s. */
async function readTaskResult(store: Store, task: Task): Promise<TaskResult> {
	const deadline = performance.now() + readRetryLimitMs;
	for (;;) {
		const result = readResult(store, task);
		if (!result.isUnread || performance.now() > deadline) return result;
		await delay(100);
	}
}

/** Counts a stream that is longer than one read (`windowBytes`) to its end, after the end is recorded. */
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
		updateTaskAsync(store, task.id, (now) => ({
			...now,
			progress: { ...now.progress, ...progress },
		})),
	);
}

function toTaskEnd(
	exit: ProcessExit,
	{
		at,
		facts,
		error: resultError,
	}: {
		at: string;
		facts: NonNullable<TaskEnd["facts"]>;
		error: string | undefined;
	},
): TaskEnd {
	if ("error" in exit) {
		const what = isKilledAtStart(exit.error)
			? "killed when it was started"
			: "never started";
		const error = `${what}: ${errorMessage(exit.error)}`;
		return { reason: "spawn", at, error };
	}
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
