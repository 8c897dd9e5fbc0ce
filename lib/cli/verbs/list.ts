import { parseNumberFlag } from "../../control/schedule.ts";
import { addProgress } from "../../droid/task-output.ts";
import type { ReportedTask } from "../../print/report.ts";
import { formatStatus, isColourWanted } from "../../print/status.ts";
import { describeState } from "../../print/task-row.ts";
import { escapeJson, isTerminal, toLine, writeAll } from "../../print/text.ts";
import { formatTaskAge } from "../../print/units.ts";
import { toAbsolute } from "../../process/runtime.ts";
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
import { findOwnedSessions, isOwned } from "../../store/session-index.ts";
import { type Status, statuses, type Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { parseChoice, refuseEmpty } from "../arguments.ts";
import { formatFlags, isJsonWanted, truncateToJson, warn } from "../reply.ts";
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
	"recorded",
	"note",
	"waits_for",
] as const satisfies readonly (keyof ReportedTask)[];

export default defineVerb({
	name: "list",
	description: "Show tasks, newest first",
	group: "inspect",
	examples: {
		"bg list --status queued,running": "unfinished tasks",
		"bg list --tag nightly --full --json": "whole records as JSON",
	},
	args: {
		status: option("status", "only tasks with one of these (comma-separated)", {
			from: statuses,
		}),
		session: option("id", "only tasks of this parent session"),
		cwd: option("dir", "only tasks that run in this folder", {
			from: "folders",
		}),
		tag: option("tag", "only tasks with this tag"),
		limit: option("n", "only the n newest; counts cover all"),
		all: flag("include archived tasks"),
		full: flag("whole records"),
		format: option("format", "the format of the reply", { from: formats }),
		...formatFlags,
	},
	run: async ({ args }) => {
		const { resolve } = await import("node:path");
		const format =
			parseChoice("--format", formats, args.format) ??
			(isJsonWanted(args) ? "json" : "table");
		const wanted = args.status
			?.split(",")
			.map((word) => parseChoice("--status", statuses, word));
		const cwd =
			args.cwd !== undefined && resolve(toAbsolute("--cwd", args.cwd));
		const limit =
			parseNumberFlag("--limit", args.limit, { lowest: 1 }) ??
			Number.POSITIVE_INFINITY;
		const session = refuseEmpty("--session", args.session);
		const tag = refuseEmpty("--tag", args.tag);
		const store = openStore();
		const sessions = session ? findOwnedSessions(store, session) : undefined;
		const unreadable: UnreadableRecord[] = [];
		const all = reconcileTasks(store, iterateTasks(store, unreadable));
		const counts = Object.fromEntries(
			statuses.map((status) => [status, 0]),
		) as Record<Status, number>;
		const asJson = format === "json" || format === "jsonl";
		const tasks: ReportedTask[] = [];
		// A JSON reply keeps only rows: 10,000 records would take much memory. A queued task becomes one at the
		// end, when the tasks that it comes after were read.
		const rows: (string | Task)[] = [];
		const unfinished = new Map<string, Status>();
		const renderRow = (task: Task, waitsFor?: string) => {
			const current = {
				...addProgress(store, task),
				note: describeNote(task),
				waits_for: waitsFor,
			};
			return args.full ? JSON.stringify(current) : renderShort(current);
		};
		let total = 0;
		for (const task of all) {
			if (!isFinal(task)) unfinished.set(task.id, task.status);
			if (
				(!args.all && task.archived_at) ||
				(wanted && !wanted.includes(task.status)) ||
				(sessions && !isOwned(sessions, task)) ||
				(cwd && task.cwd !== cwd) ||
				(tag && !task.tags?.includes(tag))
			)
				continue;
			counts[task.status]++;
			if (++total > limit) continue;
			if (!asJson)
				tasks.push({ ...addProgress(store, task), note: describeNote(task) });
			else rows.push(task.status === "queued" ? task : renderRow(task));
		}
		const state = counts.queued ? findQueueState(store) : undefined;
		const describeWait = (task: Task) =>
			state?.describeWait(task, (id) => unfinished.get(id));
		for (const task of tasks) task.waits_for = describeWait(task);
		const renderLate = (each: string | Task) =>
			typeof each === "string" ? each : renderRow(each, describeWait(each));
		const { limits, queue, line } = readQueueSettings(store);
		if (format === "json") {
			const head = JSON.stringify({ total, ...counts, limits, queue });
			const broken = unreadable.length
				? `,"unreadable":${JSON.stringify(unreadable)}`
				: "";
			writeAll(1, `${head.slice(0, -1)},"tasks":[`);
			writeRows(rows.map(renderLate), ",");
			writeAll(1, escapeJson(`]${broken}}\n`));
			return;
		}
		if (format === "jsonl") writeRows([...rows.map(renderLate), ""], "\n");
		else if (format === "md") {
			const { renderReport } = await import("../../print/report.ts");
			writeAll(1, renderReport(tasks));
		} else if (!isTerminal(1) || total === 0) {
			const table = await renderTable(tasks);
			writeAll(1, `${table}\n${queue.paused ? `${line}\n` : ""}`);
		} else {
			const isInUse = counts.queued + counts.running > 0 || queue.paused;
			const queueLine = isInUse ? [line] : [];
			const summary = { counts, queueLine };
			const table = await renderTerminalTable(store, tasks, summary);
			writeAll(1, `${table}\n`);
		}
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});

// --- internal ---

function renderShort(task: ReportedTask): string {
	const picked: Record<string, unknown> = {};
	for (const key of shortKeys)
		if (task[key] !== undefined) picked[key] = task[key];
	return truncateToJson(picked, `status ${task.id} --full`);
}

/** Writes rows of JSON 500 at a time: one large string would be copied repeatedly. */
function writeRows(rows: readonly string[], separator: string): void {
	const size = 500;
	for (let at = 0; at < rows.length; at += size) {
		const piece = rows.slice(at, at + size).join(separator);
		const more = at + size < rows.length ? separator : "";
		if (!writeAll(1, escapeJson(piece + more))) return;
	}
}

async function renderTable(tasks: readonly ReportedTask[]): Promise<string> {
	if (tasks.length === 0)
		return "no task to show (bg launch and bg run start tasks, --all includes archived ones)";
	const { formatTable } = await import("../../print/table.ts");
	return formatTable(
		tasks.map((task) => [
			task.id,
			formatStatus(task.status),
			formatTaskAge(task),
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
		counts,
		queueLine,
	}: {
		counts: Readonly<Record<Status, number>>;
		/** What is in force in the queue, if it matters. */
		queueLine: readonly string[];
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
	}));
	const { columns } = readTerminalSize();
	const { fitText } = await import("../../print/width.ts");
	const { head, line } = layOutTable(rows, columns);
	const colour = isColourWanted();
	return [
		colour ? `\u001b[1m${head}\u001b[22m` : head,
		...rows.map((row) => line(row, colour)),
		"",
		fitText([summarizeCounts(counts), ...queueLine].join(" · "), columns),
	].join("\n");
}
