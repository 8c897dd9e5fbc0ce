/**
 * Reconciles tasks that nobody watches any more.
 *
 * Supervisor gone, process alive: the task still runs, and gets a new supervisor. Both gone: it is
 * `lost`, unless a droid's own completion line says otherwise. Nothing is decided about a task of
 * another machine or pid namespace, nor about an old record that names no process.
 */
import { removePromptFiles } from "../droid/exec.ts";
import { readResult } from "../droid/task-output.ts";
import { BgError, refused } from "../error.ts";
import { identifyMachine } from "../process/machine.ts";
import type { Process } from "../process/proc.ts";
import { findFirst, resumeTree } from "../process/process-tree.ts";
import { type Snapshot, takeSnapshot } from "../process/snapshot.ts";
import { UnknownError } from "../process/system.ts";
import { runOnEnd } from "../spawn/on-end.ts";
import { dequeue } from "../spawn/queue.ts";
import { releaseSlot } from "../spawn/slots.ts";
import { startSupervisor } from "../spawn/supervisor.ts";
import { hasOutput, restoreAttemptOutput } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { readTask, updateTask } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../task/states.ts";
import { checkSupervision } from "./supervision.ts";

/**
 * Sets a task right that nobody watches, and returns it as it now is. Where the store cannot be
 * written, the answer is the same and stays unwritten.
 * @param look a look over the processes, taken after the task was seen to be lost; many may share it.
 */
export function reconcileTask(
	store: Store,
	task: Task,
	getSnapshot: () => Snapshot = takeSnapshot,
): Task {
	const supervision = checkSupervision(task);
	if (supervision !== "lost" && supervision !== "orphaned") return task;
	try {
		const reconciled = updateTask(store, task.id, (now) =>
			recoverTask(store, now, getSnapshot),
		);
		if (isFinal(reconciled)) runOnEnd(store, task.id);
		return reconciled;
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		if (error instanceof UnknownError) return task;
	}
	// Read once more: its supervisor may have written the end just before it left.
	try {
		const now = readTask(store, task.id);
		return checkSupervision(now) === "lost" ? markLost(store, now) : now;
	} catch (error) {
		if (error instanceof BgError) return task;
		throw error;
	}
}

/**
 * The process of a task that is lost in the queue: a supervisor that died right after it started the
 * process could not write that down.
 */
export function findStartedProcess(
	task: Task,
	getSnapshot: () => Snapshot,
): Process | undefined {
	return task.status === "queued" ? findFirst(task, getSnapshot()) : undefined;
}

/** An end nobody saw: an exit code nobody waited for cannot be known. */
export function markLost(store: Store, task: Task): Task {
	const at = timestamp();
	const isQueued = task.status === "queued";
	if (isQueued && !hasOutput(store, task.id))
		return finishTask(task, {
			reason: "lost",
			at,
			error: task.attempts
				? "its supervisor died between two attempts"
				: "never started: its supervisor died",
		});
	const { facts, completed, isUnread } = readResult(store, task);
	// Its last line decides.
	if (isUnread && task.kind === "droid")
		throw refused(`cannot tell how ${task.id} ended: ${facts.result}`);
	return finishTask(task, {
		reason: completed ? "stream" : "lost",
		at,
		error: isQueued
			? "its supervisor died while it started"
			: "ended while nobody watched",
		facts,
	});
}

// --- internal ---

/** Under the lock: what the record says now decides. */
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
		return adoptTask(store, {
			...task,
			status: "running",
			started_at: timestamp(),
			pid: started.pid,
			process: { ...identifyMachine(), pid: started.pid, start: started.start },
		});
	}
	restoreAttemptOutput(store, task.id, task.attempt ?? 1);
	const lostTask = markLost(store, task);
	if (task.paused_at) resumeTree(task.id);
	removePromptFiles(store, task.id);
	dequeue(store, task);
	releaseSlot(store, task);
	return lostTask;
}

function adoptTask(store: Store, task: Task): Task {
	const supervisor = startSupervisor({ store, ids: [task.id], adopt: true });
	return { ...task, supervisor };
}
