/**
 * Waiting for ends, on the event and not by polling: the watch is armed first, then the records are
 * read, then it waits, so nothing falls between. Once a second it looks as well, and sets right
 * what nobody watches any more.
 */
import type { Store } from "./names.ts";
import { settle } from "./prune.ts";
import { findTask, listIds, recordVersion, watchEnds } from "./store.ts";
import { isFinal, type Task } from "./task.ts";

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
	onLook?: (pending: ReadonlySet<string>) => void;
};

export type Waited = {
	ended: Task[];
	running: string[];
	/** Asked for, and their records gone or broken: nobody can say how they ended. */
	missing: string[];
	timedOut: boolean;
};

/** How often a record may be unreadable: for a moment it is where there are too many open files. */
const maxFaults = 3;

/** How often to look without an event, in ms. */
const slowLook = 1000;

/** Waits until the tasks are over, or their records are gone. */
export async function waitForTasks(
	store: Store,
	{ ids, includes = () => true, any, timeout, onEnd, onLook }: WaitOptions,
): Promise<Waited> {
	const deadline = performance.now() + (timeout ?? Number.POSITIVE_INFINITY);
	const bell = new Bell();
	const disarm = watchEnds(store, () => bell.ring());
	const ended = new Map<string, Task>();
	const pending = new Set(ids);
	const known = new Set<string>();
	const missing: string[] = [];
	const versions = new Map<string, string | undefined>();
	const faults = new Map<string, number>();
	let lastSlowLook = Number.NEGATIVE_INFINITY;
	try {
		for (let first = true; ; first = false) {
			const isSlow = performance.now() - lastSlowLook >= slowLook;
			if (isSlow) lastSlowLook = performance.now();
			if (!ids)
				for (const id of listIds(store))
					if (!known.has(id)) {
						known.add(id);
						const task = findTask(store, id);
						if (task && includes(task) && !(first && isFinal(task)))
							pending.add(id);
					}
			for (const id of pending) {
				// At a ring only what changed is read; what nobody wrote takes a slow look.
				const version = recordVersion(store, id);
				if (!isSlow && version === versions.get(id)) continue;
				versions.set(id, version);
				const task = findTask(store, id);
				if (!task) {
					const count = (faults.get(id) ?? 0) + 1;
					faults.set(id, count);
					if (version !== undefined && count < maxFaults) continue;
					pending.delete(id);
					missing.push(id);
					continue;
				}
				faults.delete(id);
				const now = isSlow ? settle(store, task) : task;
				if (!isFinal(now)) continue;
				pending.delete(id);
				ended.set(id, now);
				onEnd?.(now);
			}
			const left = deadline - performance.now();
			const enough = pending.size === 0 || (any && ended.size > 0);
			if (enough || left <= 0)
				return {
					ended: [...ended.values()],
					running: [...pending],
					missing,
					timedOut: !enough,
				};
			onLook?.(pending);
			await bell.wait(Math.min(left, slowLook));
		}
	} finally {
		disarm();
	}
}

// --- internal ---

/** Rings are remembered: one that comes between two waits ends the next at once. */
class Bell {
	#rung = false;
	#wake: (() => void) | undefined;

	ring(): void {
		this.#rung = true;
		this.#wake?.();
	}

	async wait(ms: number): Promise<void> {
		if (!this.#rung)
			await new Promise<void>((resolve) => {
				const timer = setTimeout(resolve, ms);
				this.#wake = () => {
					clearTimeout(timer);
					resolve();
				};
			});
		this.#rung = false;
		this.#wake = undefined;
	}
}
