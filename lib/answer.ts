/**
 * How a verb answers: JSON where a program reads, text where a person does. Shared flags, and the
 * one place that decides between the two.
 */
import type { Store } from "./names.ts";
import { discardNotice } from "./notices.ts";
import {
	formatAge,
	isDumbTerminal,
	isTerminal,
	toJson,
	toLine,
	writeAll,
} from "./print.ts";
import { checkSupervision, describeSupervision } from "./prune.ts";
import { isFinal, type Status, type Task } from "./task.ts";

export const formatFlags = {
	json: {
		type: "boolean",
		description: "answer as JSON (what a pipe gets)",
	},
	text: {
		type: "boolean",
		description: "answer as text (what a terminal gets)",
	},
} as const;

export type FormatArguments = {
	json?: boolean | undefined;
	text?: boolean | undefined;
};

export function isJsonWanted({ json, text }: FormatArguments): boolean {
	return json || (!text && !isTerminal(1));
}

/**
 * Prints an answer in the form that is wanted.
 * @returns false where nobody reads it any more.
 */
export function reply(
	format: FormatArguments,
	json: unknown,
	text: () => string,
): boolean {
	return writeAll(1, `${isJsonWanted(format) ? toJson(json) : text()}\n`);
}

/** Prints a line for a person, where no answer goes. */
export function warn(line: string): void {
	writeAll(2, `bg: ${toLine(line, 2000)}\n`);
}

/** A mark and one of the 16 colours a theme sets: those that can be read on black and on white. */
const statusMarks = {
	queued: ["·", 39],
	running: ["▶", 36],
	completed: ["✔", 32],
	error: ["✖", 31],
	cancelled: ["◼", 35],
} as const satisfies Record<Status, readonly [string, number]>;

/** The mark of a status alone. */
export const statusMark = (status: Status) => statusMarks[status][0];

/** Text in the colour of a status. */
export const colourText = (text: string, status: Status) =>
	`\u001b[${statusMarks[status][1]}m${text}\u001b[39m`;

/** Whether a terminal wants colours (no-color.org). */
export const isColourWanted = (env = process.env) =>
	!env.NO_COLOR && !isDumbTerminal(env) && isTerminal(1);

/** A status with its mark, coloured where the terminal wants colours. */
export function formatStatus(status: Status, env = process.env): string {
	const word = `${statusMark(status)} ${status}`;
	return isColourWanted(env) ? colourText(word, status) : word;
}

/** A line on stderr that says how far something is, where a terminal can show it. */
export async function openProgressLine() {
	if (isDumbTerminal() || !isTerminal(2)) return undefined;
	const { openStatusLine } = await import("./terminal.ts");
	return openStatusLine();
}

/** How long a task took, or has taken so far. */
export function formatTaskAge(task: Task, now = Date.now()): string {
	const from = Date.parse(task.started_at ?? task.queued_at ?? "");
	const to = task.completed_at ? Date.parse(task.completed_at) : now;
	return Number.isNaN(to - from) ? "?" : formatAge(to - from);
}

/** Its session has seen this end by itself, and need not be told of it: once that is printed. */
export function dismissNotice(
	store: Store,
	{ id, status }: Pick<Task, "id" | "status">,
): void {
	if (!isFinal({ status })) return;
	try {
		discardNotice(store, process.env.BG_SESSION_ID, id);
	} catch {
		// A store that cannot be written: then it is told once more.
	}
}

/** What a person should know of a task beside its record; undefined where there is nothing. */
export const describeNote = (task: Task) =>
	describeSupervision(task, checkSupervision(task)) ??
	(task.paused_at && !isFinal(task) ? "paused" : undefined);
