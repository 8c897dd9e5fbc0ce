/**
 * Waits for the ends of tasks by events, not by polling. The watch starts before the records are read,
 * so no end is missed. Once a second a full poll reconciles the tasks whose supervisor is gone.
 *
 * Of jobs of an engine there may be 10,000, and the system reports no events of other machines. Their records are
 * looked at if the folder of ends has changed, and reconciled after each answer of the engine.
 */
import { followEngine, jobStateOf } from "../engine/engine.ts";
import { sleep } from "../process/runtime.ts";
import { type ReconciledTask, reconcileTasks } from "../prune/reconcile.ts";
import { watchEnds } from "../store/ends.ts";
import { FolderChanges } from "../store/folder-changes.ts";
import { folderPath, type Store } from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

export type WaitOptions = {
	/** Without ids: all that `includes` accepts and that are unfinished now or are launched meanwhile. */
	ids?: readonly string[] | undefined;
	includes?: (task: Task) => boolean;
	/** Without ids: finished tasks that are returned as well. */
	past?: Pick<ReadonlySet<string>, "has">;
	/** Whether the first end is enough. */
	any?: boolean | undefined;
	/** In ms; without it, there is no limit. */
	timeout?: number | undefined;
	/** Called at each end. */
	onEnd?: (task: ReconciledTask) => void;
	/**
	 * Called at each poll, at least once a second, with the ids of the unfinished tasks, and those among them that
	 * are jobs of an engine.
	 */
	onPoll?: (
		pending: ReadonlySet<string>,
		jobs: Pick<ReadonlySet<string>, "has">,
	) => void;
};

export type WaitResult = {
	ended: ReconciledTask[];
	running: string[];
	/** Ids whose record is gone or broken: how they ended is unknown. */
	missing: string[];
	timedOut: boolean;
};

/** How often a record may be unreadable: it is for a moment if too many files are open. */
const maxReadFaults = 3;

/** How often to poll without an event, in ms. */
const fullPollIntervalMs = 1000;

/** How long to pause after a poll, compared to what it took, and at most in ms. */
const idleFactor = 10;
const maxPauseMs = 500;

/** How long after an answer of an engine the next one is looked at, compared to what that took. */
const answerFactor = 100;

/** Waits until the tasks have ended or their records are gone. */
export async function waitForTasks(
	store: Store,
	options: WaitOptions,
): Promise<WaitResult> {
	const { ids, includes = () => true, past, any, timeout } = options;
	const { onEnd, onPoll } = options;
	const deadline = performance.now() + (timeout ?? Number.POSITIVE_INFINITY);
	const wakeup = new Wakeup();
	let hasEvent = false;
	let hasAnswer = false;
	const disarm = watchEnds(store, () => {
		hasEvent = true;
		wakeup.wake();
	});
	const unfollow = followEngine(store, () => {
		hasAnswer = true;
		wakeup.wake();
	});
	const endFolder = new FolderChanges(folderPath(store, "ends"));
	const recordFolder = new FolderChanges(store.dir);
	const ended = new Map<string, ReconciledTask>();
	const pending = new Set(ids);
	const known = new Set<string>();
	const missing: string[] = [];
	const versions = new Map<string, string | undefined>();
	/** The tasks that are jobs, as they were read last. */
	const jobs = new Map<string, Task>();
	let nextAnswerAt = 0;
	const faults = new Map<string, number>();
	let lastFullPoll = Number.NEGATIVE_INFINITY;
	try {
		for (let isFirst = true; ; isFirst = false) {
			const startedAt = performance.now();
			const isFullPoll = startedAt - lastFullPoll >= fullPollIntervalMs;
			if (isFullPoll) lastFullPoll = startedAt;
			// The others are launched meanwhile: those are listed once a second, and before the wait is over.
			const hasRecords = isFullPoll && recordFolder.mayHaveChanged();
			const isListed = !ids && (hasRecords || pending.size === 0);
			if (isListed)
				for (const id of listTaskIds(store))
					if (!known.has(id)) {
						known.add(id);
						const task = findTask(store, id);
						const isPast = isFirst && task && isFinal(task) && !past?.has(id);
						if (task && includes(task) && !isPast) pending.add(id);
					}
			const hasEnds = (isFullPoll && endFolder.mayHaveChanged()) || hasEvent;
			const isAnswered = hasAnswer && startedAt >= nextAnswerAt;
			hasEvent = false;
			if (isAnswered) hasAnswer = false;
			const changed: Task[] = [];
			for (const id of pending) {
				const job = jobs.get(id);
				const isOver = isAnswered && job !== undefined && isJobOver(job);
				if (job && !hasEnds && !isOver) continue;
				// After an event only changed records are read; a full poll reads all.
				const version = readRecordVersion(store, id);
				const isSame = version === versions.get(id);
				if (isSame && (job ? !isOver : !isFullPoll)) continue;
				versions.set(id, version);
				const task = findTask(store, id);
				if (!task) {
					const count = (faults.get(id) ?? 0) + 1;
					faults.set(id, count);
					if (version !== undefined && count < maxReadFaults) continue;
					pending.delete(id);
					missing.push(id);
					continue;
				}
				faults.delete(id);
				if (task.engine) {
					// The last answer may be about it.
					if (!job) hasAnswer = true;
					jobs.set(id, task);
				}
				changed.push(task);
			}
			const mustReconcile = isFullPoll || isAnswered;
			const current = mustReconcile ? reconcileTasks(store, changed) : changed;
			for (const task of current) {
				if (!isFinal(task) || !pending.delete(task.id)) continue;
				jobs.delete(task.id);
				ended.set(task.id, task);
				onEnd?.(task);
			}
			const tookMs = performance.now() - startedAt;
			if (isAnswered) nextAnswerAt = startedAt + tookMs * answerFactor;
			const remainingMs = deadline - performance.now();
			const isAll = pending.size === 0 && (isListed || ids !== undefined);
			const isEnough = isAll || (any && ended.size > 0);
			if (isEnough || remainingMs <= 0)
				return {
					ended: [...ended.values()],
					running: [...pending],
					missing,
					timedOut: !isEnough,
				};
			if (pending.size === 0) continue;
			onPoll?.(pending, jobs);
			// Ends that follow each other closely are polled together: of many tasks each poll reads all states.
			const pauseMs = (performance.now() - startedAt) * idleFactor;
			await sleep(Math.min(pauseMs, remainingMs, maxPauseMs));
			await wakeup.wait(Math.min(remainingMs, fullPollIntervalMs));
		}
	} finally {
		unfollow();
		disarm();
	}
}

// --- internal ---

/** Whether the engine says that the job of a task is over, or knows none. */
function isJobOver(task: Task): boolean {
	const { phase } = jobStateOf(task);
	return phase === "over" || phase === "none";
}

/** Remembers events: one between two waits ends the next wait at once. */
class Wakeup {
	#isPending = false;
	#resolve: (() => void) | undefined;

	wake(): void {
		this.#isPending = true;
		this.#resolve?.();
	}

	async wait(ms: number): Promise<void> {
		if (!this.#isPending)
			await new Promise<void>((resolve) => {
				const timer = setTimeout(resolve, ms);
				this.#resolve = () => {
					clearTimeout(timer);
					resolve();
				};
			});
		this.#isPending = false;
		this.#resolve = undefined;
	}
}
