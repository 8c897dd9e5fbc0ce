/** Finds the processes that a finished task left running, and records them. */
import { setTimeout as delay } from "node:timers/promises";
import { describeProcesses } from "../process/proc.ts";
import { findTree } from "../process/process-tree.ts";
import {
	hasLeftNothing,
	type Snapshot,
	takeSnapshotAsync,
} from "../process/snapshot.ts";
import type { Store } from "../store/paths.ts";
import { updateTaskAsync } from "../store/records.ts";
import { maxLeftBehind } from "../task/schema.ts";
import { retryWrite } from "./retry-write.ts";

/** Takes one snapshot of the processes for all tasks that ended within a second. */
export class LeftoverScanner {
	#next: Promise<Snapshot> | undefined;
	/** Whether other tasks may end soon. */
	readonly isBusy: () => boolean;

	/** @param isBusy whether other tasks may end soon: then a scan waits for them. */
	constructor(isBusy: () => boolean) {
		this.isBusy = isBusy;
	}

	/** The next snapshot, which is taken after this call. */
	scan(): Promise<Snapshot> {
		this.#next ??= this.#scan();
		return this.#next;
	}

	async #scan(): Promise<Snapshot> {
		await delay(this.isBusy() ? 1000 : 0);
		this.#next = undefined;
		return takeSnapshotAsync();
	}
}

/**
 * Records the processes that are alive 3 s after a task's end: a droid's own helpers need up to 2 s to see
 * that it is gone.
 * @param root the task's process, and when it began on the monotonic clock in ms: after a short task only
 * the pids since then have to be looked at.
 */
export async function recordLeftovers(
	store: Store,
	id: string,
	scanner: LeftoverScanner,
	root?: { pid: number; startedAt: number },
): Promise<void> {
	const ageMs = performance.now() - (root?.startedAt ?? 0);
	// One list of all processes costs less than the pids of each of many tasks.
	if (root && !scanner.isBusy() && hasLeftNothing(id, root.pid, ageMs)) return;
	const find = (snapshot: Snapshot) => findTree(id, undefined, { snapshot });
	const scan = () =>
		retryWrite(store, id, async () => find(await scanner.scan()));
	if (!(await scan())?.length) return;
	await delay(3000);
	const living = (await scan()) ?? [];
	const left_behind = describeProcesses(living.slice(0, maxLeftBehind));
	if (left_behind.length)
		await retryWrite(store, id, () =>
			updateTaskAsync(store, id, (now) => ({ ...now, left_behind })),
		);
}
