/**
 * All that is known of one task, as a card a person reads: what it is and how it stands first, then
 * what there is to say, wrapped to the width of the terminal. Pure.
 */

import type { Task } from "../task/schema.ts";
import { colourText, statusMark } from "./status.ts";
import { describeProgress } from "./task-row.ts";
import { toLine, toPlain } from "./text.ts";
import { describeUsage, formatTaskAge } from "./units.ts";
import { fitText, wrapText } from "./width.ts";

export type DetailsOptions = {
	/** What a person should know beside the record. */
	note?: string | undefined;
	/** The file it writes to. */
	output: string;
	/** In columns. */
	width: number;
	colour: boolean;
};

/** A field of many lines shows so many of them. */
const maxFieldLines = 12;

/** Draws a task as lines, none of them wider than `width`. */
export function renderTaskDetails(
	task: Task,
	options: DetailsOptions,
): string[] {
	const { note, output, width, colour } = options;
	const { status, progress, usage } = task;
	const statusText = `${statusMark(status)} ${status}`;
	const fields: Record<string, string | undefined> = {
		id: task.id,
		why: task.error,
		note,
		age: formatTaskAge(task),
		droid: task.agent,
		model: task.model,
		command: task.kind === "command" ? task.command?.join(" ") : undefined,
		folder: task.cwd,
		tags: task.tags?.join(", "),
		after: task.after?.join(", "),
		prompt: task.prompt,
		progress: describeProgress(task).join(", last "),
		said:
			progress?.lastMessage === task.result ? undefined : progress?.lastMessage,
		usage: usage && describeUsage(usage),
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

/** The first lines of a text; a last one says where there are more. */
function wrapField(text: string, width: number): string[] {
	const lines = toPlain(text.slice(0, 16_384))
		.trim()
		.split("\n")
		.slice(0, maxFieldLines + 1)
		.flatMap((line) => wrapText(line.replaceAll("\t", "  "), width));
	return lines.length > maxFieldLines
		? [...lines.slice(0, maxFieldLines - 1), "… (--full --json: all of it)"]
		: lines;
}
