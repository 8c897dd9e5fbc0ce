/**
 * What prune makes of the tasks that are not over: a pure choice, then the act. Nobody is stopped
 * for being slow: only who is older than the TTL and has neither written nor computed for long.
 */
import { lstatSync } from "node:fs";
import { BgError } from "../error.ts";
import { formatDuration } from "../print/units.ts";
import { type Snapshot, takeSnapshot } from "../process/process-tree.ts";
import { outputFile, type Store } from "../store/paths.ts";
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
	/** Whether that was typed: then age alone decides. */
	ageAlone: boolean;
	/** How long it may be quiet, in ms. */
	stale: number;
	/** Say what would happen, and do none of it. */
	dryRun: boolean;
	/** Stops one task; `cause` is what its end will be. */
	cancel: (
		id: string,
		cause: { reason: Reason; by: string },
	) => Promise<unknown>;
	/** Told before each task that is not over. */
	onTask?: (task: Task) => void;
};

export type PruneResult = {
	removed: string[];
	tasks: { taskId: string; reason: Reason }[];
	/** Older than the TTL, but active, or nobody knows whether they are. */
	overdue: { taskId: string; age: string; note?: string }[];
	/** Of these nobody here can say anything. */
	unknown: { taskId: string; note: string }[];
	unreadable: UnreadableRecord[];
};

/** Looks at every task that is not over, and sets right what is to be. */
export async function pruneTasks(
	store: Store,
	options: PruneOptions,
	takeSnapshotOnce: () => Snapshot = takeSnapshot,
): Promise<PruneResult> {
	const unreadable: UnreadableRecord[] = [];
	const candidates: Candidate[] = [];
	for (const task of iterateTasks(store, unreadable))
		if (!isFinal(task))
			candidates.push({ task, supervision: checkSupervision(task) });
	// One look over the processes serves all, for it comes after all standings were seen.
	let snapshot: Snapshot | undefined;
	const getSnapshot = () => {
		snapshot ??= takeSnapshotOnce();
		return snapshot;
	};
	// What is to be stopped is stopped together: each may take its 5 s and more.
	const findings = await Promise.all(
		candidates.map(async (each) => {
			options.onTask?.(each.task);
			try {
				return await pruneTask(store, each, options, getSnapshot);
			} catch (error) {
				if (!(error instanceof BgError)) throw error;
				return { unknown: { taskId: each.task.id, note: error.message } };
			}
		}),
	);
	const gather = <K extends keyof PruneFinding>(kind: K) =>
		findings.flatMap((each) => each?.[kind] ?? []);
	const tasks = gather("ended");
	return {
		removed: tasks.map(({ taskId }) => taskId),
		tasks,
		overdue: gather("overdue"),
		unknown: gather("unknown"),
		unreadable,
	};
}

/** What prune has to say of a task: one of these. */
type PruneFinding = {
	ended?: PruneResult["tasks"][number];
	overdue?: PruneResult["overdue"][number];
	unknown?: PruneResult["unknown"][number];
};

type Candidate = { task: Task; supervision: Supervision };

/** Looks at one task. Who lost its supervisor gets a new one, and is judged by a later prune. */
async function pruneTask(
	store: Store,
	{ task: foundTask, supervision }: Candidate,
	options: PruneOptions,
	getSnapshot: () => Snapshot,
): Promise<PruneFinding | undefined> {
	const mustAdopt = supervision === "orphaned" && !options.dryRun;
	const task = mustAdopt ? reconcileTask(store, foundTask) : foundTask;
	const { id: taskId } = task;
	const wrote = readLastWrite(store, taskId);
	const decision = decidePrune(task, supervision, {
		...options,
		now: Date.now(),
		wrote,
	});
	if (decision === "leave") return undefined;
	if (decision === "unknown")
		return {
			unknown: {
				taskId,
				note: describeSupervision(task, supervision) ?? supervision,
			},
		};
	if ("age" in decision) return { overdue: { taskId, ...decision } };
	const now = options.dryRun
		? previewEnd(store, task, decision, getSnapshot)
		: await applyDecision(store, task, decision, { ...options, getSnapshot });
	if (!isFinal(now)) return undefined;
	return { ended: { taskId, reason: now.reason ?? decision.reason } };
}

/** An end that prune gives; `by` says why in the words of the error. */
type PruneDecision = { reason: "lost" | "stale" | "timeout"; by: string };
type Overdue = { age: string; note?: string };

/** What is to become of a task that is not over. `now` and `wrote` are times in ms. */
export function decidePrune(
	task: Task,
	supervision: Supervision,
	{
		ttl,
		ageAlone,
		stale,
		now,
		wrote,
	}: Omit<PruneOptions, "dryRun" | "cancel"> & { now: number; wrote: number },
): "leave" | "unknown" | Overdue | PruneDecision {
	if (supervision === "lost") return { reason: "lost", by: "" };
	if (supervision === "elsewhere" || supervision === "unclear")
		return "unknown";
	const since = Date.parse(task.started_at ?? task.queued_at ?? "");
	if (Number.isNaN(since)) return "unknown";
	const ran = task.elapsed_ms ?? now - since - (task.paused_ms ?? 0);
	const isOld = ran > ttl;
	if (supervision === "native" || supervision === "unknown") {
		if (!isOld) return supervision === "unknown" ? "unknown" : "leave";
		return supervision === "native"
			? { reason: "lost", by: "its end was not reported" }
			: { reason: "timeout", by: formatDuration(ttl) };
	}
	if (task.status !== "running" || task.paused_at || !isOld) return "leave";
	if (ageAlone) return { reason: "timeout", by: formatDuration(ttl) };
	const age = formatDuration(ran);
	// A supervisor adds it up once a minute; who was never looked at may well compute.
	if (task.quiet_ms === undefined || supervision === "orphaned")
		return { age, note: "nobody measured what it does" };
	if (task.quiet_ms <= stale || now - wrote <= stale) return { age };
	return { reason: "stale", by: formatDuration(task.quiet_ms) };
}

// --- internal ---

/** What act would make of a task; nothing is written. */
function previewEnd(
	store: Store,
	task: Task,
	{ reason, by }: PruneDecision,
	getSnapshot: () => Snapshot,
): Task {
	if (reason !== "lost" || !task.supervisor)
		return finishTask(task, { reason, at: timestamp(), error: by });
	return previewRecovery(store, task, getSnapshot);
}

async function applyDecision(
	store: Store,
	task: Task,
	decision: PruneDecision,
	{
		cancel,
		getSnapshot,
	}: Pick<PruneOptions, "cancel"> & { getSnapshot: () => Snapshot },
): Promise<Task> {
	const { reason, by } = decision;
	if (task.supervisor) {
		if (reason === "lost") return reconcileTask(store, task, getSnapshot);
		await cancel(task.id, { reason, by });
		return updateTask(store, task.id, () => undefined);
	}
	// No process of it was ever named: there is nothing to stop.
	const error = reason === "timeout" ? `timed out after ${by}` : by;
	return updateTask(store, task.id, (now) =>
		finishTask(now, { reason, at: timestamp(), error }),
	);
}

/** When a task last wrote anything, in ms; 0 where it never did. */
function readLastWrite(store: Store, id: string): number {
	const status = lstatSync(outputFile(store, id), { throwIfNoEntry: false });
	return status?.size ? status.mtimeMs : 0;
}
