/**
 * Pauses and continues tasks. A running task is stopped (SIGSTOP to its tree), a queued one does not
 * start. The pause is recorded first; a paused task's time does not count.
 */
import { jobStateOf } from "../engine/engine.ts";
import { refused } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { findTree, pauseTree } from "../process/process-tree.ts";
import { sleep } from "../process/runtime.ts";
import { sendSignal, wakeSignal } from "../process/signals.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { checkSupervision, describeSupervision } from "../prune/supervision.ts";
import { releaseTask } from "../spawn/dependencies.ts";
import { handOver } from "../spawn/hand-over.ts";
import { isParked } from "../spawn/parked.ts";
import { setRunnable } from "../spawn/queue.ts";
import { notifyWaiters } from "../store/ends.ts";
import { listLockHolders } from "../store/locks.ts";
import type { Store } from "../store/paths.ts";
import { findTask, readTask, updateTask } from "../store/records.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal, timestamp } from "../task/states.ts";

/**
 * Pauses a task, or continues it.
 * @returns the task as it is now.
 * @throws BgError (refused) if it has ended, or its processes cannot be paused from here.
 */
export async function pauseTask(
	store: Store,
	id: string,
	paused: boolean,
): Promise<Task> {
	const before = reconcileTask(store, readTask(store, id));
	if (isFinal(before))
		throw refused(`${id} is already ${before.status} (bg status ${id})`);
	if (before.engine) throw refusePause(before);
	const supervision = checkSupervision(before);
	if (supervision !== "watched" && supervision !== "orphaned")
		throw refused(
			`${id} cannot be paused here: ${describeSupervision(before, supervision) ?? supervision} (bg status ${id})`,
		);
	// A call of bg in the task may have been paused with a lock that this call needs.
	if (!paused)
		for (const each of listOwnHolders(store, before))
			sendSignal(each, "SIGCONT");
	const task = updateTask(store, id, (now) => applyPause(now, paused));
	if (task.status === "running" && paused) await pauseUnlocked(store, task);
	else if (task.status === "running") await pauseTree(id, task.process, false);
	else if (paused) setRunnable(store, task, false);
	else await releaseTask(store, id);
	if (task.supervisor && !isParked(store, task))
		sendSignal(task.supervisor, wakeSignal);
	handOver(store);
	notifyWaiters(store);
	return task;
}

// --- internal ---

/** How long calls of bg inside of a task may take to release their locks, in ms. */
const unlockTimeoutMs = 5000;

/** Pauses the tree of a task. A call of bg in it first releases its locks, which others would wait for. */
async function pauseUnlocked(store: Store, task: Task): Promise<void> {
	const { id, process, paused_at } = task;
	const deadline = performance.now() + unlockTimeoutMs;
	for (;;) {
		await pauseTree(id, process, true);
		// If the task was continued or ended meanwhile, its processes got that signal before this one.
		const now = findTask(store, id);
		if (!now || isFinal(now) || now.paused_at !== paused_at)
			return pauseTree(id, process, false);
		const holders = listOwnHolders(store, task);
		if (holders.length === 0 || performance.now() > deadline) return;
		for (const each of holders) sendSignal(each, "SIGCONT");
		await sleep(50);
	}
}

/** The calls of bg in a task's tree that hold a lock. */
function listOwnHolders(store: Store, { id, process }: Task): Identity[] {
	const holders = listLockHolders(store).filter(
		(each) => checkLiveness(each) === "alive",
	);
	if (holders.length === 0) return [];
	const tree = new Set(findTree(id, process).map(({ pid }) => pid));
	return holders.filter(({ pid }) => tree.has(pid));
}

/** An engine decides when a job runs, and whether it is suspended. */
function refusePause(task: Task): Error {
	const { id, engine, status } = task;
	const state = jobStateOf(task);
	const job = ("job" in state && state.job) || "JOB";
	const hint =
		status === "queued"
			? `scontrol hold ${job}`
			: `an operator of Slurm can: scontrol suspend ${job}`;
	return refused(
		`${id} is a job of ${engine?.name}, which decides when it runs: bg cannot pause it (${hint})`,
	);
}

function applyPause(task: Task, paused: boolean): Task | undefined {
	const { paused_at, ...rest } = task;
	if (isFinal(task) || paused === (paused_at !== undefined)) return undefined;
	if (paused_at === undefined) return { ...task, paused_at: timestamp() };
	const lasted = Math.max(0, Date.now() - Date.parse(paused_at));
	return { ...rest, paused_ms: (task.paused_ms ?? 0) + lasted };
}
