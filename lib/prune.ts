/**
 * Which tasks nobody watches any more, and what becomes of them: a pure choice, then the act.
 *
 * Supervisor gone, process alive: still running, and it gets a new supervisor. Both gone: `lost`,
 * unless a droid's own completion line says otherwise. Nothing is decided about a task of another
 * machine or pid namespace, nor about an old record that names no process.
 */
import { BgError, refused } from "./error.ts";
import { describeMachine, identifyMachine } from "./machine.ts";
import type { Store } from "./names.ts";
import { readResult } from "./output.ts";
import { hasOutput, restoreAttemptOutput } from "./outputs.ts";
import { toLine } from "./print.ts";
import {
	checkLiveness,
	explainUnknown,
	type Liveness,
	type Process,
} from "./process.ts";
import { dequeue, releaseSlot } from "./queue.ts";
import { runOnEnd, startSupervisor } from "./spawn.ts";
import { readTask, removePromptFiles, updateTask } from "./store.ts";
import { UnknownError } from "./system.ts";
import {
	finishTask,
	type Identity,
	isFinal,
	type Task,
	timestamp,
} from "./task.ts";
import { findFirst, resumeTree, type Snapshot, takeSnapshot } from "./tree.ts";

/** Where a task stands, by its own processes. */
export type Supervision =
	| "watched"
	| "orphaned"
	| "lost"
	| "elsewhere"
	/** No process was ever named (an old record), so nobody can say. */
	| "unknown"
	/** Droid runs it, and its session's end is reported by a hook. */
	| "native"
	/** Final, and nothing of it lives. */
	| "over"
	/** Final, and its process lives. */
	| "lingering"
	/** The kernel does not say whether it lives: nothing follows. */
	| "unclear";

export function checkSupervision(
	task: Task,
	check: (identity: Identity) => Liveness = checkLiveness,
): Supervision {
	// Whose exit was seen is over; a final task whose process lives has none yet.
	if (isFinal(task) && (task.exit_code ?? task.signal) !== undefined)
		return "over";
	const process = task.process && check(task.process);
	if (isFinal(task)) return finalSupervisions[process ?? "gone"];
	const supervisor = task.supervisor && check(task.supervisor);
	if (!supervisor) return task.kind === "native" ? "native" : "unknown";
	if (supervisor === "alive") return "watched";
	if (supervisor === "elsewhere") return "elsewhere";
	if (supervisor === "unknown") return "unclear";
	return orphanSupervisions[process ?? "gone"];
}

const finalSupervisions = {
	alive: "lingering",
	gone: "over",
	elsewhere: "over",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** Of an unfinished task whose supervisor is gone, by the liveness of its process. */
const orphanSupervisions = {
	alive: "orphaned",
	gone: "lost",
	elsewhere: "elsewhere",
	unknown: "unclear",
} as const satisfies Record<Liveness, Supervision>;

/** What a person should know of a task beside its status; undefined where there is nothing. */
export function describeSupervision(
	task: Task,
	supervision: Supervision,
): string | undefined {
	if (supervision === "lingering") return "process alive";
	if (supervision === "unknown") return "nobody watches it";
	if (supervision === "native") return "droid runs it";
	if (supervision === "unclear")
		return toLine(
			`cannot tell whether it runs: ${explainUnknown([task.supervisor, task.process])}`,
		);
	if (supervision === "elsewhere")
		return toLine(describeMachine(task.supervisor?.machine ?? ""));
	return undefined;
}

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
