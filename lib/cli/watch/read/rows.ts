/** The rows of the list from tasks, their order, and what the head says of the queue. Pure. */
import type { TaskRow } from "../../../print/task-row.ts";
import { toLine } from "../../../print/text.ts";
import { formatCredits, formatTokens } from "../../../print/units.ts";
import type {
	QueueState,
	readQueueSettings,
} from "../../../prune/queue-state.ts";
import type { ReconciledTask } from "../../../prune/reconcile.ts";
import { findLimit, toLimit } from "../../../spawn/limits.ts";
import { compareIds } from "../../../task/ids.ts";
import type { Task } from "../../../task/schema.ts";
import { isFinal } from "../../../task/states.ts";
import { countBudget, parseUsage } from "../../../task/usage.ts";
import type { WatchHead, WatchRow } from "../state.ts";

/** What is said of a task beside its record. */
export type RowFacts = {
	/** Its row in other lists. */
	row: TaskRow;
	/** Shortens ids. */
	shorten: (id: string) => string;
	/** When its output was written last, in ms since 1970. */
	writtenAt?: number | undefined;
	/** The model that its stream names. */
	model?: string | undefined;
	isLingering?: boolean;
	/** What it used, as a record has it. */
	usage?: unknown;
};

/** Makes the row of a task. */
export function toWatchRow(task: Task, facts: RowFacts): WatchRow {
	const { row, shorten, writtenAt, model, isLingering = false, usage } = facts;
	const counts = parseUsage(usage);
	const used = counts && {
		tokens: countBudget(counts),
		credits: counts.credits,
	};
	const { id, status, kind, tags = [], parent_session_id = "" } = task;
	const startedAt = toTime(task.started_at);
	const isRunning = status === "running";
	const progress = row.progress.slice(0, 400);
	return {
		id,
		short: shorten(id),
		status,
		kind,
		isPaused: task.paused_at !== undefined && !isFinal(task),
		isLingering,
		hasWorktree: task.worktree !== undefined,
		droid: row.droid,
		model: toLine((task.model ?? model ?? "").slice(0, 100)),
		tokens: used ? formatTokens(used.tokens) : "",
		used,
		description: row.description,
		doing: isRunning ? progress : toShort(progress, shorten),
		queuedAt: toTime(task.queued_at),
		startedAt,
		endedAt: toTime(task.completed_at),
		activeAt: isRunning ? findActiveTime(task, writtenAt) : undefined,
		tags: tags.map((tag) => toLine(tag.slice(0, 100))),
		session: parent_session_id,
	};
}

/**
 * What a task waits for or how it ended, with short ids, and without what the column of the status says or, of the
 * limit on all running tasks, the head.
 */
export const toShort = (
	doing: string,
	shorten: (id: string) => string,
): string =>
	doing
		.replace(/^(queued: |paused(?: · |$))/, "")
		.replace(/^(\w+, for a place) \(\d+ of \d+ running\)/, "$1")
		.replace(/\bbg_[0-9a-f]{8,32}\b/g, shorten);

/** A task with its row, if it is shown. */
export type OrderedTask = {
	/** The task while it is unfinished, its end is not recorded, or its process is alive. */
	task?: ReconciledTask | undefined;
	row?: WatchRow | undefined;
};

/**
 * Running tasks first, as they started; then queued ones in the order of the queue, those that wait for more than a
 * place last; then finished ones, newest first.
 */
export function orderRows(
	tasks: ReadonlyMap<string, OrderedTask>,
	now: number,
): WatchRow[] {
	const isHeld = ({ paused_at, not_before = "", after = [] }: Task) =>
		paused_at !== undefined ||
		Date.parse(not_before) > now ||
		after.some((id) => {
			const other = tasks.get(id)?.task;
			return other && !isFinal(other);
		});
	/** The section of a row, and its place in it. */
	const rank = (row: WatchRow, task: Task | undefined) => {
		if (isFinal(row)) return { section: 3, place: -(row.endedAt ?? 0) };
		if (row.status === "running")
			return { section: 0, place: row.startedAt ?? 0 };
		const section = task && isHeld(task) ? 2 : 1;
		return { section, place: -(task?.priority ?? 0) };
	};
	return [...tasks.values()]
		.flatMap(({ row, task }) => (row ? [{ row, ...rank(row, task) }] : []))
		.sort((a, b) => {
			const age = compareIds(a.row.id, b.row.id);
			return (
				a.section - b.section ||
				a.place - b.place ||
				(a.section === 3 ? -age : age)
			);
		})
		.map(({ row }) => row);
}

/** What is in force in the queue, and how much of it is in use. */
export function describeInUse(
	settings: ReturnType<typeof readQueueSettings>["limits"],
	queue: Pick<QueueState, "listUsages"> | undefined,
	running: number,
): Pick<WatchHead, "limit" | "limits" | "running"> {
	if ("error" in settings)
		return {
			running: running ? `${running} running` : "",
			limits: `limits: ${settings.error}`,
		};
	const {
		running: limit = 0,
		per_droid = 0,
		droid = {},
		model = {},
	} = settings;
	const usages = queue?.listUsages().filter(({ isHere }) => isHere) ?? [];
	const [top, ...deeper] = usages;
	const used = top?.running ?? 0;
	const say = (what: string, count: number | undefined, most: number) =>
		`${toLine(what, 60)} ${count ?? 0}${Number.isFinite(most) ? ` of ${most}` : ""}`;
	const perDroid = Object.entries(per_droid ? (top?.droid ?? {}) : {}).filter(
		([name]) => findLimit(droid, name) === undefined,
	);
	// The tasks of other machines and depths have limits of their own.
	const isOne = used === running && limit > 0;
	const parts = [
		...(isOne || !limit ? [] : [`${used} of ${limit} running here`]),
		...deeper
			.filter((each) => each.running)
			.map((each) => say(`depth ${each.depth}`, each.running, toLimit(limit))),
		...perDroid.map(([name, count]) => say(name, count, per_droid)),
		...Object.entries(droid).map(([name, most]) =>
			say(name, top?.droid[name], toLimit(most)),
		),
		...Object.entries(model).map(([name, most]) =>
			say(name, top?.model[name], toLimit(most)),
		),
	];
	return {
		limit,
		running: isOne
			? `${running} of ${limit} running`
			: running || !limit
				? `${running} running`
				: "",
		limits: parts.length ? `limits: ${parts.join(", ")}` : "",
	};
}

/** What all tasks used together: `1.2M tokens, 3.4 credits`; "" if nothing is known. */
export function describeUsed({
	tokens,
	credits,
}: NonNullable<WatchRow["used"]>): string {
	const parts = [
		...(tokens ? [`${formatTokens(tokens)} tokens`] : []),
		...(credits ? [`${formatCredits(credits)} credits`] : []),
	];
	return parts.join(", ");
}

// --- internal ---

/** How often a supervisor records that a task was active, in ms. */
const activeIntervalMs = 61_000;

/**
 * When a running task wrote or computed last. `active_at` says that it did either in the minute before: if it wrote
 * then, the time of that is known better.
 */
function findActiveTime(task: Task, writtenAt = 0): number {
	const recorded = toTime(task.active_at) ?? 0;
	const isByOutput = recorded - writtenAt < activeIntervalMs;
	const times = [toTime(task.started_at) ?? 0, writtenAt];
	return Math.max(...times, isByOutput ? 0 : recorded);
}

/** A time of a record in ms since 1970; undefined if it has none. */
function toTime(text = ""): number | undefined {
	const ms = Date.parse(text);
	return Number.isNaN(ms) ? undefined : ms;
}
