/**
 * Reconciles tasks whose supervisor is gone.
 *
 * Process alive: the task still runs, and a new supervisor is started. Process gone: the task is `lost`,
 * unless a droid's own completion line says otherwise. Nothing is decided about a task of another machine
 * or pid namespace, nor about an old record that names no process.
 *
 * Reading a record never reconciles it. A verb does so once, as a step of its own, before it shows
 * anything; `wait`, `watch` and `output --follow` do so at each full poll.
 */
import { existsSync } from "node:fs";
import { removePromptFiles } from "../droid/exec.ts";
import { readResult } from "../droid/task-output.ts";
import { jobStateOf } from "../engine/engine.ts";
import { BgError, errorMessage, refused } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { identifyMachine } from "../process/machine.ts";
import { describeProcesses, type Process } from "../process/proc.ts";
import { findFirst, findTree, resumeTree } from "../process/process-tree.ts";
import { type Snapshot, takeSnapshot } from "../process/snapshot.ts";
import { UnknownError } from "../process/system.ts";
import { endKeptInput, runOnEnd } from "../spawn/command.ts";
import { handOver } from "../spawn/hand-over.ts";
import { removeParkedMarks } from "../spawn/parked.ts";
import { dequeue, releaseSlot } from "../spawn/queue.ts";
import { startSupervisor } from "../spawn/supervisor.ts";
import { logFault } from "../store/directory.ts";
import { LockHeldError } from "../store/locks.ts";
import { hasOutput, restoreAttemptOutput } from "../store/output-files.ts";
import { goneMark, type Store } from "../store/paths.ts";
import { lockTimeoutMs, readTask, updateTask } from "../store/records.ts";
import { endMessages } from "../store/sessions/messages.ts";
import { type LeftBehind, maxLeftBehind, type Task } from "../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../task/states.ts";
import { checkSupervision } from "./supervision.ts";

/** A task after it was reconciled. */
export type ReconciledTask = Task & {
	/** Absent, or false: the record could not be written and does not have this state. */
	recorded?: false;
};

/**
 * Reconciles tasks one after the other, each as the caller comes to it; a final task is only passed on.
 * @param tasks records as they were just read.
 */
export function* reconcileTasks(
	store: Store,
	tasks: Iterable<Task>,
): Generator<ReconciledTask> {
	for (const task of tasks) yield reconcileTask(store, task);
}

/** How a task is reconciled. */
export type ReconcileOptions = {
	/**
	 * A snapshot of the processes, taken after the task was found to be lost; tasks may share one.
	 */
	getSnapshot?: () => Snapshot;
	/**
	 * How long to wait for the lock of the record, in ms. A supervisor passes 0, since it must not block:
	 * then a task whose record is locked is returned unchanged.
	 */
	timeoutMs?: number;
};

/**
 * Reconciles one task.
 * @returns the task as it is now. If its record cannot be written, the task as it would be recorded,
 * with `recorded: false`.
 */
export function reconcileTask(
	store: Store,
	task: Task,
	{
		getSnapshot = takeSnapshot,
		timeoutMs = lockTimeoutMs,
	}: ReconcileOptions = {},
): ReconciledTask {
	if (isFinal(task)) return task;
	const supervision = checkSupervision(task);
	if (supervision !== "lost" && supervision !== "orphaned") return task;
	try {
		const reconciled = updateTask(
			store,
			task.id,
			(now) => recoverTask(store, now, getSnapshot),
			{ timeoutMs },
		);
		if (isFinal(reconciled)) {
			runOnEnd(store, task.id);
			// Its place is free, or it was the first in line. A supervisor hands over by itself.
			if (timeoutMs > 0) handOver(store, 0);
		}
		return reconciled;
	} catch (error) {
		if (timeoutMs === 0 && error instanceof LockHeldError) return task;
		if (!(error instanceof BgError)) throw error;
		if (error instanceof UnknownError) return task;
	}
	// Read once more: its supervisor may have written the end just before it left.
	try {
		const now = readTask(store, task.id);
		return checkSupervision(now) === "lost"
			? { ...previewRecovery(store, now, getSnapshot), recorded: false }
			: now;
	} catch (error) {
		if (error instanceof BgError) return task;
		throw error;
	}
}

/**
 * What reconciling would record of a lost task; writes nothing.
 * @throws BgError (refused) if that cannot be told.
 */
export function previewRecovery(
	store: Store,
	task: Task,
	getSnapshot: () => Snapshot,
): Task {
	const started = findStartedProcess(task, getSnapshot);
	return started ? markStarted(task, started) : markLost(store, task);
}

/**
 * Ends a task whose end no supervisor saw: its exit code cannot be known.
 * @returns the final task, not written.
 * @throws BgError (refused) if the output of a droid cannot be read: its last line decides.
 */
export function markLost(store: Store, task: Task): Task {
	const at = timestamp();
	if (task.engine) return markJobOver(store, task);
	const isQueued = task.status === "queued";
	if (isQueued && existsSync(goneMark(store, task.id)))
		return finishTask(task, {
			reason: "spawn",
			at,
			error: "never started: bg was gone when its turn came",
		});
	if (isQueued && !hasOutput(store, task.id))
		return finishTask(task, {
			reason: "lost",
			at,
			error: task.attempts
				? "its supervisor died between two attempts"
				: "never started: its supervisor died",
		});
	const { facts, completed, isUnread } = readResult(store, task);
	if (isUnread && task.kind === "droid")
		throw refused(`cannot tell how ${task.id} ended: ${facts.result}`);
	return finishTask(task, {
		reason: completed ? "stream" : "lost",
		at,
		error: isQueued
			? "its supervisor died while it started"
			: "ended while no supervisor watched it",
		facts,
	});
}

/** Removes what only a running task needs. What cannot be removed now is left to a sweep: the end is recorded. */
export function removeRunFiles(store: Store, task: Task): void {
	const steps = [
		() => endKeptInput(store, task),
		() => removePromptFiles(store, task.id),
		() => endMessages(store, task),
	];
	for (const step of steps)
		try {
			step();
		} catch (error) {
			logFault(store, "supervisor", `${task.id} ${errorMessage(error)}`);
		}
}

// --- internal ---

/** Ends a task whose job is over, in the words of the engine, unless a droid's output says how it ended. */
function markJobOver(store: Store, task: Task): Task {
	const state = jobStateOf(task);
	const { facts, completed } = readResult(store, task);
	const end =
		state.phase === "over"
			? state.end
			: { reason: "lost" as const, error: "its engine has no job for it" };
	const reason = completed ? "stream" : end.reason;
	const isLeaky = "isLeaky" in state && state.isLeaky;
	const { words = "", ...survivors } = isLeaky ? findSurvivors(task) : {};
	const error = `${end.error}${words}`;
	const ended = { reason, error, at: timestamp(), facts };
	return { ...finishTask(task, ended), ...survivors };
}

/** The processes of a task that may have outlived its job. Only on their node it can be told which live. */
function findSurvivors(task: Task): {
	words?: string;
	left_behind?: LeftBehind[];
} {
	const { process, engine } = task;
	if (!process) return {};
	if (checkLiveness(process) === "elsewhere") {
		const where = engine?.node ? ` on ${engine.node}` : "";
		return {
			words: `; its process group ${process.pid} may still run${where}`,
		};
	}
	const living = findTree(task.id, process).slice(0, maxLeftBehind);
	return living.length ? { left_behind: describeProcesses(living) } : {};
}

/** Decides by the record as it is now, under its lock. */
function recoverTask(
	store: Store,
	task: Task,
	getSnapshot: () => Snapshot,
): Task {
	const supervision = checkSupervision(task);
	if (supervision === "orphaned") return adoptTask(store, task);
	if (supervision !== "lost") return task;
	const started = findStartedProcess(task, getSnapshot);
	if (started) {
		dequeue(store, task);
		return adoptTask(store, markStarted(task, started));
	}
	restoreAttemptOutput(store, task.id, task.attempt ?? 1);
	const lostTask = markLost(store, task);
	if (task.paused_at) resumeTree(task);
	removeRunFiles(store, lostTask);
	dequeue(store, task);
	releaseSlot(store, task);
	removeParkedMarks(store, task.id);
	return lostTask;
}

/**
 * The process of a queued task: a supervisor that died right after it started the process could not
 * record that.
 */
const findStartedProcess = (
	task: Task,
	getSnapshot: () => Snapshot,
): Process | undefined =>
	task.status === "queued" && !task.engine
		? findFirst(task, getSnapshot())
		: undefined;

const markStarted = (task: Task, { pid, start }: Process): Task => ({
	...task,
	status: "running",
	started_at: timestamp(),
	pid,
	process: { ...identifyMachine(), pid, start },
});

function adoptTask(store: Store, task: Task): Task {
	const supervisor = startSupervisor({ store, ids: [task.id], adopt: true });
	return { ...task, supervisor };
}
