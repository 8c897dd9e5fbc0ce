/**
 * Who answers a launch with keys (`--unique`): its own task, or the one that has its key and is not
 * over. The lock is held for the decision alone. Another launch that has a key and is still under
 * way is waited for outside of it, so a long batch keeps nobody who wants another key.
 */
import { refused } from "./error.ts";
import { sleepSync } from "./files.ts";
import { findPendingLaunch } from "./launching.ts";
import { describeHolders, withLock } from "./lock.ts";
import type { Store } from "./names.ts";
import { findReadableTask } from "./store.ts";
import { isFinal, type Task } from "./task.ts";
import { readKeyHolder, writeKeyHolder } from "./unique.ts";

/**
 * Takes the keys of tasks that are about to be launched, all of them at once.
 * @param reconcile brings a task that holds a key up to date.
 * @returns for each task itself, or the one to answer with.
 * @throws BgError (refused) naming the launcher that a key is not to be had from, or the record that
 * cannot be read: it may be of a task that is not over.
 */
export function claimUniqueKeys(
	store: Store,
	tasks: readonly Task[],
	reconcile: (store: Store, task: Task) => Task,
): Task[] {
	const deadline = performance.now() + keyTimeoutMs;
	for (;;) {
		const claimed = withLock(store, "unique", keyTimeoutMs, () => {
			const holders = tasks.map((task) =>
				findKeyHolder(store, task, tasks, reconcile),
			);
			const launch = holders.find((each) => typeof each === "string");
			if (launch !== undefined) return launch;
			for (const [index, { unique_key, id }] of tasks.entries())
				if (unique_key && !holders[index])
					writeKeyHolder(store, unique_key, id);
			return tasks.map((task, index) => (holders[index] as Task) ?? task);
		});
		if (typeof claimed !== "string") return claimed;
		if (performance.now() > deadline)
			throw refused(
				`a task with the same --unique is being launched by ${describeHolders([claimed])}`,
			);
		sleepSync(10);
	}
}

// --- internal ---

/** How long to wait for who launches with a key as well, in ms. */
const keyTimeoutMs = 5000;

/**
 * The unfinished task that has another one's key: of those before it in the same launch, else of the
 * store. Of one whose record is still to come, the file of its launch.
 */
function findKeyHolder(
	store: Store,
	task: Task,
	launched: readonly Task[],
	reconcile: (store: Store, task: Task) => Task,
): Task | string | undefined {
	const key = task.unique_key;
	if (key === undefined) return undefined;
	const firstWithKey = launched.find(({ unique_key }) => unique_key === key);
	const id = readKeyHolder(store, key);
	// Asked before the record is read: it may come in between.
	const launch = id && findPendingLaunch(store, id);
	const found = id ? findReadableTask(store, id) : undefined;
	const holder = found && reconcile(store, found);
	if (holder && !isFinal(holder)) return holder;
	if (!found && launch) return launch;
	return firstWithKey === task ? undefined : firstWithKey;
}
