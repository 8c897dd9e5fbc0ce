/**
 * How a verb answers: JSON where a program reads, text where a person does. Shared flags, and the
 * one place that decides between the two.
 */
import { BgError } from "./error.ts";
import type { Store } from "./names.ts";
import { dropNotice } from "./notices.ts";
import { formatAge, isTerminal, toJson, toLine, writeAll } from "./print.ts";
import { describeStanding, standingOf } from "./prune.ts";
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

export function wantsJson({ json, text }: FormatArguments): boolean {
	if (json && text)
		throw new BgError("usage", "--json and --text do not go together");
	return json || (!text && !isTerminal(1));
}

/** Prints an answer in the form that is wanted. */
export function answer(
	format: FormatArguments,
	json: unknown,
	text: () => string,
): void {
	writeAll(1, `${wantsJson(format) ? toJson(json) : text()}\n`);
}

/** Prints a line for a person, where no answer goes. */
export function remark(line: string): void {
	writeAll(2, `bg: ${toLine(line, 2000)}\n`);
}

const marks = {
	queued: ["·", 90],
	running: ["▶", 36],
	completed: ["✔", 32],
	error: ["✖", 31],
	cancelled: ["◼", 33],
} as const satisfies Record<Status, readonly [string, number]>;

/** A status with its mark, coloured where the terminal wants colours (no-color.org). */
export function paintStatus(status: Status, env = process.env): string {
	const [mark, colour] = marks[status];
	const word = `${mark} ${status}`;
	const plain = env.NO_COLOR || env.TERM === "dumb" || !isTerminal(1);
	return plain ? word : `\u001b[${colour}m${word}\u001b[39m`;
}

/** How long a task took, or has taken so far. */
export function ageOf(task: Task, now = Date.now()): string {
	const from = Date.parse(task.started_at ?? task.queued_at ?? "");
	const to = task.completed_at ? Date.parse(task.completed_at) : now;
	return Number.isNaN(to - from) ? "?" : formatAge(to - from);
}

/** Its session has seen this end by itself, and need not be told of it. */
export function markCollected(
	store: Store,
	{ id, status }: Pick<Task, "id" | "status">,
): void {
	if (!isFinal({ status })) return;
	try {
		dropNotice(store, process.env.BG_SESSION_ID, id);
	} catch {
		// A store that cannot be written: then it is told once more.
	}
}

/** What a person should know of a task beside its record; undefined where there is nothing. */
export const noteOf = (task: Task) =>
	describeStanding(task, standingOf(task)) ??
	(task.paused_at && !isFinal(task) ? "paused" : undefined);
