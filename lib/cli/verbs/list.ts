import { parseNumberFlag } from "../../control/schedule.ts";
import { addProgress } from "../../droid/task-output.ts";
import type { ReportedTask } from "../../print/report.ts";
import { formatStatus, isColourWanted } from "../../print/status.ts";
import {
	formatProgramCall,
	isTerminal,
	toJson,
	toLine,
	writeAll,
} from "../../print/text.ts";
import { formatTaskAge } from "../../print/units.ts";
import { toAbsolute } from "../../process/runtime.ts";
import { quoteForShell } from "../../process/self.ts";
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
] as const satisfies readonly (keyof ReportedTask)[];

export default defineVerb({
	name: "list",
	description: "Show tasks, newest first",
	group: "inspect",
	examples: {
		"bg list --status queued,running": "unfinished tasks",
		"bg list --all --limit 0": "all tasks, archived ones included",
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
		limit: option("n", "at most n tasks (50, and all that run; 0: all)"),
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
		const limit = parseNumberFlag("--limit", args.limit);
		const session = refuseEmpty("--session", args.session);
		const tag = refuseEmpty("--tag", args.tag);
		const store = openStore();
		const unreadable: UnreadableRecord[] = [];
		const archived = args.all ?? false;
		const found = iterateTasks(store, unreadable, { archived });
		const counts = Object.fromEntries(
			statuses.map((status) => [status, 0]),
		) as Record<Status, number>;
		const asJson = format === "json" || format === "jsonl";
		const selection = new Selection<ReportedTask | string>(limit);
		let total = 0;
		for (const task of reconcileTasks(store, found)) {
			if (
				(!args.all && task.archived_at) ||
				(wanted && !wanted.includes(task.status)) ||
				(session && task.parent_session_id !== session) ||
				(cwd && task.cwd !== cwd) ||
				(tag && !task.tags?.includes(tag))
			)
				continue;
			counts[task.status]++;
			total++;
			// A JSON reply keeps only rows: 10,000 records would take much memory.
			selection.add(task.status, () => {
				const current: ReportedTask = addProgress(store, task);
				const note = describeNote(task);
				if (!asJson) return { ...current, note };
				return args.full
					? toJson({ ...current, note })
					: renderShort(current, note);
			});
		}
		const shown = selection.shown();
		const left = total - shown.length;
		const more = left ? formatProgramCall(describeCall(args)) : "";
		if (format === "json") {
			const head = JSON.stringify({ total, ...counts });
			const tail = toJson({
				...(left && { truncated: true, omitted: left, more }),
				...(unreadable.length && { unreadable }),
			}).slice(1);
			writeAll(1, `${head.slice(0, -1)},"tasks":[`);
			writeRows(shown as string[], ",");
			writeAll(1, `]${tail === "}" ? "" : ","}${tail}\n`);
			return;
		}
		const tasks = shown as ReportedTask[];
		if (format === "jsonl") writeRows([...(shown as string[]), ""], "\n");
		else if (format === "md") {
			const { renderReport } = await import("../../print/report.ts");
			writeAll(1, renderReport(tasks));
		} else if (!isTerminal(1) || total === 0)
			writeAll(1, `${await renderTable(tasks)}\n`);
		else writeAll(1, `${await renderTerminalTable(store, tasks, counts)}\n`);
		// A limit that was typed needs no explanation.
		if (left && limit === undefined)
			warn(`${left} more of ${total} tasks: ${more}`);
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});

// --- internal ---

/** How many tasks are shown without `--limit`, unless more of them run. */
const usualLimit = 50;

/**
 * Selects the tasks to show: those that run, then the newest queued ones, then the newest finished ones. Without a
 * limit that was typed, all that run are shown.
 */
class Selection<T> {
	/** Running, queued, finished ones. */
	readonly #groups: { at: number; item: T }[][] = [[], [], []];
	readonly #limit: number;
	readonly #maxRunning: number;
	#count = 0;

	/** @param typed the limit that was typed; 0: none. */
	constructor(typed: number | undefined) {
		this.#limit = (typed ?? usualLimit) || Number.POSITIVE_INFINITY;
		this.#maxRunning =
			typed === undefined ? Number.POSITIVE_INFINITY : this.#limit;
	}

	/** Adds a task that is older than those before. It is rendered only if it may be shown. */
	add(status: Status, render: () => T): void {
		const group = status === "running" ? 0 : status === "queued" ? 1 : 2;
		const items = this.#groups[group] ?? [];
		const most = group === 0 ? this.#maxRunning : this.#limit;
		const at = this.#count++;
		if (items.length < most) items.push({ at, item: render() });
	}

	/** What is shown, the newest first. */
	shown(): T[] {
		const [running = []] = this.#groups;
		return this.#groups
			.flat()
			.slice(0, Math.max(this.#limit, running.length))
			.sort((a, b) => a.at - b.at)
			.map(({ item }) => item);
	}
}

type ListFlags = Partial<
	Record<"status" | "session" | "cwd" | "tag" | "format", string> &
		Record<"all" | "full" | "json" | "text", boolean>
>;

/** The call that shows all tasks that a call selects. */
function describeCall(flags: ListFlags): string {
	const names = [
		...(["status", "session", "cwd", "tag", "format"] as const),
		...(["all", "full", "json", "text"] as const),
	];
	const given = names.flatMap((name) => {
		const value = flags[name];
		if (value === undefined || value === false) return [];
		return value === true ? [`--${name}`] : [`--${name}`, quoteForShell(value)];
	});
	return ["list", ...given, "--limit 0"].join(" ");
}

function renderShort(task: ReportedTask, note: string | undefined): string {
	const picked: Record<string, unknown> = {};
	for (const key of shortKeys)
		if (task[key] !== undefined) picked[key] = task[key];
	if (note !== undefined) picked.note = note;
	return truncateToJson(picked, `status ${task.id} --full`);
}

/** Writes rows of JSON 500 at a time: one large string would be copied repeatedly. */
function writeRows(rows: readonly string[], separator: string): void {
	const size = 500;
	for (let at = 0; at < rows.length; at += size) {
		const piece = rows.slice(at, at + size).join(separator);
		const more = at + size < rows.length ? separator : "";
		if (!writeAll(1, piece + more)) return;
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
			[task.description, task.error, task.note]
				.flatMap((part) => (part ? toLine(part, 80) : []))
				.join(" · "),
		]),
	);
}

/** The same in the width of a terminal; ids are the shortest that can be typed. */
async function renderTerminalTable(
	store: Store,
	tasks: readonly Task[],
	counts: Readonly<Record<Status, number>>,
): Promise<string> {
	const { readTaskRow } = await import("../../control/task-rows.ts");
	const { layOutTable, shortenIds, summarizeCounts } = await import(
		"../../print/table.ts"
	);
	const { readTerminalSize } = await import("../../print/terminal.ts");
	const shorten = shortenIds(listTaskIds(store));
	const rows = tasks.map((task) => ({
		...readTaskRow(store, task),
		short: shorten(task.id),
	}));
	const { head, line } = layOutTable(rows, readTerminalSize().columns);
	const colour = isColourWanted();
	return [
		colour ? `\u001b[1m${head}\u001b[22m` : head,
		...rows.map((row) => line(row, colour)),
		"",
		summarizeCounts(counts),
	].join("\n");
}
