/**
 * The details of one task for a person: a title with its status, then its fields, wrapped to the width
 * of the terminal. Pure.
 */
import type { Task } from "../task/schema.ts";
import { colourText, statusMark } from "./status.ts";
import { describeProgress } from "./task-row.ts";
import { toLine, toPlain } from "./text.ts";
import { describeUsage, formatTaskAge, formatTokens } from "./units.ts";
import { fitText, wrapText } from "./width.ts";

export type DetailsOptions = {
	/** A note that is not in the record. */
	note?: string | undefined;
	/** Why it waits to start; also not in the record. */
	waitsFor?: string | undefined;
	/** What became of the messages to it, and what it told its parent. */
	messages?: string;
	notes?: string;
	/** What it changed in its worktree. */
	changes?: string | undefined;
	/** The path of its output. */
	output: string;
	/** In columns. */
	width: number;
	colour: boolean;
};

/** The most lines of a field that are shown. */
const maxFieldLines = 12;

/** The most characters of a field that are read. */
const maxFieldLength = 16 * 1024;

/** Renders a task as lines of at most `width` columns. */
export function renderTaskDetails(task: Task, options: DetailsOptions) {
	const { note, waitsFor, messages, notes, changes } = options;
	const { output, width, colour } = options;
	const { status, usage, max_tokens } = task;
	const message = task.progress?.lastMessage;
	const statusText = `${statusMark(status)} ${status}`;
	const fields: Record<string, string | undefined> = {
		id: task.id,
		why: task.error,
		note,
		waits: waitsFor === note ? undefined : waitsFor,
		age: formatTaskAge(task),
		droid: task.agent,
		model: task.model,
		command: task.kind === "command" ? task.command?.join(" ") : undefined,
		engine: describeEngine(task),
		folder: task.cwd,
		worktree: task.worktree_dir,
		changes: changes && `${changes} (bg diff ${task.id})`,
		tags: task.tags?.join(", "),
		after: task.after?.join(", "),
		prompt: task.prompt,
		progress: describeProgress(task).join(", last "),
		message: message === task.result ? undefined : message,
		messages,
		notes,
		usage: [
			usage && describeUsage(usage),
			max_tokens && `at most ${formatTokens(max_tokens)} tokens`,
		]
			.filter((part) => part)
			.join("; "),
		result: task.result,
		"left behind": task.left_behind
			?.map(({ pid, command }) => `${pid} ${command}`)
			.join("; "),
		session: task.droid_session_id,
		output,
	};
	const shown = Object.entries(fields).filter(([, value]) => value);
	const indent = Math.max(...shown.map(([name]) => name.length)) + 2;
	const valueWidth = Math.max(8, width - indent);
	const title = fitText(`${statusText}  ${toLine(task.description)}`, width);
	return [
		colour
			? title.replace(statusText, (word) => colourText(word, status))
			: title,
		...shown.flatMap(([name, value = ""]) =>
			wrapField(value, valueWidth).map((line, at) =>
				fitText((at === 0 ? name : "").padEnd(indent) + line, width),
			),
		),
	];
}

// --- internal ---

/** Where its supervisor runs or ran, as it is recorded, with the user's arguments. */
function describeEngine({ engine }: Task): string | undefined {
	if (!engine) return undefined;
	const { name, job, node, args = [] } = engine;
	const where = [name, job, node && `on ${node}`].filter((part) => part);
	const given = args.length ? `; ${args.join(" ")}` : "";
	return where.join(" ") + given;
}

/** Wraps the first lines of a text. If there are more, the last line says how to see them. */
function wrapField(text: string, width: number): string[] {
	const lines = toPlain(text.slice(0, maxFieldLength))
		.trim()
		.split("\n")
		.slice(0, maxFieldLines + 1)
		.flatMap((line) => wrapText(line.replaceAll("\t", "  "), width));
	return lines.length > maxFieldLines
		? [...lines.slice(0, maxFieldLines - 1), "… (--full --json: all of it)"]
		: lines;
}
