/** The status of a task in a terminal: its mark and its colour. */
import type { Status } from "../task/schema.ts";
import { isDumbTerminal, isTerminal } from "./text.ts";

/** The mark and the colour of each status. The colours are readable on black and on white. */
const statusMarks = {
	queued: ["·", 39],
	running: ["▶", 36],
	completed: ["✔", 32],
	error: ["✖", 31],
	cancelled: ["◼", 35],
} as const satisfies Record<Status, readonly [string, number]>;

/** The mark of a status. */
export const statusMark = (status: Status) => statusMarks[status][0];

/** Formats text in the colour of a status. */
export const colourText = (text: string, status: Status) =>
	`\u001b[${statusMarks[status][1]}m${text}\u001b[39m`;

/** Whether stdout is a terminal with colours, and NO_COLOR is not set (no-color.org). */
export const isColourWanted = (env = process.env) =>
	!env.NO_COLOR && !isDumbTerminal(env) && isTerminal(1);

/** Formats a status with its mark, in colour if isColourWanted. */
export function formatStatus(status: Status, env = process.env): string {
	const word = `${statusMark(status)} ${status}`;
	return isColourWanted(env) ? colourText(word, status) : word;
}
