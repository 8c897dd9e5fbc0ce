import {
	ageOf,
	formatFlags,
	noteOf,
	paintStatus,
	remark,
	wantsColour,
	wantsJson,
} from "../answer.ts";
import { filledOf } from "../arguments.ts";
import { briefJson } from "../brief.ts";
import { openStore } from "../directory.ts";
import { BgError } from "../error.ts";
import type { Store } from "../names.ts";
import { withProgress } from "../output.ts";
import {
	escapeJson,
	formatTable,
	isTerminal,
	toLine,
	writeAll,
} from "../print.ts";
import { settle } from "../prune.ts";
import type { Reported } from "../report.ts";
import { toAbsolute } from "../runtime.ts";
import { eachTask, listIds, type Unreadable } from "../store.ts";
import { type Status, statuses, type Task } from "../task.ts";
import { defineVerb } from "../verb.ts";

const formats = ["table", "json", "jsonl", "md"] as const;

/** What a short answer says of a task: the keys of its record. */
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
] as const satisfies readonly (keyof Task)[];

export const list = defineVerb({
	meta: { name: "list", description: "Show the tasks, newest first" },
	examples: [
		["bg list --status queued,running", "what is not over"],
		["bg list --tag nightly --full --json", "whole records, for a program"],
	],
	args: {
		status: {
			type: "string",
			from: statuses,
			description: "only these; several apart by commas",
		},
		session: {
			type: "string",
			valueHint: "id",
			description: "only those of this parent session",
		},
		cwd: {
			type: "string",
			valueHint: "dir",
			from: "folders",
			description: "only those that run there",
		},
		tag: {
			type: "string",
			valueHint: "tag",
			description: "only those with it",
		},
		limit: {
			type: "string",
			valueHint: "n",
			description: "only so many, the newest; all are counted",
		},
		all: { type: "boolean", description: "also those that cleanup put away" },
		full: { type: "boolean", description: "the whole records" },
		format: {
			type: "string",
			from: formats,
			description: "the form of the answer",
		},
		...formatFlags,
	},
	run: async ({ args }) => {
		const { resolve } = await import("node:path");
		const format =
			formatOf(args.format) ?? (wantsJson(args) ? "json" : "table");
		const wanted = statusesOf(args.status);
		const cwd =
			args.cwd === undefined
				? undefined
				: resolve(toAbsolute("--cwd", args.cwd));
		const limit = limitOf(args.limit);
		const session = filledOf("--session", args.session);
		const tag = filledOf("--tag", args.tag);
		const store = openStore();
		const unreadable: Unreadable[] = [];
		const counts = Object.fromEntries(
			statuses.map((status) => [status, 0]),
		) as Record<Status, number>;
		const asJson = format === "json" || format === "jsonl";
		const row = args.full ? whole : short;
		const tasks: Reported[] = [];
		// Ten thousand records are a lot to hold: in JSON only their rows are.
		const rows: string[] = [];
		let total = 0;
		for (const each of eachTask(store, unreadable)) {
			const task = settle(store, each);
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
				tasks.push({ ...withProgress(store, task), note: noteOf(task) });
			else rows.push(row(withProgress(store, task), noteOf(task)));
		}
		if (format === "json") {
			const head = JSON.stringify({ total, ...counts });
			const broken = unreadable.length
				? `,"unreadable":${JSON.stringify(unreadable)}`
				: "";
			writeAll(1, `${head.slice(0, -1)},"tasks":[`);
			writePieces(rows, ",");
			writeAll(1, escapeJson(`]${broken}}\n`));
			return;
		}
		if (format === "jsonl") writePieces([...rows, ""], "\n");
		else if (format === "md") {
			const { renderReport } = await import("../report.ts");
			writeAll(1, renderReport(tasks));
		} else if (!isTerminal(1) || total === 0) writeAll(1, `${table(tasks)}\n`);
		else writeAll(1, `${await screenTable(store, tasks, counts)}\n`);
		for (const { taskId, problem } of unreadable)
			remark(`the record of ${taskId} cannot be read: ${problem}`);
	},
});

// --- internal ---

function formatOf(given: string | undefined) {
	const format = formats.find((each) => each === given);
	if (given !== undefined && !format)
		throw new BgError("usage", `--format takes ${formats.join(", ")}`);
	return format;
}

function limitOf(given: string | undefined): number {
	if (given === undefined) return Number.POSITIVE_INFINITY;
	if (!/^[1-9]\d{0,8}$/.test(given))
		throw new BgError("usage", `--limit ${given}: it takes a whole number`);
	return Number(given);
}

function statusesOf(given: string | undefined): readonly Status[] | undefined {
	return given?.split(",").map((word) => {
		const status = statuses.find((each) => each === word);
		if (!status)
			throw new BgError("usage", `--status takes ${statuses.join(", ")}`);
		return status;
	});
}

const whole = (task: Task, note: string | undefined) =>
	JSON.stringify({ ...task, note });

function short(task: Task, note: string | undefined) {
	const picked: Record<string, unknown> = {};
	for (const key of shortKeys)
		if (task[key] !== undefined) picked[key] = task[key];
	picked.note = note;
	return briefJson(picked, `status ${task.id} --full`);
}

/** Writes rows of JSON some hundreds at a time: as one string they would be copied over and over. */
function writePieces(rows: readonly string[], separator: string): void {
	const size = 500;
	for (let at = 0; at < rows.length; at += size) {
		const piece = rows.slice(at, at + size).join(separator);
		const more = at + size < rows.length ? separator : "";
		if (!writeAll(1, escapeJson(piece + more))) return;
	}
}

function table(tasks: readonly Reported[]): string {
	if (tasks.length === 0)
		return "no task to show (bg launch and bg run make some, --all shows more)";
	return formatTable(
		tasks.map((task) => [
			task.id,
			paintStatus(task.status),
			ageOf(task),
			toLine(task.agent ?? task.kind, 20),
			[task.description, task.error, task.note]
				.filter((part) => part)
				.map((part) => toLine(part ?? "", 80))
				.join(" · "),
		]),
	);
}

/** The same for a terminal, in its width; ids are as short as they can be typed. */
async function screenTable(
	store: Store,
	tasks: readonly Task[],
	counts: Readonly<Record<Status, number>>,
): Promise<string> {
	const { glanceAt } = await import("../glance.ts");
	const { layTable, shortenIds, summarize } = await import("../table.ts");
	const { terminalSize } = await import("../terminal.ts");
	const shorten = shortenIds(listIds(store));
	const rows = tasks.map((task) => {
		const glance = glanceAt(store, task);
		return { ...glance, short: shorten(task.id) };
	});
	const { head, line } = layTable(rows, terminalSize().columns);
	const colour = wantsColour();
	return [
		colour ? `\u001b[1m${head}\u001b[22m` : head,
		...rows.map((row) => line(row, colour)),
		"",
		summarize(counts),
	].join("\n");
}
