import { parseNumberFlag } from "../../control/schedule.ts";
import { addProgress } from "../../droid/task-output.ts";
import { usage } from "../../error.ts";
import type { ReportedTask } from "../../print/report.ts";
import { formatStatus, isColourWanted } from "../../print/status.ts";
import { escapeJson, isTerminal, toLine, writeAll } from "../../print/text.ts";
import { formatTaskAge } from "../../print/units.ts";
import { toAbsolute } from "../../process/runtime.ts";
import { findQueueState, readQueueSettings } from "../../prune/queue-state.ts";
import { type ReconciledTask, reconcileTasks } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	iterateTasks,
	listTaskIds,
	type UnreadableRecord,
} from "../../store/records.ts";
import { type Status, statuses, type Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { refuseEmpty } from "../arguments.ts";
import { formatFlags, isJsonWanted, truncateToJson, warn } from "../reply.ts";
import { defineVerb } from "../verb.ts";

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
] as const satisfies readonly (keyof Task)[];

export default defineVerb({
	meta: { name: "list", description: "Show tasks, newest first" },
	group: "inspect",
	examples: [
		["bg list --status queued,running", "unfinished tasks"],
		["bg list --tag nightly --full --json", "whole records as JSON"],
	],
	args: {
		status: {
			type: "string",
			from: statuses,
			description: "only tasks with one of these (comma-separated)",
		},
		session: {
			type: "string",
			valueHint: "id",
			description: "only tasks of this parent session",
		},
		cwd: {
			type: "string",
			valueHint: "dir",
			from: "folders",
			description: "only tasks that run in this folder",
		},
		tag: {
			type: "string",
			valueHint: "tag",
			description: "only tasks with this tag",
		},
		limit: {
			type: "string",
			valueHint: "n",
			description: "only the n newest; counts cover all",
		},
		all: { type: "boolean", description: "include archived tasks" },
		full: { type: "boolean", description: "whole records" },
		format: {
			type: "string",
			from: formats,
			description: "the format of the reply",
		},
		...formatFlags,
	},
	run: async ({ args }) => {
		const { resolve } = await import("node:path");
		const format =
			parseFormat(args.format) ?? (isJsonWanted(args) ? "json" : "table");
		const wanted = parseStatuses(args.status);
		const cwd =
			args.cwd === undefined
				? undefined
				: resolve(toAbsolute("--cwd", args.cwd));
		const limit =
			parseNumberFlag("--limit", args.limit, { lowest: 1 }) ??
			Number.POSITIVE_INFINITY;
		const session = refuseEmpty("--session", args.session);
		const tag = refuseEmpty("--tag", args.tag);
		const store = openStore();
		const unreadable: UnreadableRecord[] = [];
		const counts = Object.fromEntries(
			statuses.map((status) => [status, 0]),
		) as Record<Status, number>;
		const asJson = format === "json" || format === "jsonl";
		const row = args.full ? renderFullRow : renderShortRow;
		const tasks: ReportedTask[] = [];
		// A JSON reply keeps only rows: 10,000 records would take much memory. A queued task becomes one at the
		// end, when the tasks that it comes after were read.
		const rows: (string | ReconciledTask)[] = [];
		const unfinished = new Map<string, Status>();
		let total = 0;
		const all = reconcileTasks(store, iterateTasks(store, unreadable));
		for (const task of all) {
			if (!isFinal(task)) unfinished.set(task.id, task.status);
			if (
				(!args.all && task.archived_at) ||
				(wanted && !wanted.includes(task.status)) ||
				(session && task.parent_session_id !== session) ||
				(cwd && task.cwd !== cwd) ||
				(tag && !task.tags?.includes(tag))
			)
				continue;
			counts[task.status]++;
			if (++total > limit) continue;
			if (!asJson)
				tasks.push({ ...addProgress(store, task), note: describeNote(task) });
			else if (task.status === "queued") rows.push(task);
			else rows.push(row(addProgress(store, task), describeNote(task)));
		}
		const state = counts.queued ? findQueueState(store) : undefined;
		const describeWait = (task: Task) =>
			state?.describeWait(task, (id) => unfinished.get(id));
		const { limits, queue, line } = readQueueSettings(store);
		const renderRow = (each: string | ReconciledTask) =>
			typeof each === "string"
				? each
				: row(addProgress(store, each), describeNote(each), describeWait(each));
		if (format === "json") {
			const head = JSON.stringify({ total, ...counts, limits, queue });
			const broken = unreadable.length
				? `,"unreadable":${JSON.stringify(unreadable)}`
				: "";
			writeAll(1, `${head.slice(0, -1)},"tasks":[`);
			writeRows(rows.map(renderRow), ",");
			writeAll(1, escapeJson(`]${broken}}\n`));
			return;
		}
		if (format === "jsonl") writeRows([...rows.map(renderRow), ""], "\n");
		else if (format === "md") {
			const { renderReport } = await import("../../print/report.ts");
			writeAll(1, renderReport(tasks));
		} else if (!isTerminal(1) || total === 0) {
			const table = await renderTable(tasks, describeWait);
			writeAll(1, `${table}\n${queue.paused ? `${line}\n` : ""}`);
		} else {
			const isInUse = counts.queued + counts.running > 0 || queue.paused;
			const queueLine = isInUse ? [line] : [];
			const options = { counts, queueLine, describeWait };
			const table = await renderTerminalTable(store, tasks, options);
			writeAll(1, `${table}\n`);
		}
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});

// --- internal ---

function parseFormat(given: string | undefined) {
	const format = formats.find((each) => each === given);
	if (given !== undefined && !format)
		throw usage(`--format takes ${formats.join(", ")}`);
	return format;
}

function parseStatuses(
	given: string | undefined,
): readonly Status[] | undefined {
	return given?.split(",").map((word) => {
		const status = statuses.find((each) => each === word);
		if (!status) throw usage(`--status takes ${statuses.join(", ")}`);
		return status;
	});
}

const renderFullRow = (task: Task, note?: string, waitsFor?: string) =>
	JSON.stringify({ ...task, note, waits_for: waitsFor });

function renderShortRow(task: Task, note?: string, waitsFor?: string) {
	const picked: Record<string, unknown> = {};
	for (const key of shortKeys)
		if (task[key] !== undefined) picked[key] = task[key];
	picked.note = note;
	picked.waits_for = waitsFor;
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

/** Why a queued task waits; undefined for another one. */
type DescribeWait = (task: Task) => string | undefined;

async function renderTable(
	tasks: readonly ReportedTask[],
	describeWait: DescribeWait,
): Promise<string> {
	if (tasks.length === 0)
		return "no task to show (bg launch and bg run start tasks, --all includes archived ones)";
	const { formatTable } = await import("../../print/table.ts");
	return formatTable(
		tasks.map((task) => {
			const waitsFor = describeWait(task);
			return [
				task.id,
				formatStatus(task.status),
				formatTaskAge(task),
				toLine(task.agent ?? task.kind, 20),
				[
					task.description,
					task.error,
					task.note,
					waitsFor === task.note ? undefined : waitsFor,
				]
					.filter((part) => part)
					.map((part) => toLine(part ?? "", 80))
					.join(" · "),
			];
		}),
	);
}

/** The same in the width of a terminal; ids are the shortest that can be typed. */
async function renderTerminalTable(
	store: Store,
	tasks: readonly Task[],
	{
		counts,
		queueLine,
		describeWait,
	}: {
		counts: Readonly<Record<Status, number>>;
		/** What is in force in the queue, if it matters. */
		queueLine: readonly string[];
		describeWait: DescribeWait;
	},
): Promise<string> {
	const { readTaskRow } = await import("../task-rows.ts");
	const { layOutTable, shortenIds, summarizeCounts } = await import(
		"../../print/table.ts"
	);
	const { readTerminalSize } = await import("../../print/terminal.ts");
	const shorten = shortenIds(listTaskIds(store));
	const rows = tasks.map((task) => {
		const row = readTaskRow(store, task, describeWait(task));
		return { ...row, short: shorten(task.id) };
	});
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
