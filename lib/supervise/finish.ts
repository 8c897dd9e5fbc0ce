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
import { countMemoryKills } from "../process/proc.ts";
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
	requeueByEngine,
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

/** Says when a task may start: the queue of this machine, or a job that has started. */
export type Turns = Pick<WaitingTasks, "wait" | "wake">;

/** What ends a task, and what every step of that needs. */
export type TaskContext = {
	store: Store;
	monitor: Monitor;
	scanner: LeftoverScanner;
	waiting: WaitingTasks;
	turns: Turns;
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
	await delaySuspectEnd(task, exit);
	await monitor.finish();
	if (monitor.isReplaced) return undefined;
	if (task.stdin) await retry(() => endKeptInput(store, task));
	const isCut = succeeds(() => monitor.cut());
	// What starts in this place does not start before this end.
	const at = timestamp();
	const handedOver =
		!task.engine &&
		retry(() => {
			releaseSlot(store, task);
			return waiting.settle();
		});
	// The next task starts before the slow write of this end.
	await setImmediate();
	const after = await recordEnd(context, task, { at, exit });
	await handedOver;
	notifyWaiters(store);
	if (!isCut) await retry(() => monitor.cut());
	if (monitor.isReplaced) return undefined;
	const resume = async () => {
		if (after?.paused_at)
			await retry(async () => resumeTree(task, await takeSnapshotAsync()));
	};
	if (after?.status === "queued") await resume();
	if (after?.status === "queued" && monitor.putBack !== undefined)
		return undefined;
	if (after?.status === "queued") {
		if (!task.engine)
			await retry(() => setRunnable(store, after, false, waiting.limits));
		return after;
	}
	if (after) waiting.noteEnd(after);
	await retry(async () => {
		const isAnyReleased = await releaseDependents(store, id);
		if (isAnyReleased || waiting.isAnyHeld) await waiting.settle();
	});
	await retry(() => {
		if (task.kind === "droid" || task.stdin || task.engine)
			removePromptFiles(store, id);
		removeStops(store, id);
		if (task.on_end) runOnEnd(store, id);
	});
	if (task.kind === "droid")
		await retry(() => endMessages(store, after ?? task, task));
	await resume();
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
	const ownEnd = exit && addMemory(task, toTaskEnd(exit, { at, facts, error }));
	const decide = (now: Task): Task | undefined => {
		if (monitor.checkReplaced(now)) return undefined;
		const { putBack } = monitor;
		if (putBack !== undefined && !now.stop)
			return leaveTask(store, now, { at, error: putBack, exit: ownEnd });
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

/** The task of a job that will be started again: what ran of it was an attempt. */
function leaveTask(
	store: Store,
	task: Task,
	{ at, error, exit }: { at: string; error: string; exit: TaskEnd | undefined },
): Task {
	if (isFinal(task)) return task;
	const left = { ...task, supervisor: undefined };
	if (task.status === "queued") return left;
	keepAttemptOutput(store, task.id, task.attempt ?? 1);
	const ended = finishTask(task, exit ?? { reason: "engine", at });
	return requeueByEngine(left, { ...ended, error });
}

/**
 * Waits if a process may have died of a signal that is about to reach its supervisor as well: at a logout, and when an
 * engine ends a job, all of whose processes it signals one after the other. Droid exits 0 on SIGTERM.
 */
async function delaySuspectEnd(
	{ engine, kind }: Task,
	exit: ProcessExit | undefined,
): Promise<void> {
	if (!exit || "error" in exit) return;
	if (!engine) return exit.signal ? delay(20) : undefined;
	const isSuspect = exit.signal || exit.code !== 0 || kind === "droid";
	if (isSuspect) await delay(300);
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

/** How many processes of this job were killed for want of memory, as far as is known. */
let knownKills = 0;

/** Adds to the end of a task in a job that the job's memory was exceeded since the attempt before. */
function addMemory({ engine }: Task, end: TaskEnd): TaskEnd {
	if (!engine || !end.failed) return end;
	const before = knownKills;
	knownKills = countMemoryKills();
	if (knownKills <= before) return end;
	const words = `out of memory (${engine.name} ${engine.job}: OUT_OF_MEMORY)`;
	return end.facts?.signal === "SIGKILL"
		? { ...end, reason: "engine", error: words }
		: { ...end, error: `${end.error}: ${words}` };
}

function succeeds(act: () => void): boolean {
	try {
		act();
		return true;
	} catch {
		return false;
	}
}
