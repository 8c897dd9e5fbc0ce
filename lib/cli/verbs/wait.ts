import { parseDurationFlag } from "../../control/schedule.ts";
import {
	type WaitOptions,
	type WaitResult,
	waitForTasks,
} from "../../control/wait.ts";
import { exitCodes, usage } from "../../error.ts";
import { formatStatus } from "../../print/status.ts";
import { formatProgramCall, toLine, writeAll } from "../../print/text.ts";
import { formatElapsed, formatTaskAge } from "../../print/units.ts";
import type { ReconciledTask } from "../../prune/reconcile.ts";
import { checkSupervision } from "../../prune/supervision.ts";
import { isQueuePaused } from "../../spawn/queue.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	findAncestors,
	findTask,
	readTask,
	resolveTaskId,
} from "../../store/records.ts";
import { listUnseen } from "../../store/sessions/notices.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { taskVariable } from "../../task/variables.ts";
import { splitValues } from "../arguments.ts";
import {
	dismissNotice,
	formatFlags,
	isJsonWanted,
	openProgressLine,
	queuePausedWarning,
	truncateRecord,
	warn,
	warnOfEngine,
	writeJson,
} from "../reply.ts";
import {
	createMatcher,
	isNarrow,
	noMatch,
	parseSelectors,
	refuseBoth,
	type SelectorArguments,
	selectorFlags,
} from "../selectors.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

export default defineVerb({
	name: "wait",
	description: "Wait until tasks end, and show their results",
	group: "inspect",
	examples: {
		"bg wait": "all unfinished tasks (of this session)",
		"bg wait --tag nightly": "those with this tag",
		"bg wait --any --timeout 10m": "until one ends, at most 10 minutes",
	},
	args: {
		ids: optional(
			"task ids (all unfinished tasks of $BG_SESSION_ID if set, and its unseen ends)",
			{ multiple: true, from: "unfinished" },
		),
		...selectorFlags,
		all: flag("unfinished tasks of all sessions"),
		any: flag("until the first one ends"),
		timeout: option("90s|30m|2h", "the maximum time (exit code 124)"),
		...formatFlags,
	},
	run: async ({ args }) => {
		refuseBoth("wait", args);
		const selectors = parseSelectors(args);
		const store = openStore();
		const ancestors = findAncestors(store, process.env[taskVariable]);
		const given = splitValues(args.ids).map((id) => resolveTaskId(store, id));
		for (const id of given)
			if (ancestors.has(id))
				throw usage(`unable to wait for ${id}: this command runs inside it`);
		const timeout = parseDurationFlag("--timeout", args.timeout);
		const json = isJsonWanted(args);
		const options: WaitOptions = {
			...(given.length
				? { ids: [...new Set(given)] }
				: selectTasks(store, args, selectors)),
			any: args.any,
			timeout,
		};
		const { includes = () => true } = options;
		options.includes = (task) => !ancestors.has(task.id) && includes(task);
		const shown = await waitAndShow(store, options, { json });
		if (typeof shown === "number") return shown;
		const { ended, running, missing, timedOut } = shown.waited;
		let { isRead } = shown;
		const [firstMissing] = missing;
		// There is nothing else to report: throw the error of the record.
		if (firstMissing && ended.length + running.length === 0)
			readTask(store, firstMissing);
		if (ended.length + running.length === 0 && isNarrow(args))
			throw noMatch("unfinished task", args);
		const tasks = ended.map((task) =>
			truncateRecord(
				{ id: task.id, taskId: task.id, ...pickEnd(task) },
				`status ${task.id} --full`,
			),
		);
		const lost = missing.length && { missing };
		if (json) isRead = writeJson({ tasks, running, timedOut, ...lost });
		else if (running.length) writeAll(1, `${describeUnfinished(running)}\n`);
		else if (!ended.length) writeAll(1, "nothing to wait for\n");
		if (isRead) for (const task of ended) dismissNotice(store, task);
		if (timedOut) return exitCodes.timedOut;
		for (const id of json ? [] : missing) warnMissing(id);
		if (missing.length) return exitCodes.missing;
		return ended.every(({ status }) => status === "completed");
	},
});

/** What an answer says of the end of a task. */
export const pickEnd = ({
	status,
	exit_code,
	error,
	result,
	recorded,
}: ReconciledTask) => ({ status, exit_code, error, result, recorded });

/** Says that the end of a task is not known. */
export const warnMissing = (id: string) =>
	warn(`unable to say how ${id} ended: its record is missing or broken`);

type ShowOptions = {
	json: boolean;
	/** Whether the ends are not printed either. */
	quiet?: boolean | undefined;
	/** Called if a signal ends the wait, with the ids of the unfinished tasks. */
	onInterrupt?: (left: readonly string[]) => void;
};

/**
 * Waits for tasks. In a terminal a line says how many are left; a text reply has each end as soon as it comes.
 * @returns the exit code after a signal; else what was waited for, and whether the reader of stdout is there.
 */
export async function waitAndShow(
	store: Store,
	options: WaitOptions,
	{ json, quiet, onInterrupt }: ShowOptions,
): Promise<number | { waited: WaitResult; isRead: boolean }> {
	const line = await openProgressLine();
	const isPauseNews = watchPause(store);
	const startedAt = performance.now();
	let isRead = true;
	let done = 0;
	let left: readonly string[] = options.ids ?? [];
	const start = () =>
		waitForTasks(store, {
			...options,
			onEnd: (task) => {
				done++;
				line?.clear();
				if (!json && !quiet)
					isRead = writeAll(1, `${describeEnded(task)}\n`) && isRead;
			},
			onPoll: (ids, jobs) => {
				left = [...ids];
				warnOfEngine(() => line?.clear());
				if (isPauseNews(left, jobs)) {
					line?.clear();
					warn(queuePausedWarning);
				}
				const elapsed = performance.now() - startedAt;
				line?.show(describeWaiting(store, { left, done, elapsed }));
			},
		});
	if (!line && !onInterrupt) return { waited: await start(), isRead };
	const { catchEndSignals, endBySignal } = await import(
		"../../print/terminal.ts"
	);
	const interrupt = catchEndSignals();
	try {
		const waited = start();
		const first = await Promise.race([waited, interrupt.signal]);
		line?.clear();
		if (typeof first !== "string") return { waited: first, isRead };
		onInterrupt?.(left);
		return endBySignal(interrupt, first);
	} finally {
		interrupt.ignore();
	}
}

// --- internal ---

/** What `waitForTasks` needs for tasks that are selected, or without selectors for those of this session. */
function selectTasks(
	store: Store,
	args: SelectorArguments,
	selectors: ReturnType<typeof parseSelectors>,
): Pick<WaitOptions, "includes" | "past"> {
	const own = process.env.BG_SESSION_ID || undefined;
	const isOwn = !selectors.session || selectors.session === own;
	// Ends are waited for, unless they are asked for.
	const wantsEnds = selectors.statuses.some((status) => isFinal({ status }));
	const matches = createMatcher(
		store,
		{ ...selectors, archived: selectors.archived || !wantsEnds },
		args.all ? undefined : own,
	);
	return {
		// An old record without a process never gets an end.
		includes: (task) => matches(task) && checkSupervision(task) !== "unknown",
		...(own && isOwn && { past: new Set(listUnseen(store, own)) }),
		...(wantsEnds && { past: { has: () => true } }),
	};
}

/** How often to check whether the queue is paused, in ms. */
const pauseCheckMs = 1000;

/** Returns a function that says once whether the queue is paused and one of the tasks is queued in it. */
function watchPause(
	store: Store,
): (ids: readonly string[], jobs: Pick<ReadonlySet<string>, "has">) => boolean {
	let nextCheckAt = 0;
	return (ids, jobs) => {
		if (performance.now() < nextCheckAt) return false;
		nextCheckAt = performance.now() + pauseCheckMs;
		const isNews =
			isQueuePaused(store) &&
			ids.some(
				(id) => !jobs.has(id) && findTask(store, id)?.status === "queued",
			);
		if (isNews) nextCheckAt = Number.POSITIVE_INFINITY;
		return isNews;
	};
}

/** How many descriptions of unfinished tasks the line may show. */
const maxNamed = 10;

/** The line of progress: `7 left · 2 done · 1m40s · fix the tests, build`. */
function describeWaiting(
	store: Store,
	{
		left,
		done,
		elapsed,
	}: { left: readonly string[]; done: number; elapsed: number },
): string {
	const names = left
		.slice(0, maxNamed)
		.flatMap((id) => findTask(store, id)?.description ?? []);
	const counts = `${left.length} left · ${done} done · ${formatElapsed(elapsed)}`;
	return names.length ? `${counts} · ${names.join(", ")}` : counts;
}

/** How many ids of unfinished tasks a text reply names. */
const maxListed = 10;

/** The unfinished tasks: `2 unfinished: bg_1 bg_2`. */
function describeUnfinished(ids: readonly string[]): string {
	const more = ids.length - maxListed;
	const rest = more > 0 ? ` and ${more} more (bg list shows them)` : "";
	return `${ids.length} unfinished: ${ids.slice(0, maxListed).join(" ")}${rest}`;
}

function describeEnded(task: Task): string {
	const note = task.recorded === false ? "  not recorded" : "";
	const what = `${task.id}  ${formatStatus(task.status)}  ${formatTaskAge(task)}  ${toLine(task.description, 60)}${note}`;
	const words = task.error ?? task.result ?? "";
	const shown = toLine(words);
	const all = toLine(words, words.length);
	const more =
		shown === all ? "" : ` (${formatProgramCall(`status ${task.id} --full`)})`;
	return shown ? `${what}\n    ${shown}${more}` : what;
}
