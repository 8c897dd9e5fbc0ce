/**
 * How a verb replies: JSON in a pipe, text in a terminal; shared flags; and replies that do not flood a
 * reader's context. A short record stays as it is; of a long one the longest texts and lists are cut
 * until it fits. Keys stay, a cut text ends in `…`, and the reply names the command that shows all.
 */
import {
	formatProgramCall,
	isDumbTerminal,
	isTerminal,
	toJson,
	toLine,
	writeAll,
} from "../print/text.ts";
import { discardNotice } from "../store/notices.ts";
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

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

/** A line on stderr that says how far something is, where a terminal can show it. */
export async function openProgressLine() {
	if (isDumbTerminal() || !isTerminal(2)) return undefined;
	const { openStatusLine } = await import("../print/terminal.ts");
	return openStatusLine();
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

/** The most that a verb says of one task by itself, in characters of JSON. */
export const maxReplyLength = 2000;

/** Below this a word may be an id or a time: those are never cut. */
const minTextLength = 64;

/** A record that fits; `rest` are the words that show all of it: `status bg_… --full`. */
export const truncateRecord = <T extends object>(
	record: T,
	command: string,
): T =>
	toJson(record).length <= maxReplyLength
		? record
		: truncateToFit(record, command);

/** The same as JSON. */
export function truncateToJson(record: object, command: string): string {
	const json = toJson(record);
	return json.length <= maxReplyLength
		? json
		: toJson(truncateToFit(record, command));
}

// --- internal ---

function truncateToFit<T extends object>(record: T, command: string): T {
	const cutTo = (length: number) => ({
		...(truncateValue(record, length) as T),
		truncated: true,
		more: formatProgramCall(command),
	});
	let [fits, tooLong] = [minTextLength, maxReplyLength];
	while (tooLong - fits > 1) {
		const length = (fits + tooLong) >> 1;
		if (toJson(cutTo(length)).length <= maxReplyLength) fits = length;
		else tooLong = length;
	}
	return cutTo(fits);
}

/** Words of at most so many characters, and of lists as many items as would fit with short words. */
function truncateValue(value: unknown, length: number): unknown {
	if (typeof value === "string") {
		if (value.length <= length) return value;
		// Half a character would be none.
		return `${value.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
	}
	if (Array.isArray(value))
		return value
			.slice(0, Math.ceil(length / minTextLength))
			.map((each) => truncateValue(each, length));
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value).map(([key, each]) => [
			key,
			truncateValue(each, length),
		]),
	);
}
