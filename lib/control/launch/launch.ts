/**
 * Launches planned tasks: queue entries first, then the supervisor, then the records. A launch succeeds
 * as a whole or not at all: a supervisor that does not get all its records removes those that were
 * written, and exits.
 */
import { errorMessage, refused, usage } from "../../error.ts";
import { sendSignal, wakeSignal } from "../../process/signals.ts";
import { buildIndexSlice } from "../../prune/index-build.ts";
import { pausedReason } from "../../prune/queue-state.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { createOnEndMark } from "../../spawn/command.ts";
import {
	checkReadiness,
	findEnd,
	registerDependents,
} from "../../spawn/dependencies.ts";
import { handOver, sweepQueue } from "../../spawn/hand-over.ts";
import { type Limits, readLimits } from "../../spawn/limits.ts";
import { removeParkedMarks, wakeTask } from "../../spawn/parked.ts";
import { isPlaceFree } from "../../spawn/places.ts";
import {
	enqueue,
	isHeldAtFirst,
	isQueuePaused,
	listLocalEntries,
	setRunnable,
	withdrawEntry,
} from "../../spawn/queue.ts";
import { startSupervisor } from "../../spawn/supervisor.ts";
import {
	claimUniqueKeys,
	narrowPendingLaunch,
	withPendingLaunch,
} from "../../store/claims.ts";
import { logFault, openStore } from "../../store/directory.ts";
import { discard } from "../../store/files.ts";
import {
	promptFile,
	type Store,
	stdinFile,
	systemPromptFile,
} from "../../store/paths.ts";
import { createTasks } from "../../store/records.ts";
import { checkLaunchSize } from "../../task/record-size.ts";
import type { Identity, Task } from "../../task/schema.ts";
import { assertNotAncestor } from "../schedule.ts";
import type { LaunchPlan, LaunchResult } from "./plan.ts";

/** The most that `--env` may hold in one launch, in bytes: all of it is passed in one variable. */
const maxEnvironmentBytes = 120_000;

/**
 * Launches all plans or none. For a plan whose unique key an unfinished task has, the result is that task.
 * @returns one result a plan, in their order.
 * @throws BgError: usage for a plan that cannot be launched, refused if a limit or the system refuses.
 */
export async function launchPlans(
	plans: readonly LaunchPlan[],
): Promise<LaunchResult[]> {
	const tasks = plans.map(({ task }) => task);
	for (const task of tasks) checkLaunchSize(task);
	const store = openStore({ write: true });
	buildIndexSlice(store, Number.POSITIVE_INFINITY);
	const ids = tasks.map(({ id }) => id);
	return withPendingLaunch(store, ids, async (launch) => {
		if (!tasks.some(({ unique_key }) => unique_key))
			return startPlans(store, plans, launch);
		const claimed = claimUniqueKeys(store, tasks, reconcileTask);
		const fresh = plans.filter(({ task }, index) => claimed[index] === task);
		const freshIds = fresh.map(({ task }) => task.id);
		if (fresh.length < plans.length)
			narrowPendingLaunch(store, launch, freshIds);
		const claimedIds = new Map(
			ids.map((id, index) => [id, claimed[index]?.id ?? id]),
		);
		for (const { task } of fresh)
			if (task.after) {
				task.after = task.after.map((id) => claimedIds.get(id) ?? id);
				assertNotAncestor(store, "after", task.after);
			}
		const started = await startPlans(store, fresh, launch);
		const launched = new Map(started.map((each) => [each.task.id, each]));
		return claimed.map((holder, index) => {
			const { task } = launched.get(holder.id) ?? { task: holder };
			const existing = { task, warnings: [], existing: true };
			return launched.get(ids[index] ?? "") ?? existing;
		});
	});
}

// --- internal ---

/**
 * Adds queue entries, starts the supervisor, writes files and records.
 * @param launch the name of the launch's claim.
 */
async function startPlans(
	store: Store,
	plans: readonly LaunchPlan[],
	launch: string,
): Promise<LaunchResult[]> {
	if (plans.length === 0) return [];
	const tasks = plans.map(({ task }) => task);
	const ids = tasks.map(({ id }) => id);
	if (tasks.some(({ engine }) => engine)) {
		const { submitPlans } = await import("./submit.ts");
		return submitPlans(store, plans);
	}
	const env = collectEnvironments(plans);
	const limits = readLimits();
	enqueue(store, tasks, limits);
	let supervisor: Identity | undefined;
	try {
		checkQueueLength(store, tasks.length, limits);
		registerDependents(store, tasks);
		const mustPark =
			tasks.length === 1 && tasks.some((task) => mustWait(store, task));
		const park = mustPark ? launch : undefined;
		// The supervisor comes first: if the launcher dies halfway, it removes what was written.
		const identity = startSupervisor({ store, ids, env, park });
		supervisor = identity;
		const results = plans.map(({ task, warnings, writeFiles }) => {
			writeFiles(store);
			const launched = { ...task, supervisor: identity };
			if (task.on_end) createOnEndMark(store, task.id);
			return { task: launched, warnings };
		});
		const launched = results.map(({ task }) => task);
		await createTasks(store, launched);
		if (park) for (const { task } of results) settleLaunch(store, task);
		if (!isQueuePaused(store)) return results;
		return results.map((each) => ({ ...each, waitsFor: pausedReason }));
	} catch (error) {
		for (const task of tasks) {
			withdrawEntry(store, task, limits);
			removeParkedMarks(store, task.id);
			discard(promptFile(store, task.id));
			discard(systemPromptFile(store, task.id));
			discard(stdinFile(store, task.id));
		}
		// A parked shell leaves; a supervisor leaves once this process has ended.
		if (supervisor) sendSignal(supervisor, wakeSignal);
		throw error;
	}
}

/** Whether a task will not start at once. May be wrong a moment later: then it is woken. */
const mustWait = (store: Store, task: Task) =>
	isHeldAtFirst(task) || !isPlaceFree(store, task);

/**
 * Does what a parked task cannot do itself: checks whether it may start by now, and ensures that the first
 * task in line is awake. It is launched already: if this fails, it is woken to do the same.
 */
function settleLaunch(store: Store, task: Task): void {
	try {
		const readiness = checkReadiness(task, (id) => findEnd(store, id));
		if (readiness === "free") setRunnable(store, task, true);
		if (typeof readiness === "string" && handOver(store)) return;
	} catch (error) {
		logFault(store, "supervisor", `${task.id} ${errorMessage(error)}`);
	}
	wakeTask(store, task);
}

/** Checks the length of the queue, which has the `added` tasks already. @throws BgError (refused). */
function checkQueueLength(
	store: Store,
	added: number,
	{ BG_MAX_QUEUED }: Limits,
): void {
	const count = () => listLocalEntries(store, "queue").length;
	if (count() <= BG_MAX_QUEUED) return;
	sweepQueue(store);
	const waiting = count();
	if (waiting <= BG_MAX_QUEUED) return;
	const before = waiting - added;
	const hint = before
		? "wait for some (bg wait --any), or raise it"
		: "raise it";
	throw refused(
		`${before} tasks are queued, this would add ${added}, and BG_MAX_QUEUED is ${BG_MAX_QUEUED}: ${hint}`,
	);
}

function collectEnvironments(
	plans: readonly LaunchPlan[],
): Record<string, Record<string, string>> {
	const given = plans.filter(({ env }) => Object.keys(env).length > 0);
	const all = Object.fromEntries(given.map(({ task, env }) => [task.id, env]));
	if (Buffer.byteLength(JSON.stringify(all)) > maxEnvironmentBytes)
		throw usage(
			`--env holds more than ${maxEnvironmentBytes} bytes: use a file`,
		);
	return all;
}
