/**
 * Withdraws launches that were not submitted to their engine as a whole: their jobs are cancelled and their records
 * removed. A job that starts all the same finds no record, and ends.
 */
import { loadEngineOf } from "../engine/engine.ts";
import {
	endPendingLaunch,
	listAbandoned,
	type PendingLaunch,
	readJobNumber,
	readSubmission,
	removeSubmission,
	takeAbandoned,
} from "../engine/submissions.ts";
import type { Engine } from "../engine/types.ts";
import { BgError } from "../error.ts";
import { notifyWaiters } from "../store/ends.ts";
import type { Store } from "../store/paths.ts";
import { findTask } from "../store/records.ts";
import { removeUnlaunchedTasks } from "./garbage.ts";

/**
 * Loads the engine if the store had launches with one, and settles what other processes left. A verb does so before
 * it reads tasks.
 */
export async function openEngine(store: Store): Promise<Engine | undefined> {
	const engine = await loadEngineOf(store);
	if (engine && !store.isForeign) settleAbandoned(store, engine);
	return engine;
}

/** Settles the launches of processes that died while they submitted: all of their jobs are there, or none stays. */
export function settleAbandoned(store: Store, engine: Engine): void {
	for (const found of listAbandoned(store))
		try {
			const submitted = new Set(
				found.launches.filter(
					(launch) => readJobNumber(store, launch) || engine.hasJob(launch),
				),
			);
			// Taken over only now: while the engine does not say, any process may ask.
			const pending = takeAbandoned(store, found);
			if (!pending) continue;
			if (submitted.size === pending.launches.length) endPendingLaunch(pending);
			else withdrawLaunch(store, engine, pending, submitted);
		} catch (error) {
			// The engine does not say: the next verb asks again.
			if (!(error instanceof BgError)) throw error;
			return;
		}
}

/**
 * Removes a pending launch with all of its tasks.
 * @param submitted the parts that have jobs; without it, those whose numbers are noted.
 */
export function withdrawLaunch(
	store: Store,
	engine: Engine,
	pending: PendingLaunch,
	submitted?: ReadonlySet<string>,
): void {
	for (const launch of pending.launches) {
		const ids = readSubmission(store, launch);
		const tasks = ids.flatMap((id) => findTask(store, id) ?? []);
		try {
			const hasJob = submitted?.has(launch) ?? readJobNumber(store, launch);
			if (hasJob) engine.cancel(tasks);
		} catch {
			// Its jobs find no record.
		}
		removeUnlaunchedTasks(store, ids);
		removeSubmission(store, launch);
	}
	endPendingLaunch(pending);
	// One may wait for these tasks already.
	notifyWaiters(store);
}
