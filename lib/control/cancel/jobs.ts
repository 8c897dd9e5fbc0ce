/**
 * Cancels tasks whose supervisor is a job of an engine, or runs inside of one. From every machine: the request is
 * recorded first. A job that has not started is removed from the engine's queue, and would find an ended task. The
 * supervisor of a job that runs is told by the engine; it stops the tree, sees that it is gone, and records the end.
 */
import { setTimeout as delay } from "node:timers/promises";
import { jobStateOf, loadedEngine } from "../../engine/engine.ts";
import { BgError, errorMessage } from "../../error.ts";
import {
	checkLiveness,
	isAliveHere,
	isSameProcess,
} from "../../process/identity.ts";
import { sendSignal, wakeSignal } from "../../process/signals.ts";
import { reconcileTask, removeRunFiles } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import { runOnEnd } from "../../spawn/command.ts";
import { releaseDependents } from "../../spawn/dependencies.ts";
import { handOver } from "../../spawn/hand-over.ts";
import { dismissTask } from "../../spawn/parked.ts";
import { notifyTogether, postStop } from "../../store/ends.ts";
import { keepClaims } from "../../store/locks.ts";
import type { Store } from "../../store/paths.ts";
import { readTask, updateTaskAsync } from "../../store/records.ts";
import { hasNewerSchema } from "../../task/parse.ts";
import type { Task } from "../../task/schema.ts";
import { finishTask, isFinal, requestStop } from "../../task/states.ts";
import {
	type CancelResult,
	type CancelRun,
	isRefused,
	toStop,
	toUnchanged,
} from "./request.ts";

/** Whether a task is cancelled by its record and its engine: its supervisor is a job, or was started in one. */
export const isInJob = ({ engine, supervisor }: Task): boolean =>
	engine !== undefined ||
	(supervisor?.job !== undefined && checkLiveness(supervisor) === "elsewhere");

/**
 * Cancels tasks in jobs, and waits until their supervisors have recorded the ends.
 * @param ids of unfinished tasks; those that have not started first.
 * @returns one result a task.
 */
export async function cancelJobs(
	run: CancelRun,
	ids: readonly string[],
): Promise<CancelResult[]> {
	const requests = await recordRequests(run, ids);
	const running = requests.filter(({ state }) => state === "stopping");
	const isRung = ring(running);
	const removed = requests.filter(({ state }) => state === "removed");
	const problem = await dropJobs(
		run.store,
		removed.map(({ task }) => task),
	);
	await waitForEnds(run, running, isRung);
	return requests.map((request) =>
		request.state === "removed" && problem
			? { ...toResult(request), note: problem }
			: toResult(request),
	);
}

/** Ends the job of a task that has ended, if it runs; returns whether it did. @throws BgError (refused). */
export function endJob(task: Task): boolean {
	const engine = loadedEngine();
	if (!engine || !task.process || (task.exit_code ?? task.signal) !== undefined)
		return false;
	if (jobStateOf(task).phase !== "running") return false;
	engine.cancel([task]);
	return true;
}

/**
 * Takes the jobs of tasks that ended before they started out of the engine's queue, in one call, and does what their
 * supervisors would do after the ends.
 * @returns why the engine did not remove the jobs.
 */
export async function dropJobs(
	store: Store,
	tasks: readonly Task[],
): Promise<string | undefined> {
	const problem = removeJobs(tasks);
	let isAnyReleased = false;
	for (const task of tasks) {
		if (!task.engine) dismissTask(store, task);
		removeRunFiles(store, task);
		if (task.on_end) runOnEnd(store, task.id);
		isAnyReleased = (await releaseDependents(store, task.id)) || isAnyReleased;
	}
	if (isAnyReleased) handOver(store);
	return problem;
}

// --- internal ---

/** How many records are made durable at the same time. */
const maxWritten = 64;

/** The 5 s after SIGTERM, the 5 s after SIGKILL, and time to write the end, in ms. */
const supervisorTimeoutMs = 13_000;

/** The same, for a supervisor that was not told, in ms: it looks at its record every 10 s. */
const unrungTimeoutMs = 23_000;

/** How often to ask the engine meanwhile, in ms. */
const fullPollMs = 3000;

/** What became of the request to stop a task. */
type Request = {
	task: Task;
	state: "removed" | "stopping" | "ended" | "refused";
	/** Why nothing was done, or why the record does not have the request. */
	problem?: string;
};

/** Records requests, many at the same time: that takes a part of the time. */
async function recordRequests(
	run: CancelRun,
	ids: readonly string[],
): Promise<Request[]> {
	const requests: Request[] = [];
	const removeClaims = keepClaims();
	const notifyRest = notifyTogether();
	try {
		for (let start = 0; start < ids.length; start += maxWritten) {
			const part = ids.slice(start, start + maxWritten);
			requests.push(
				...(await Promise.all(part.map((id) => recordRequest(run, id)))),
			);
		}
		return requests;
	} finally {
		removeClaims();
		notifyRest();
	}
}

/** Records the request to stop a task: of one that has not started, its end. */
async function recordRequest(run: CancelRun, id: string): Promise<Request> {
	const { store, requested } = run;
	const stop = toStop(run);
	let before: Task | undefined;
	try {
		const last = readTask(store, id);
		before = last;
		before = reconcileTask(store, last);
		if (isFinal(before)) return { task: before, state: "ended" };
		const isPutBack =
			before.engine !== undefined && jobStateOf(before).phase === "pending";
		let state = "stopping" as Request["state"];
		const task = await updateTaskAsync(store, id, (now) => {
			if (isFinal(now)) {
				state = "ended";
				return undefined;
			}
			// It ran in a job that was put back, and that one has not started again.
			const isLeft =
				isPutBack && isSameProcess(now.supervisor, last.supervisor);
			const stopping = requestStop(now, stop);
			if (now.status !== "queued" && !isLeft) return stopping;
			state = "removed";
			return finishTask(stopping, { reason: "cancel", at: stop.at });
		});
		if (state !== "ended") requested.add(id);
		return { task, state };
	} catch (error) {
		if (!(error instanceof BgError)) throw error;
		const problem = errorMessage(error);
		const task = before;
		if (!task) return { task: { id } as Task, state: "refused", problem };
		if (hasNewerSchema(task) || !isRefused(error))
			return { task, state: "refused", problem };
		try {
			postStop(store, id, stop);
		} catch {
			return { task, state: "refused", problem };
		}
		requested.add(id);
		return { task, state: "stopping", problem };
	}
}

/** Tells supervisors to look at their records: those on this machine by a signal, the others by one call. */
async function ring(requests: readonly Request[]): Promise<boolean> {
	const others: Task[] = [];
	for (const { task } of requests) {
		const { supervisor, engine } = task;
		if (supervisor && isAliveHere(supervisor))
			sendSignal(supervisor, wakeSignal);
		else if (engine) others.push(task);
	}
	const engine = loadedEngine();
	return others.length === 0 || (engine ? engine.ring(others) : false);
}

/** Takes jobs out of the engine's queue, in one call. Returns why that failed. */
function removeJobs(tasks: readonly Task[]): string | undefined {
	const jobs = tasks.filter(({ engine }) => engine);
	if (jobs.length === 0) return undefined;
	try {
		loadedEngine()?.cancel(jobs);
		return undefined;
	} catch (error) {
		if (!isRefused(error)) throw error;
		return `${error.message}: its job will start and do nothing`;
	}
}

/**
 * Waits until the tasks have ended. One whose supervisor does not stop it in time is left to the engine, which ends
 * its job.
 */
async function waitForEnds(
	{ store }: CancelRun,
	requests: readonly Request[],
	isRung: Promise<boolean>,
): Promise<void> {
	let timeoutMs = supervisorTimeoutMs;
	void isRung.then((isTold) => {
		if (!isTold) timeoutMs = unrungTimeoutMs;
	});
	const start = performance.now();
	let lastFullPoll = start;
	let left = [...requests];
	for (let pause = 10; ; pause = Math.min(pause * 2, 100)) {
		const isFullPoll = performance.now() - lastFullPoll > fullPollMs;
		if (isFullPoll) lastFullPoll = performance.now();
		left = left.filter((request) => {
			const now = readTask(store, request.task.id);
			request.task = isFullPoll ? reconcileTask(store, now) : now;
			return !isFinal(request.task);
		});
		if (left.length === 0) return;
		if (performance.now() - start > timeoutMs) break;
		await delay(pause);
	}
	const problem = removeJobs(left.map(({ task }) => task));
	for (const request of left)
		request.problem =
			problem ??
			`its supervisor did not stop it in time, so its job was cancelled: ${describeNote(request.task) ?? ""}`;
}

function toResult({ task, state, problem }: Request): CancelResult {
	const { id, status } = task;
	if (state === "refused") return toUnchanged(id, problem ?? "", status);
	if (state === "ended") return toUnchanged(id, `already ${status}`, status);
	const isOver = isFinal(task);
	return {
		taskId: id,
		status,
		cancelled: status === "cancelled",
		survivors: task.left_behind ?? [],
		...(!isOver && { note: `its end is not recorded yet (${problem})` }),
	};
}
