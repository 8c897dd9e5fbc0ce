/**
 * Which tasks nobody watches any more, and what becomes of them: a pure choice, then the act.
 *
 * Supervisor gone, process alive: still running, and it gets a new supervisor. Both gone: `lost`,
 * unless a droid's own completion line says otherwise. Nothing is decided about a task of another
 * machine or pid namespace, nor about an old record that names no process.
 */
import { BgError, refused } from "./error.ts";
import { describeMachine, thisMachine } from "./machine.ts";
import type { Store } from "./names.ts";
import { readEnd } from "./output.ts";
import { hasOutput, restoreOutput } from "./outputs.ts";
import { toLine } from "./print.ts";
import {
	explainUnknown,
	type Liveness,
	liveness,
	type Process,
} from "./process.ts";
import { leaveQueue, releaseSlot } from "./queue.ts";
import { runOnEnd, startSupervisor } from "./spawn.ts";
import { readTask, removePrompts, updateTask } from "./store.ts";
import { UnknownError } from "./system.ts";
import {
	finish,
	type Identity,
	isFinal,
	type Task,
	timestamp,
} from "./task.ts";
import { findFirst, resumeTree, type Snapshot, takeSnapshot } from "./tree.ts";

/** Where a task stands, by its own processes. */
export type Standing =
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

export function standingOf(
	task: Task,
	livenessOf: (identity: Identity) => Liveness = liveness,
): Standing {
	// Whose exit was seen is over; a final task whose process lives has none yet.
	if (isFinal(task) && (task.exit_code ?? task.signal) !== undefined)
		return "over";
	const process = task.process && livenessOf(task.process);
	if (isFinal(task)) return finalStandings[process ?? "gone"];
	const supervisor = task.supervisor && livenessOf(task.supervisor);
	if (!supervisor) return task.kind === "native" ? "native" : "unknown";
	if (supervisor === "alive") return "watched";
	if (supervisor === "elsewhere") return "elsewhere";
	if (supervisor === "unknown") return "unclear";
	return orphanStandings[process ?? "gone"];
}

const finalStandings = {
	alive: "lingering",
	gone: "over",
	elsewhere: "over",
	unknown: "unclear",
} as const satisfies Record<Liveness, Standing>;

/** Of an unfinished task whose supervisor is gone, by the liveness of its process. */
const orphanStandings = {
	alive: "orphaned",
	gone: "lost",
	elsewhere: "elsewhere",
	unknown: "unclear",
} as const satisfies Record<Liveness, Standing>;

/** What a person should know of a task beside its status; undefined where there is nothing. */
export function describeStanding(
	task: Task,
	standing: Standing,
): string | undefined {
	if (standing === "lingering") return "process alive";
	if (standing === "unknown") return "nobody watches it";
	if (standing === "native") return "droid runs it";
	if (standing === "unclear")
		return toLine(
			`cannot tell whether it runs: ${explainUnknown([task.supervisor, task.process])}`,
		);
	if (standing === "elsewhere")
		return toLine(describeMachine(task.supervisor?.machine ?? ""));
	return undefined;
}

/**
 * Sets a task right that nobody watches, and returns it as it now is. Where the store cannot be
 * written, the answer is the same and stays unwritten.
 * @param look a look over the processes, taken after the task was seen to be lost; many may share it.
 */
export function settle(
	store: Store,
	task: Task,
	look: () => Snapshot = takeSnapshot,
): Task {
	const standing = standingOf(task);
	if (standing !== "lost" && standing !== "orphaned") return task;
	try {
		const settled = updateTask(store, task.id, (now) =>
			rescue(store, now, look),
		);
		if (isFinal(settled)) runOnEnd(store, task.id);
		return settled;
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		if (error instanceof UnknownError) return task;
	}
	// Read once more: its supervisor may have written the end just before it left.
	try {
		const now = readTask(store, task.id);
		return standingOf(now) === "lost" ? lose(store, now) : now;
	} catch (error) {
		if (error instanceof BgError) return task;
		throw error;
	}
}

/**
 * The process of a task that is lost in the queue: a supervisor that died right after it started the
 * process could not write that down.
 */
export function findStarted(
	task: Task,
	look: () => Snapshot,
): Process | undefined {
	return task.status === "queued" ? findFirst(task, look()) : undefined;
}

/** An end nobody saw: an exit code nobody waited for cannot be known. */
export function lose(store: Store, task: Task): Task {
	const at = timestamp();
	const isQueued = task.status === "queued";
	if (isQueued && !hasOutput(store, task.id))
		return finish(task, {
			reason: "lost",
			at,
			error: task.attempts
				? "its supervisor died between two attempts"
				: "never started: its supervisor died",
		});
	const { facts, completed, isUnread } = readEnd(store, task);
	// Its last line decides.
	if (isUnread && task.kind === "droid")
		throw refused(`cannot tell how ${task.id} ended: ${facts.result}`);
	return finish(task, {
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
function rescue(store: Store, task: Task, look: () => Snapshot): Task {
	const standing = standingOf(task);
	if (standing === "orphaned") return adopt(store, task);
	if (standing !== "lost") return task;
	const started = findStarted(task, look);
	if (started) {
		leaveQueue(store, task);
		return adopt(store, {
			...task,
			status: "running",
			started_at: timestamp(),
			pid: started.pid,
			process: { ...thisMachine(), pid: started.pid, start: started.start },
		});
	}
	restoreOutput(store, task.id, task.attempt ?? 1);
	const lost = lose(store, task);
	if (task.paused_at) resumeTree(task.id);
	removePrompts(store, task.id);
	leaveQueue(store, task);
	releaseSlot(store, task);
	return lost;
}

function adopt(store: Store, task: Task): Task {
	const supervisor = startSupervisor({ store, ids: [task.id], adopt: true });
	return { ...task, supervisor };
}
