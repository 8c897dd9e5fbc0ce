/**
 * Answers that do not flood a reader's context: what is short stays as it is, of what is long the
 * longest words and lists are cut, until all of it fits. Keys stay, a cut word ends in `…`, and the
 * answer names the command that shows the rest.
 */
import { toJson, toLine } from "./print.ts";
import { programCommand } from "./self.ts";

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

/** What to type to see the rest of a task's words. */
export const formatProgramCall = (command: string) =>
	`${toLine(programCommand())} ${command}`;

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
