/**
 * Prunes unfinished tasks: marks dead ones as lost, stops stale ones. `decidePrune` decides, purely. A task
 * is not stopped for being slow: only if it is older than the TTL and has neither written nor computed for
 * some minutes.
 */
import { lstatSync } from "node:fs";
import { BgError } from "../error.ts";
import { formatDuration } from "../print/units.ts";
import { readProcessAge } from "../process/proc.ts";
import { resumeTree } from "../process/process-tree.ts";
import { type Snapshot, takeSnapshot } from "../process/snapshot.ts";
import { unlessUnknown } from "../process/system.ts";
import { outputFile, recordFile, type Store } from "../store/paths.ts";
import {
	iterateTasks,
	type UnreadableRecord,
	updateTask,
} from "../store/records.ts";
import type { Reason, Task } from "../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../task/states.ts";
import { previewRecovery, reconcileTask } from "./reconcile.ts";
import {
	checkSupervision,
	describeSupervision,
	type Supervision,
} from "./supervision.ts";

export type PruneOptions = {
	/** How old a task may be, in ms. */
	ttl: number;
	/** Whether the age alone decides (the TTL was typed). */
	ageAlone: boolean;
	/** How long it may be quiet, in ms. */
	stale: number;
	/** Whether to return what would be done without doing it. */
	dryRun: boolean;
	/** Stops one task; `cause` is the reason that is recorded. */
	cancel: (
		id: string,
		cause: { reason: Reason; by: string },
	) => Promise<unknown>;
	/** Called before each unfinished task. */
	onTask?: (task: Task) => void;
};

export type PruneResult = {
	removed: string[];
	tasks: { taskId: string; reason: Reason }[];
	/** Older than the TTL, but active or of unknown activity. */
	overdue: { taskId: string; age: string; note?: string }[];
	/** Nothing can be said of these tasks here. */
	unknown: { taskId: string; note: string }[];
	unreadable: UnreadableRecord[];
};

/**
 * Prunes all unfinished tasks.
 * @param takeSnapshotOnce called at most once, if a task may be lost.
 */
export async function pruneTasks(
	store: Store,
	options: PruneOptions,
	takeSnapshotOnce: () => Snapshot = takeSnapshot,
): Promise<PruneResult> {
	const unreadable: UnreadableRecord[] = [];
	const candidates: Candidate[] = [];
	const pausedEnds: Task[] = [];
	for (const task of iterateTasks(store, unreadable))
		if (!isFinal(task))
			candidates.push({ task, supervision: checkSupervision(task) });
		else if (task.paused_at) pausedEnds.push(task);
	// One snapshot serves all tasks: it is taken after the supervision of all was checked.
	let snapshot: Snapshot | undefined;
	const getSnapshot = () => {
		snapshot ??= takeSnapshotOnce();
		return snapshot;
	};
	const run: PruneRun = { ...options, store, getSnapshot };
	// A call that ended a paused task may have died before it continued the processes.
	if (!options.dryRun)
		unlessUnknown(() => {
			for (const task of pausedEnds) resumeTree(task, getSnapshot());
		});
	// Tasks are stopped at the same time: each may take more than 5 s.
	const findings = await Promise.all(
		candidates.map(async (each): Promise<PruneFinding> => {
			options.onTask?.(each.task);
			try {
				return await pruneTask(run, each);
			} catch (error) {
				if (!(error instanceof BgError)) throw error;
				return { unknown: [{ taskId: each.task.id, note: error.message }] };
			}
		}),
	);
	const tasks = findings.flatMap((each) => each.tasks ?? []);
	return {
		removed: tasks.map(({ taskId }) => taskId),
		tasks,
		overdue: findings.flatMap((each) => each.overdue ?? []),
		unknown: findings.flatMap((each) => each.unknown ?? []),
		unreadable,
	};
}

/** The result for one task: an entry in one of these lists, or none. */
type PruneFinding = Partial<Pick<PruneResult, "tasks" | "overdue" | "unknown">>;

/** The options of one prune, and what all its steps share. */
type PruneRun = PruneOptions & { store: Store; getSnapshot: () => Snapshot };

type Candidate = { task: Task; supervision: Supervision };

/** Prunes one task. An orphaned one gets a new supervisor, and a later prune decides about it. */
async function pruneTask(
	run: PruneRun,
	{ task: foundTask, supervision }: Candidate,
): Promise<PruneFinding> {
	const { store, dryRun } = run;
	const mustAdopt = supervision === "orphaned" && !dryRun;
	const task = mustAdopt ? reconcileTask(store, foundTask) : foundTask;
	const { id: taskId } = task;
	const decision = decidePrune(task, supervision, {
		...run,
		...readTimes(store, task),
	});
	if (decision === "leave") return {};
	if (decision === "unknown") {
		const note = describeSupervision(task, supervision) ?? supervision;
		return { unknown: [{ taskId, note }] };
	}
	if ("age" in decision) return { overdue: [{ taskId, ...decision }] };
	const ended = await endTask(run, task, decision);
	if (!isFinal(ended)) return {};
	return { tasks: [{ taskId, reason: ended.reason ?? decision.reason }] };
}

/** An end that prune gives; `by` is the cause, as the recorded error names it. */
type PruneDecision = { reason: "lost" | "stale" | "timeout"; by: string };
type Overdue = { age: string; note?: string };

/**
 * Decides what to do with an unfinished task. Pure.
 * @param options `now`, `wrote` (the last output) and `recorded` (the last change of the record) are in ms since
 * the epoch; `processAge` in ms, if it is known.
 */
export function decidePrune(
	task: Task,
	supervision: Supervision,
	options: Pick<PruneOptions, "ttl" | "ageAlone" | "stale"> & {
		now: number;
		wrote: number;
		recorded: number;
		processAge?: number | undefined;
	},
): "leave" | "unknown" | Overdue | PruneDecision {
	const { ttl, ageAlone, stale, now, wrote, recorded, processAge } = options;
	if (supervision === "lost") return { reason: "lost", by: "" };
	if (supervision === "elsewhere" || supervision === "unclear")
		return "unknown";
	const since = Date.parse(task.started_at ?? task.queued_at ?? "");
	if (Number.isNaN(since)) return "unknown";
	// The clock may have been set since the start: it counts only if nothing else says the age.
	const ran =
		task.elapsed_ms ?? (processAge ?? now - since) - (task.paused_ms ?? 0);
	const isOld = ran > ttl;
	if (supervision === "native" || supervision === "unknown") {
		if (!isOld) return supervision === "unknown" ? "unknown" : "leave";
		return supervision === "native"
			? { reason: "lost", by: "its end was not reported" }
			: { reason: "timeout", by: formatDuration(ttl) };
	}
	if (task.status !== "running" || task.paused_at || !isOld) return "leave";
	if (task.engine)
		return {
			age: formatDuration(ran),
			note: `a job of ${task.engine.name}, which prune does not stop`,
		};
	if (ageAlone) return { reason: "timeout", by: formatDuration(ttl) };
	const age = formatDuration(ran);
	// A supervisor records quiet time once a minute. Without it the task may well be active.
	if (task.quiet_ms === undefined || supervision === "orphaned")
		return { age, note: "its activity was not measured" };
	// File times follow the clock. What was written after the last record is recent, whatever the clock says since.
	const hasWritten =
		Math.abs(now - wrote) <= stale || (wrote > recorded && wrote <= now);
	if (task.quiet_ms <= stale || hasWritten) return { age };
	return { reason: "stale", by: formatDuration(task.quiet_ms) };
}

// --- internal ---

/** Ends a task as decided. A dry run returns what the task would become. */
async function endTask(
	{ store, dryRun, cancel, getSnapshot }: PruneRun,
	task: Task,
	{ reason, by }: PruneDecision,
): Promise<Task> {
	if ((task.supervisor || task.engine) && reason === "lost")
		return dryRun
			? previewRecovery(store, task, getSnapshot)
			: reconcileTask(store, task, { getSnapshot });
	const error = reason === "timeout" ? `timed out after ${by}` : by;
	const end = (now: Task) =>
		finishTask(now, { reason, at: timestamp(), error });
	if (dryRun) return end(task);
	// An old record that names no process: there is nothing to stop.
	if (!task.supervisor) return updateTask(store, task.id, end);
	await cancel(task.id, { reason, by });
	return updateTask(store, task.id, () => undefined);
}

/** The times that `decidePrune` compares. `wrote` is 0 if the task never wrote. */
function readTimes(store: Store, { id, process }: Task) {
	const read = (path: string) => lstatSync(path, { throwIfNoEntry: false });
	const output = read(outputFile(store, id));
	return {
		now: Date.now(),
		wrote: output?.size ? output.mtimeMs : 0,
		recorded: read(recordFile(store, id))?.mtimeMs ?? 0,
		processAge: process && unlessUnknown(() => readProcessAge(process.start)),
	};
}
