import { parseDurationFlag, parseNumberFlag } from "../../control/schedule.ts";
import { addProgress, addUsage } from "../../droid/task-output.ts";
import { usage } from "../../error.ts";
import type { ReportedTask } from "../../print/report.ts";
import { formatStatus, isColourWanted } from "../../print/status.ts";
import { describeState } from "../../print/task-row.ts";
import {
	formatProgramCall,
	isTerminal,
	toJson,
	toLine,
	writeAll,
} from "../../print/text.ts";
import {
	formatEnded,
	formatTaskAge,
	formatUsedTokens,
} from "../../print/units.ts";
import { findQueueState, readQueueSettings } from "../../prune/queue-state.ts";
import { reconcileTasks } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	iterateTasks,
	listTaskIds,
	type UnreadableRecord,
} from "../../store/records.ts";
import { type Status, statuses, type Task } from "../../task/schema.ts";
import { orderForPerson, Selection } from "../../task/selection.ts";
import { isSince } from "../../task/selectors.ts";
import { isFinal } from "../../task/states.ts";
import {
	addToSession,
	type TokenCounts,
	toRecordUsage,
} from "../../task/usage.ts";
import { parseChoice } from "../arguments.ts";
import {
	formatFlags,
	isJsonWanted,
	JsonRows,
	truncateToJson,
	warn,
} from "../reply.ts";
import {
	createMatcher,
	formatSelectors,
	parseSelectors,
	type SelectorArguments,
	selectorFlags,
} from "../selectors.ts";
import { defineVerb, flag, option } from "../verb.ts";

const formats = ["table", "json", "jsonl", "md"] as const;

/** The keys of a record in a short reply. */
const shortKeys = [
	"id",
	"description",
	"status",
	"kind",
	"agent",
	"reason",
	"error",
	"exit_code",
	"session_id",
	"parent_session_id",
	"tags",
	"queued_at",
	"started_at",
	"completed_at",
	"progress",
	"engine",
	"recorded",
] as const satisfies readonly (keyof ReportedTask)[];

export default defineVerb({
	name: "list",
	description: "List tasks, running ones first",
	group: "inspect",
	examples: {
		"bg list --status queued,running": "unfinished tasks",
		"bg list --since 2h --tag nightly":
			"what was launched or ended in the last two hours with that tag",
		"bg list --all --limit 0": "all tasks, archived ones included",
		"bg list -q --status running": "only the ids, for another verb",
		"bg list --tag nightly --full --json": "whole records as JSON",
	},
	args: {
		...selectorFlags,
		since: option("90s|30m|2h", "tasks launched or ended within this time"),
		limit: option("n", "at most n tasks (50, and all that run; 0: all)"),
		quiet: flag("print only the ids, of all tasks without --limit", {
			alias: "q",
		}),
		full: flag("whole records; in a table, their tokens"),
		format: option("format", "the format of the reply", { from: formats }),
		...formatFlags,
	},
	run: async ({ args }) => {
		const format =
			parseChoice("--format", formats, args.format) ??
			(isJsonWanted(args) ? "json" : "table");
		const selectors = parseSelectors(args);
		const limit = parseNumberFlag("--limit", args.limit);
		const since = parseDurationFlag("--since", args.since);
		const from = since === undefined ? undefined : Date.now() - since;
		if (args.quiet && (args.full || args.format !== undefined))
			throw usage(
				"-q prints ids: it cannot be combined with --full or --format",
			);
		const store = openStore();
		const matches = createMatcher(store, selectors);
		const includes = (task: Task) =>
			matches(task) && (from === undefined || isSince(task, from));
		if (args.quiet) return printIds(store, includes, { ...args, limit });
		const unreadable: UnreadableRecord[] = [];
		const archived = args.all ?? false;
		const found = iterateTasks(store, unreadable, { archived });
		const counts = Object.fromEntries(
			statuses.map((status) => [status, 0]),
		) as Record<Status, number>;
		const asJson = format === "json" || format === "jsonl";
		const sums = new Map<string, TokenCounts>();
		const readCurrent = (task: Task) => {
			const current = addProgress(store, task);
			return args.full ? addUsage(store, current) : current;
		};
		const renderRow = (task: Task, waits_for?: string) => {
			const current = readCurrent(task);
			if (args.full) addToSession(sums, current);
			const notes = { note: describeNote(task), waits_for };
			return args.full
				? toJson({ ...current, ...notes })
				: renderShort(current, notes);
		};
		const rows = new JsonRows(format === "jsonl" ? "\n" : ",");
		// Without a limit a JSON reply keeps no record: 10,000 would take much memory.
		const keepsRows = asJson && limit === 0;
		// A person sees those that start next.
		const selection = new Selection<Task>(limit, asJson ? "newest" : "oldest");
		const unfinished = new Map<string, Status>();
		let state: ReturnType<typeof findQueueState> | undefined;
		const describeWait = (task: Task) =>
			state?.describeWait(task, (id) => unfinished.get(id));
		let total = 0;
		for (const task of reconcileTasks(store, found)) {
			if (!isFinal(task)) unfinished.set(task.id, task.status);
			if (!includes(task)) continue;
			counts[task.status]++;
			total++;
			if (!keepsRows) selection.add(task);
			else if (task.status !== "queued") rows.add(renderRow(task));
			// The tasks that it comes after are read later.
			else rows.addLate(() => renderRow(task, describeWait(task)));
		}
		const shown = selection.shown();
		const left = keepsRows ? 0 : total - shown.length;
		const more = left ? formatProgramCall(describeCall(args)) : "";
		if (counts.queued) state = findQueueState(store);
		const { limits, queue, line } = readQueueSettings(store);
		if (asJson) {
			for (const task of shown) rows.add(renderRow(task, describeWait(task)));
			if (format === "jsonl") {
				if (rows.write()) writeAll(1, total ? "\n" : "");
			} else {
				const head = JSON.stringify({ total, ...counts, limits, queue });
				writeAll(1, `${head.slice(0, -1)},"tasks":[`);
				if (!rows.write()) return;
				const used = [...sums].map(([session, counts]) => [
					session,
					toRecordUsage(counts),
				]);
				const tail = toJson({
					...(left && { truncated: true, omitted: left, more }),
					...(used.length && { usage: Object.fromEntries(used) }),
					...(unreadable.length && { unreadable }),
				}).slice(1);
				writeAll(1, `]${tail === "}" ? "" : ","}${tail}\n`);
				return;
			}
		} else {
			const tasks = orderForPerson(shown).map((task) => ({
				...readCurrent(task),
				note: describeNote(task),
				waits_for: describeWait(task),
			}));
			if (format === "md") {
				const { renderReport } = await import("../../print/report.ts");
				writeAll(1, renderReport(tasks));
			} else if (total === 0) {
				writeAll(
					1,
					`${describeNone(args)}\n${queue.paused ? `${line}\n` : ""}`,
				);
			} else if (!isTerminal(1)) {
				const table = await renderTable(tasks, args.full);
				writeAll(1, `${table}\n${queue.paused ? `${line}\n` : ""}`);
			} else {
				const isInUse = counts.queued + counts.running > 0 || queue.paused;
				const queueLine = isInUse ? [line] : [];
				const summary = { total, counts, queueLine, full: args.full };
				const table = await renderTerminalTable(store, tasks, summary);
				writeAll(1, `${table}\n`);
			}
		}
		// A limit that was typed needs no explanation.
		if (left && limit === undefined)
			warn(`${left} more of ${total} tasks: ${more}`);
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});

// --- internal ---

type ListFlags = SelectorArguments &
	Partial<
		Record<"since" | "format", string> &
			Record<"full" | "json" | "text", boolean>
	>;

/** The call that shows all tasks that a call selects. */
function describeCall(flags: ListFlags): string {
	const names = ["since", "format", "full", "json", "text"] as const;
	const given = names.flatMap((name) => {
		const value = flags[name];
		if (value === undefined || value === false) return [];
		return value === true ? [`--${name}`] : [`--${name}`, value];
	});
	const selectors = formatSelectors(flags);
	return ["list", ...selectors, ...given, "--limit 0"].join(" ");
}

/** Says that there is no task, or none that was selected. */
function describeNone(flags: ListFlags): string {
	const since = flags.since === undefined ? [] : [`--since ${flags.since}`];
	const given = [...formatSelectors(flags), ...since].join(" ");
	return given
		? `no task matches ${given} (bg list shows all)`
		: "no task to show (bg launch and bg run start tasks, --all includes archived ones)";
}

/** Prints the ids of tasks, newest first, one a line. A script that names tasks by them wants all. */
function printIds(
	store: Store,
	includes: (task: Task) => boolean,
	{ all = false, limit = 0 }: { all?: boolean; limit?: number | undefined },
): void {
	const selection = new Selection<Pick<Task, "id" | "status" | "completed_at">>(
		limit,
	);
	const found = iterateTasks(store, [], { archived: all });
	for (const task of reconcileTasks(store, found)) {
		const { id, status, completed_at } = task;
		if (includes(task)) selection.add({ id, status, completed_at });
	}
	writeAll(
		1,
		selection
			.shown()
			.map(({ id }) => `${id}\n`)
			.join(""),
	);
}

function renderShort(
	task: ReportedTask,
	notes: Pick<ReportedTask, "note" | "waits_for">,
): string {
	const picked: Record<string, unknown> = {};
	for (const key of shortKeys)
		if (task[key] !== undefined) picked[key] = task[key];
	const { note, waits_for } = notes;
	if (note !== undefined) picked.note = note;
	if (waits_for !== undefined) picked.waits_for = waits_for;
	return truncateToJson(picked, `status ${task.id} --full`);
}

async function renderTable(
	tasks: readonly ReportedTask[],
	full = false,
): Promise<string> {
	const { formatTable } = await import("../../print/table.ts");
	const ends = tasks.map((task) => formatEnded(task));
	const hasEnds = ends.some((end) => end);
	return formatTable(
		tasks.map((task, at) => [
			task.id,
			formatStatus(task.status),
			formatTaskAge(task),
			...(hasEnds ? [ends[at] ?? ""] : []),
			...(full ? [formatUsedTokens(task.usage)] : []),
			toLine(task.agent ?? task.kind, 20),
			[task.description, task.error, ...describeState(task)]
				.flatMap((part) => (part ? toLine(part, 80) : []))
				.join(" · "),
		]),
	);
}

/** The same in the width of a terminal; ids are the shortest that can be typed. */
async function renderTerminalTable(
	store: Store,
	tasks: readonly ReportedTask[],
	{
		total,
		counts,
		queueLine,
		full = false,
	}: {
		/** How many tasks were selected; fewer may be shown. */
		total: number;
		counts: Readonly<Record<Status, number>>;
		/** What is in force in the queue, if it matters. */
		queueLine: readonly string[];
		full?: boolean | undefined;
	},
): Promise<string> {
	const { readTaskRow } = await import("../task-rows.ts");
	const { layOutTable, shortenIds, summarizeCounts } = await import(
		"../../print/table.ts"
	);
	const { readTerminalSize } = await import("../../print/terminal.ts");
	const shorten = shortenIds(listTaskIds(store));
	const rows = tasks.map((task) => ({
		...readTaskRow(store, task, task.waits_for),
		short: shorten(task.id),
		...(full && { tokens: formatUsedTokens(task.usage) }),
	}));
	const { columns } = readTerminalSize();
	const { fitText } = await import("../../print/width.ts");
	const { head, line } = layOutTable(rows, columns);
	const colour = isColourWanted();
	const part =
		rows.length < total ? [`showing ${rows.length} of ${total}`] : [];
	const counted = [...part, summarizeCounts(counts)].join(" · ");
	const joined = [counted, ...queueLine].join(" · ");
	const summary = joined.length <= columns ? [joined] : [counted, ...queueLine];
	return [
		colour ? `\u001b[1m${head}\u001b[22m` : head,
		...rows.map((row) => line(row, colour)),
		"",
		...summary.map((each) => fitText(each, columns)),
	].join("\n");
}
