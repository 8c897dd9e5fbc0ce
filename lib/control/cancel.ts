/**
 * Stopping tasks on demand. An intent is written first; then the supervisor stops the tree, for it
 * outlives a canceller that dies halfway. Where no supervisor lives, or it does not answer, the
 * canceller does it. Tasks launched from inside go with the task, unless they shall be left.
 */
import { setTimeout as delay } from "node:timers/promises";
import { BgError, errorMessage } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { describeProcesses } from "../process/proc.ts";
import {
	findTree,
	type StopOptions,
	stopTree,
} from "../process/process-tree.ts";
import { sendSignal, wakeSignal } from "../process/signals.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { checkSupervision, describeSupervision } from "../prune/supervision.ts";
import { dequeue } from "../spawn/queue.ts";
import { postStop } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { iterateTasks, readTask, updateTask } from "../store/records.ts";
import { hasNewerSchema } from "../task/parse.ts";
import type {
	LeftBehind,
	Reason,
	Status,
	Stop,
	stopSignals,
	Task,
} from "../task/schema.ts";
import { finishTask, isFinal, requestStop, timestamp } from "../task/states.ts";

export type CancelOptions = {
	/** The first signal; TERM where none is given. */
	signal?: (typeof stopSignals)[number] | undefined;
	/** Leave the tasks that were launched from inside. */
	only?: boolean;
	/** Why: what the end will be. */
	cause?: { reason: Reason; by: string };
};

export type CancelResult = {
	taskId: string;
	/** None where its record cannot be read. */
	status?: Status;
	/** Whether this call stopped something. */
	cancelled: boolean;
	survivors: LeftBehind[];
	/** Why nothing was stopped, or why the end is not recorded yet. */
	note?: string;
};

/** SIGTERM's 5 s, SIGKILL's 5 s, and time to write the end, in ms. */
const supervisorTimeoutMs = 13_000;

/**
 * Cancels tasks, and what was launched from inside them, and waits until they are gone. A task whose
 * record cannot be read is told as that, and does not keep the others.
 */
export async function cancelTasks(
	store: Store,
	ids: readonly string[],
	options: CancelOptions = {},
): Promise<CancelResult[]> {
	const done = new Map<string, CancelResult>();
	const requested = new Set<string>();
	for (let batch = [...ids]; batch.length; ) {
		const results = await Promise.all(
			batch.map((id) => tryCancelTask(store, id, options, requested)),
		);
		for (const result of results) done.set(result.taskId, result);
		// A task may launch another until it is gone: look again until none is left.
		batch = options.only
			? []
			: findUnfinishedDescendants(store, requested).filter(
					(id) => !done.has(id),
				);
	}
	return [...done.values()];
}

// --- internal ---

async function tryCancelTask(
	store: Store,
	id: string,
	options: CancelOptions,
	requested: Set<string>,
): Promise<CancelResult> {
	try {
		return await cancelTask(store, id, options, requested);
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		return { taskId: id, cancelled: false, survivors: [], note: error.message };
	}
}

async function cancelTask(
	store: Store,
	id: string,
	options: CancelOptions,
	requested: Set<string>,
): Promise<CancelResult> {
	const before = reconcileTask(store, readTask(store, id));
	if (isFinal(before)) return stopLeftovers(before, options);
	const supervision = checkSupervision(before);
	if (supervision !== "watched" && supervision !== "orphaned")
		return {
			taskId: id,
			status: before.status,
			cancelled: false,
			survivors: [],
			note: describeSupervision(before, supervision) ?? supervision,
		};
	const stop: Stop = {
		...(options.cause ?? { reason: "cancel", by: "bg cancel" }),
		at: timestamp(),
		...(options.signal && { signal: options.signal }),
	};
	const { task, wasFinal, problem } = recordStop(store, before, stop);
	if (wasFinal) return stopLeftovers(task, options);
	requested.add(id);
	if (problem || task.status === "running")
		await waitForSupervisor(store, task, problem !== undefined);
	// What the supervisor has not stopped, because it is gone or stopped itself or was done already.
	const survivors = await stopTree(id, toStopOptions(task, options));
	const end = survivors.length
		? readTask(store, id)
		: finishCancelled(store, task);
	const isStopped = survivors.length === 0;
	return {
		taskId: id,
		status: end.status,
		cancelled: isStopped && (end.status === "cancelled" || !isFinal(end)),
		survivors: describeProcesses(survivors),
		...(isStopped &&
			!isFinal(end) && {
				note: `stopped; its end is recorded as soon as that is possible (${problem ?? "try again"})`,
			}),
	};
}

/**
 * Records the request to stop a task. If that fails, the request is left beside the record: its
 * supervisor reads it there, and the stop does not wait for free space.
 * @returns the task as it is now; `problem` says why its record does not have the request.
 */
function recordStop(
	store: Store,
	before: Task,
	stop: Stop,
): { task: Task; wasFinal?: boolean; problem?: string } {
	const { id } = before;
	let wasFinal = false;
	try {
		const task = updateTask(store, id, (now) => {
			wasFinal = isFinal(now);
			if (wasFinal) return undefined;
			const stopping = requestStop(now, stop);
			return now.status === "queued"
				? finishTask(stopping, { reason: "cancel", at: stop.at })
				: stopping;
		});
		if (isFinal(task)) dequeue(store, task);
		return { task, wasFinal };
	} catch (error) {
		if (hasNewerSchema(before) || !isRefused(error)) throw error;
		try {
			postStop(store, id, stop);
		} catch {
			// Then this process stops the tree, and the end says which signal it was.
		}
		return { task: before, problem: errorMessage(error) };
	}
}

const isRefused = (error: unknown) =>
	error instanceof BgError && error.exit === "refused";

/**
 * Asks the supervisor, and waits until it has recorded the end, or will not any more. An end that
 * cannot be recorded is not waited for once the process is gone.
 */
async function waitForSupervisor(
	store: Store,
	{ id, supervisor, process }: Task,
	isUnrecorded: boolean,
): Promise<void> {
	if (!supervisor) return;
	sendSignal(supervisor, wakeSignal);
	const deadline = performance.now() + supervisorTimeoutMs;
	for (let pause = 5; performance.now() < deadline; ) {
		if (checkLiveness(supervisor) === "gone") return;
		await delay(pause);
		if (isFinal(readTask(store, id))) return;
		const isGone = !process || checkLiveness(process) === "gone";
		if (isUnrecorded && isGone) return;
		pause = Math.min(pause * 2, 50);
	}
}

/**
 * Records the end of a task whose tree is gone, if its supervisor did not; the task as it is if that
 * cannot be recorded.
 */
function finishCancelled(store: Store, task: Task): Task {
	try {
		return updateTask(store, task.id, (now) =>
			finishTask(now, { reason: "cancel", at: timestamp() }),
		);
	} catch (error) {
		if (isRefused(error)) return task;
		throw error;
	}
}

/** A finished task's state stays; what is left of its processes is stopped. */
async function stopLeftovers(
	task: Task,
	options: CancelOptions,
): Promise<CancelResult> {
	const { id, status } = task;
	if (findTree(id, task.process).length === 0)
		return {
			taskId: id,
			status,
			cancelled: false,
			survivors: [],
			note: `already ${status}`,
		};
	const survivors = await stopTree(id, toStopOptions(task, options));
	return {
		taskId: id,
		status,
		cancelled: survivors.length === 0,
		survivors: describeProcesses(survivors),
	};
}

function toStopOptions(task: Task, { signal }: CancelOptions): StopOptions {
	return { root: task.process, ...(signal && { signal: `SIG${signal}` }) };
}

/** All that was launched from inside these tasks, through whatever generations, and is not over. */
function findUnfinishedDescendants(
	store: Store,
	ids: ReadonlySet<string>,
): string[] {
	if (ids.size === 0) return [];
	const family = new Set(ids);
	const unfinished: string[] = [];
	// Oldest first: a parent is always older than its children.
	for (const task of [...iterateTasks(store)].reverse()) {
		if (!family.has(task.parent_task_id ?? "")) continue;
		family.add(task.id);
		if (!isFinal(task)) unfinished.push(task.id);
	}
	return unfinished;
}
