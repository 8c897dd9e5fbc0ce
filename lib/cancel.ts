/**
 * Stopping tasks on demand. An intent is written first; then the supervisor stops the tree, for it
 * outlives a canceller that dies halfway. Where no supervisor lives, or it does not answer, the
 * canceller does it. Tasks launched from inside go with the task, unless they shall be left.
 */
import { setTimeout as delay } from "node:timers/promises";
import { BgError } from "./error.ts";
import type { Store } from "./names.ts";
import { describeProcesses, liveness, lookSignal, signal } from "./process.ts";
import { describeStanding, settle, standingOf } from "./prune.ts";
import { leaveQueue } from "./queue.ts";
import { eachTask, readTask, updateTask } from "./store.ts";
import {
	finish,
	intend,
	isFinal,
	type LeftBehind,
	type Reason,
	type Status,
	type stopSignals,
	type Task,
	timestamp,
} from "./task.ts";
import { findTree, type StopOptions, stopTree } from "./tree.ts";

export type CancelOptions = {
	/** The first signal; TERM where none is given. */
	signal?: (typeof stopSignals)[number] | undefined;
	/** Leave the tasks that were launched from inside. */
	only?: boolean;
	/** Why: what the end will be. */
	because?: { reason: Reason; by: string };
};

export type Cancelled = {
	taskId: string;
	/** None where its record cannot be read. */
	status?: Status;
	/** Whether this call stopped something. */
	cancelled: boolean;
	survivors: LeftBehind[];
	/** Why nothing was stopped. */
	note?: string;
};

/** SIGTERM's 5 s, SIGKILL's 5 s, and time to write the end, in ms. */
const supervisorPatience = 13_000;

/**
 * Cancels tasks, and what was launched from inside them, and waits until they are gone. A task whose
 * record cannot be read is told as that, and does not keep the others.
 */
export async function cancelTasks(
	store: Store,
	ids: readonly string[],
	options: CancelOptions = {},
): Promise<Cancelled[]> {
	const done = new Map<string, Cancelled>();
	const intended = new Set<string>();
	for (let batch = [...ids]; batch.length; ) {
		const results = await Promise.all(
			batch.map((id) => cancelOrTell(store, id, options, intended)),
		);
		for (const result of results) done.set(result.taskId, result);
		// A task may launch another until it is gone: look again until none is left.
		batch = options.only
			? []
			: descendantsOf(store, intended).filter((id) => !done.has(id));
	}
	return [...done.values()];
}

// --- internal ---

async function cancelOrTell(
	store: Store,
	id: string,
	options: CancelOptions,
	intended: Set<string>,
): Promise<Cancelled> {
	try {
		return await cancelTask(store, id, options, intended);
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		return { taskId: id, cancelled: false, survivors: [], note: error.message };
	}
}

async function cancelTask(
	store: Store,
	id: string,
	options: CancelOptions,
	intended: Set<string>,
): Promise<Cancelled> {
	const before = settle(store, readTask(store, id));
	if (isFinal(before)) return stopRemains(before, options);
	const standing = standingOf(before);
	if (standing !== "watched" && standing !== "orphaned")
		return {
			taskId: id,
			status: before.status,
			cancelled: false,
			survivors: [],
			note: describeStanding(before, standing) ?? standing,
		};
	const at = timestamp();
	let wrote = false;
	const task = updateTask(store, id, (now) => {
		if (isFinal(now)) return undefined;
		wrote = true;
		const stop = {
			...(options.because ?? { reason: "cancel", by: "bg cancel" }),
			at,
			...(options.signal && { signal: options.signal }),
		};
		const stopping = intend(now, stop);
		return now.status === "queued"
			? finish(stopping, { reason: "cancel", at })
			: stopping;
	});
	if (!wrote) return stopRemains(task, options);
	intended.add(id);
	if (isFinal(task)) leaveQueue(store, task);
	if (task.status === "running") await awaitSupervisor(store, task);
	// What the supervisor has not stopped, because it is gone or stopped itself or was done already.
	const survivors = await stopTree(id, stopOptions(task, options));
	const end = survivors.length ? readTask(store, id) : endNow(store, id);
	return {
		taskId: id,
		status: end.status,
		cancelled: end.status === "cancelled" && survivors.length === 0,
		survivors: describeProcesses(survivors),
	};
}

/** Asks the supervisor, and waits until it has written the end, or will not any more. */
async function awaitSupervisor(
	store: Store,
	{ id, supervisor }: Task,
): Promise<void> {
	if (!supervisor) return;
	signal(supervisor, lookSignal);
	const deadline = performance.now() + supervisorPatience;
	for (let pause = 5; performance.now() < deadline; ) {
		if (liveness(supervisor) !== "alive") return;
		await delay(pause);
		if (isFinal(readTask(store, id))) return;
		pause = Math.min(pause * 2, 50);
	}
}

/** The end of a task whose tree is gone, where nobody has written it yet. */
function endNow(store: Store, id: string): Task {
	return updateTask(store, id, (now) =>
		finish(now, { reason: "cancel", at: timestamp() }),
	);
}

/** A finished task's state stays; what is left of its processes is stopped. */
async function stopRemains(
	task: Task,
	options: CancelOptions,
): Promise<Cancelled> {
	const { id, status } = task;
	if (findTree(id, task.process).length === 0)
		return {
			taskId: id,
			status,
			cancelled: false,
			survivors: [],
			note: `already ${status}`,
		};
	const survivors = await stopTree(id, stopOptions(task, options));
	return {
		taskId: id,
		status,
		cancelled: survivors.length === 0,
		survivors: describeProcesses(survivors),
	};
}

function stopOptions(task: Task, { signal }: CancelOptions): StopOptions {
	return { root: task.process, ...(signal && { signal: `SIG${signal}` }) };
}

/** All that was launched from inside these tasks, through whatever generations, and is not over. */
function descendantsOf(store: Store, ids: ReadonlySet<string>): string[] {
	if (ids.size === 0) return [];
	const family = new Set(ids);
	const unfinished: string[] = [];
	// Oldest first: a parent is always older than its children.
	for (const task of [...eachTask(store)].reverse()) {
		if (!family.has(task.parent_task_id ?? "")) continue;
		family.add(task.id);
		if (!isFinal(task)) unfinished.push(task.id);
	}
	return unfinished;
}
