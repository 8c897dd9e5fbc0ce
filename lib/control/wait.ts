/**
 * Waiting for ends, on the event and not by polling: the watch is armed first, then the records are
 * read, then it waits, so nothing falls between. Once a second it looks as well, and sets right
 * what nobody watches any more.
 */

import { reconcileTask } from "../prune/reconcile.ts";
import { watchEnds } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

export type WaitOptions = {
	/** These; without, all that `includes` and that are not final now or are launched meanwhile. */
	ids?: readonly string[] | undefined;
	includes?: (task: Task) => boolean;
	/** Enough as soon as one is over. */
	any?: boolean | undefined;
	/** In ms; without, as long as it takes. */
	timeout?: number | undefined;
	/** Told of each end as it comes. */
	onEnd?: (task: Task) => void;
	/** Told at each look, once a second at least, which are not over. */
	onPoll?: (pending: ReadonlySet<string>) => void;
};

export type WaitResult = {
	ended: Task[];
	running: string[];
	/** Asked for, and their records gone or broken: nobody can say how they ended. */
	missing: string[];
	timedOut: boolean;
};

/** How often a record may be unreadable: for a moment it is where there are too many open files. */
const maxReadFaults = 3;

/** How often to look without an event, in ms. */
const fullPollIntervalMs = 1000;

/** Waits until the tasks are over, or their records are gone. */
export async function waitForTasks(
	store: Store,
	{ ids, includes = () => true, any, timeout, onEnd, onPoll }: WaitOptions,
): Promise<WaitResult> {
	const deadline = performance.now() + (timeout ?? Number.POSITIVE_INFINITY);
	const wakeup = new Wakeup();
	const disarm = watchEnds(store, () => wakeup.wake());
	const ended = new Map<string, Task>();
	const pending = new Set(ids);
	const known = new Set<string>();
	const missing: string[] = [];
	const versions = new Map<string, string | undefined>();
	const faults = new Map<string, number>();
	let lastFullPoll = Number.NEGATIVE_INFINITY;
	try {
		for (let isFirst = true; ; isFirst = false) {
			const isFullPoll = performance.now() - lastFullPoll >= fullPollIntervalMs;
			if (isFullPoll) lastFullPoll = performance.now();
			if (!ids)
				for (const id of listTaskIds(store))
					if (!known.has(id)) {
						known.add(id);
						const task = findTask(store, id);
						if (task && includes(task) && !(isFirst && isFinal(task)))
							pending.add(id);
					}
			for (const id of pending) {
				// At a ring only what changed is read; what nobody wrote takes a slow look.
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
				const now = isFullPoll ? reconcileTask(store, task) : task;
				if (!isFinal(now)) continue;
				pending.delete(id);
				ended.set(id, now);
				onEnd?.(now);
			}
			const remainingMs = deadline - performance.now();
			const isEnough = pending.size === 0 || (any && ended.size > 0);
			if (isEnough || remainingMs <= 0)
				return {
					ended: [...ended.values()],
					running: [...pending],
					missing,
					timedOut: !isEnough,
				};
			onPoll?.(pending);
			await wakeup.wait(Math.min(remainingMs, fullPollIntervalMs));
		}
	} finally {
		disarm();
	}
}

// --- internal ---

/** Rings are remembered: one that comes between two waits ends the next at once. */
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
