/**
 * Cancels tasks. The request is recorded first; then the supervisor stops the tree, because it survives
 * a canceller that dies halfway. If the supervisor is gone or does not answer, the canceller stops the
 * tree. Tasks that were launched from inside are cancelled as well, unless `only` is set.
 */
import { setTimeout as delay } from "node:timers/promises";
import { BgError, errorMessage } from "../../error.ts";
import { checkLiveness } from "../../process/identity.ts";
import { describeProcesses } from "../../process/proc.ts";
import {
	findTree,
	type StopOptions,
	stopTree,
} from "../../process/process-tree.ts";
import { sendSignal, wakeSignal } from "../../process/signals.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import {
	checkSupervision,
	describeSupervision,
} from "../../prune/supervision.ts";
import { followEnds } from "../../spawn/dependencies.ts";
import { dismissTask } from "../../spawn/parked.ts";
import { postStop } from "../../store/ends.ts";
import type { Store } from "../../store/paths.ts";
import {
	findAncestors,
	findTask,
	iterateTasks,
	readTask,
	updateTask,
} from "../../store/records.ts";
import { hasNewerSchema } from "../../task/parse.ts";
import type { Stop, Task } from "../../task/schema.ts";
import {
	finishTask,
	isFinal,
	requestStop,
	timestamp,
} from "../../task/states.ts";
import { cancelJobs, endJob, isInJob } from "./jobs.ts";
import {
	type CancelOptions,
	type CancelResult,
	type CancelRun,
	isRefused,
	toStop,
	toUnchanged,
} from "./request.ts";

/** The 5 s after SIGTERM, the 5 s after SIGKILL, and time to write the end, in ms. */
const supervisorTimeoutMs = 13_000;

/**
 * Cancels tasks and what was launched from inside them, and waits until their processes are gone.
 * @returns one result a task; a task that cannot be cancelled has a note and does not affect the others.
 */
export async function cancelTasks(
	store: Store,
	ids: readonly string[],
	options: CancelOptions = {},
): Promise<CancelResult[]> {
	const done = new Map<string, CancelResult>();
	const requested = new Set<string>();
	const run = { ...options, store, requested };
	const inJobs = new Set<string>();
	for (let batch = [...ids]; batch.length; ) {
		const started = new Map<string, Promise<CancelResult>>();
		const jobs: string[] = [];
		for (const { id, isJob } of putQueuedFirst(store, batch)) {
			if (isJob) {
				jobs.push(id);
				continue;
			}
			started.set(
				id,
				cancelTask(run, id).catch((error) => {
					if (!(error instanceof BgError)) throw error;
					return toUnchanged(id, error.message);
				}),
			);
		}
		const all = addInner(run, jobs);
		for (const id of all) inJobs.add(id);
		const results = [
			...(all.length ? await cancelJobs(run, all) : []),
			...(await Promise.all(started.values())),
		];
		const found = new Map(results.map((result) => [result.taskId, result]));
		for (const id of new Set([...batch, ...found.keys()])) {
			const result = found.get(id);
			if (result) done.set(id, result);
		}
		// A task may launch others until it is gone: repeat until there are none.
		batch = options.only
			? []
			: findUnfinishedDescendants(store, requested).filter(
					(id) => !done.has(id),
				);
	}
	const own = [...requested].filter((id) => !inJobs.has(id));
	if (own.length) await followEnds(store, own);
	return [...done.values()];
}

// --- internal ---

/**
 * Orders tasks to be cancelled. The ends of queued ones are recorded before the first running one is asked to stop:
 * the place that it frees would start one of them.
 */
function putQueuedFirst(
	store: Store,
	ids: readonly string[],
): { id: string; isJob: boolean }[] {
	const found = ids.map((id) => {
		const task = findTask(store, id);
		const isJob = task !== undefined && !isFinal(task) && isInJob(task);
		return { id, isJob, isQueued: task?.status === "queued" };
	});
	return [
		...found.filter(({ isQueued }) => isQueued),
		...found.filter(({ isQueued }) => !isQueued),
	];
}

async function cancelTask(run: CancelRun, id: string): Promise<CancelResult> {
	const { store, requested } = run;
	const before = reconcileTask(store, readTask(store, id));
	if (isFinal(before)) return stopLeftovers(before, run);
	const supervision = checkSupervision(before);
	if (supervision !== "watched" && supervision !== "orphaned")
		return toUnchanged(
			id,
			describeSupervision(before, supervision) ?? supervision,
			before.status,
		);
	const stop = toStop(run);
	const { task, wasFinal, problem } = recordStop(store, before, stop);
	if (wasFinal) return stopLeftovers(task, run);
	requested.add(id);
	if (problem || task.status === "running")
		await waitForSupervisor(store, task, problem !== undefined);
	// The supervisor may be gone, or be stopped by a signal, or have recorded the end before.
	const survivors = await stopTree(id, toStopOptions(task, run));
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
				note: `stopped, but its end is not recorded yet (${problem ?? "try again"})`,
			}),
	};
}

/**
 * Records the request to stop a task. If that fails, the request is written beside the record: the
 * supervisor reads it there, and the stop needs no free space.
 * @returns the task as it is now; `problem` is why its record does not have the request.
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
		if (isFinal(task)) dismissTask(store, task);
		return { task, wasFinal };
	} catch (error) {
		if (hasNewerSchema(before) || !isRefused(error)) throw error;
		try {
			postStop(store, id, stop);
		} catch {
			// This process then stops the tree, and the recorded end names the signal.
		}
		return { task: before, problem: errorMessage(error) };
	}
}

/**
 * Wakes the supervisor and waits until it has recorded the end or is gone, at most 13 s. If the request
 * could not be recorded, it waits only until the process is gone.
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

/** Records the end of a task whose tree is gone; returns the task unchanged if that is refused. */
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

/** Stops what is left of a finished task's processes; its state stays. */
async function stopLeftovers(
	task: Task,
	options: CancelOptions,
): Promise<CancelResult> {
	const { id, status } = task;
	if (findTree(id, task.process).length === 0)
		return task.engine && endJob(task)
			? { taskId: id, status, cancelled: true, survivors: [] }
			: toUnchanged(id, `already ${status}`, status);
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

/**
 * Adds what was launched inside of jobs and runs in them: it ends with the job, so its record has to have the request
 * before that.
 */
function addInner(
	{ store, only }: CancelRun,
	jobs: readonly string[],
): string[] {
	const hasStarted = (id: string) => findTask(store, id)?.supervisor;
	const outer = only ? [] : jobs.filter(hasStarted);
	const inner = findUnfinishedDescendants(store, new Set(outer));
	const isInner = (id: string) => {
		const task = findTask(store, id);
		return task !== undefined && isInJob(task);
	};
	return [...new Set([...inner.filter(isInner), ...jobs])];
}

/** The unfinished tasks that were launched from inside these, directly or through others. */
function findUnfinishedDescendants(
	store: Store,
	ids: ReadonlySet<string>,
): string[] {
	if (ids.size === 0) return [];
	// A task in between may have ended and be archived: its descendants are found from below.
	return [...iterateTasks(store)]
		.filter((task) => !isFinal(task))
		.filter(({ parent_task_id }) =>
			[...findAncestors(store, parent_task_id)].some((id) => ids.has(id)),
		)
		.map(({ id }) => id);
}
