/**
 * What prune makes of the tasks that are not over: a pure choice, then the act. Nobody is stopped
 * for being slow: only who is older than the TTL and has neither written nor computed for long.
 */
import { lstatSync } from "node:fs";
import { cancelTasks } from "./cancel.ts";
import { BgError } from "./error.ts";
import { outputFile, type Store } from "./names.ts";
import { formatDuration } from "./print.ts";
import {
	describeStanding,
	findStarted,
	lose,
	type Standing,
	settle,
	standingOf,
} from "./prune.ts";
import { eachTask, type Unreadable, updateTask } from "./store.ts";
import { finish, isFinal, type Reason, type Task, timestamp } from "./task.ts";
import { type Snapshot, takeSnapshot } from "./tree.ts";

export type PruneOptions = {
	/** How old a task may be, in ms. */
	ttl: number;
	/** Whether that was typed: then age alone decides. */
	ageAlone: boolean;
	/** How long it may be quiet, in ms. */
	stale: number;
	/** Say what would happen, and do none of it. */
	dryRun: boolean;
	/** Told before each task that is not over. */
	onLook?: (task: Task) => void;
};

export type Pruned = {
	removed: string[];
	tasks: { taskId: string; reason: Reason }[];
	/** Older than the TTL, but active, or nobody knows whether they are. */
	overdue: { taskId: string; age: string; note?: string }[];
	/** Of these nobody here can say anything. */
	unknown: { taskId: string; note: string }[];
	unreadable: Unreadable[];
};

/** Looks at every task that is not over, and sets right what is to be. */
export async function pruneTasks(
	store: Store,
	options: PruneOptions,
	take: () => Snapshot = takeSnapshot,
): Promise<Pruned> {
	const unreadable: Unreadable[] = [];
	const candidates: Candidate[] = [];
	for (const task of eachTask(store, unreadable))
		if (!isFinal(task)) candidates.push({ task, standing: standingOf(task) });
	// One look over the processes serves all, for it comes after all standings were seen.
	let snapshot: Snapshot | undefined;
	const look = () => {
		snapshot ??= take();
		return snapshot;
	};
	// What is to be stopped is stopped together: each may take its 5 s and more.
	const findings = await Promise.all(
		candidates.map(async (each) => {
			options.onLook?.(each.task);
			try {
				return await pruneTask(store, each, options, look);
			} catch (error) {
				if (!(error instanceof BgError)) throw error;
				return { unknown: { taskId: each.task.id, note: error.message } };
			}
		}),
	);
	const gather = <K extends keyof Finding>(kind: K) =>
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
type Finding = {
	ended?: Pruned["tasks"][number];
	overdue?: Pruned["overdue"][number];
	unknown?: Pruned["unknown"][number];
};

type Candidate = { task: Task; standing: Standing };

/** Looks at one task. Who lost its supervisor gets a new one, and is judged by a later prune. */
async function pruneTask(
	store: Store,
	{ task: found, standing }: Candidate,
	options: PruneOptions,
	look: () => Snapshot,
): Promise<Finding | undefined> {
	const isAdopted = standing === "orphaned" && !options.dryRun;
	const task = isAdopted ? settle(store, found) : found;
	const { id: taskId } = task;
	const wrote = lastWrite(store, taskId);
	const choice = judge(task, standing, { ...options, now: Date.now(), wrote });
	if (choice === "leave") return undefined;
	if (choice === "unknown")
		return {
			unknown: { taskId, note: describeStanding(task, standing) ?? standing },
		};
	if ("age" in choice) return { overdue: { taskId, ...choice } };
	const now = options.dryRun
		? foresee(store, task, choice, look)
		: await act(store, task, choice, look);
	if (!isFinal(now)) return undefined;
	return { ended: { taskId, reason: now.reason ?? choice.reason } };
}

/** An end that prune gives; `by` says why in the words of the error. */
type Verdict = { reason: "lost" | "stale" | "timeout"; by: string };
type Overdue = { age: string; note?: string };

/** What is to become of a task that is not over. `now` and `wrote` are times in ms. */
export function judge(
	task: Task,
	standing: Standing,
	{
		ttl,
		ageAlone,
		stale,
		now,
		wrote,
	}: Omit<PruneOptions, "dryRun"> & { now: number; wrote: number },
): "leave" | "unknown" | Overdue | Verdict {
	if (standing === "lost") return { reason: "lost", by: "" };
	if (standing === "elsewhere" || standing === "unclear") return "unknown";
	const since = Date.parse(task.started_at ?? task.queued_at ?? "");
	if (Number.isNaN(since)) return "unknown";
	const ran = task.elapsed_ms ?? now - since - (task.paused_ms ?? 0);
	const isOld = ran > ttl;
	if (standing === "native" || standing === "unknown") {
		if (!isOld) return standing === "unknown" ? "unknown" : "leave";
		return standing === "native"
			? { reason: "lost", by: "its end was not reported" }
			: { reason: "timeout", by: formatDuration(ttl) };
	}
	if (task.status !== "running" || task.paused_at || !isOld) return "leave";
	if (ageAlone) return { reason: "timeout", by: formatDuration(ttl) };
	const age = formatDuration(ran);
	// A supervisor adds it up once a minute; who was never looked at may well compute.
	if (task.quiet_ms === undefined || standing === "orphaned")
		return { age, note: "nobody measured what it does" };
	if (task.quiet_ms <= stale || now - wrote <= stale) return { age };
	return { reason: "stale", by: formatDuration(task.quiet_ms) };
}

// --- internal ---

/** What act would make of a task; nothing is written. */
function foresee(
	store: Store,
	task: Task,
	{ reason, by }: Verdict,
	look: () => Snapshot,
): Task {
	if (reason !== "lost" || !task.supervisor)
		return finish(task, { reason, at: timestamp(), error: by });
	return findStarted(task, look) ? task : lose(store, task);
}

async function act(
	store: Store,
	task: Task,
	verdict: Verdict,
	look: () => Snapshot,
): Promise<Task> {
	const { reason, by } = verdict;
	if (task.supervisor) {
		if (reason === "lost") return settle(store, task, look);
		await cancelTasks(store, [task.id], {
			only: true,
			because: { reason, by },
		});
		return updateTask(store, task.id, () => undefined);
	}
	// No process of it was ever named: there is nothing to stop.
	const error = reason === "timeout" ? `timed out after ${by}` : by;
	return updateTask(store, task.id, (now) =>
		finish(now, { reason, at: timestamp(), error }),
	);
}

/** When a task last wrote anything, in ms; 0 where it never did. */
function lastWrite(store: Store, id: string): number {
	const status = lstatSync(outputFile(store, id), { throwIfNoEntry: false });
	return status?.size ? status.mtimeMs : 0;
}
