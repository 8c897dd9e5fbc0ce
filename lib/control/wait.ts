/**
 * Waits for the ends of tasks by events, not by polling. The watch starts before the records are read,
 * so no end is missed. Once a second a full poll reconciles the tasks whose supervisor is gone.
 */
import { sleep } from "../process/runtime.ts";
import { type ReconciledTask, reconcileTasks } from "../prune/reconcile.ts";
import { watchEnds } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
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
	/** Called at each poll, at least once a second, with the ids of the unfinished tasks. */
	onPoll?: (pending: ReadonlySet<string>) => void;
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

/** Waits until the tasks have ended or their records are gone. */
export async function waitForTasks(
	store: Store,
	options: WaitOptions,
): Promise<WaitResult> {
	const { ids, includes = () => true, past, any, timeout } = options;
	const { onEnd, onPoll } = options;
	const deadline = performance.now() + (timeout ?? Number.POSITIVE_INFINITY);
	const wakeup = new Wakeup();
	const disarm = watchEnds(store, () => wakeup.wake());
	const ended = new Map<string, ReconciledTask>();
	const pending = new Set(ids);
	const known = new Set<string>();
	const missing: string[] = [];
	const versions = new Map<string, string | undefined>();
	const faults = new Map<string, number>();
	let lastFullPoll = Number.NEGATIVE_INFINITY;
	try {
		for (let isFirst = true; ; isFirst = false) {
			const startedAt = performance.now();
			const isFullPoll = startedAt - lastFullPoll >= fullPollIntervalMs;
			if (isFullPoll) lastFullPoll = startedAt;
			// The others are launched meanwhile: those are listed once a second, and before the wait is over.
			const isListed = !ids && (isFullPoll || pending.size === 0);
			if (isListed)
				for (const id of listTaskIds(store))
					if (!known.has(id)) {
						known.add(id);
						const task = findTask(store, id);
						const isPast = isFirst && task && isFinal(task) && !past?.has(id);
						if (task && includes(task) && !isPast) pending.add(id);
					}
			const changed: Task[] = [];
			for (const id of pending) {
				// After an event only changed records are read; a full poll reads all.
				const version = readRecordVersion(store, id);
				if (!isFullPoll && version === versions.get(id)) continue;
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
				changed.push(task);
			}
			const current = isFullPoll ? reconcileTasks(store, changed) : changed;
			for (const task of current)
				if (isFinal(task)) {
					pending.delete(task.id);
					ended.set(task.id, task);
					onEnd?.(task);
				}
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
			onPoll?.(pending);
			// Ends that follow each other closely are polled together: of many tasks each poll reads all states.
			const pauseMs = (performance.now() - startedAt) * idleFactor;
			await sleep(Math.min(pauseMs, remainingMs, maxPauseMs));
			await wakeup.wait(Math.min(remainingMs, fullPollIntervalMs));
		}
	} finally {
		disarm();
	}
}

// --- internal ---

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
