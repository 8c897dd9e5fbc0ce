/** The mark and the colour of each status. */
import type { Status } from "../task/schema.ts";
import { isDumbTerminal, isTerminal } from "./text.ts";

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
