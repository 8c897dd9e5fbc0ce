/**
 * Answers that do not flood a reader's context: what is short stays as it is, of what is long the
 * longest words and lists are cut, until all of it fits. Keys stay, a cut word ends in `…`, and the
 * answer names the command that shows the rest.
 */
import { toJson, toLine } from "./print.ts";
import { typedCommand } from "./self.ts";

/** The most that a verb says of one task by itself, in characters of JSON. */
export const maxBrief = 2000;

/** Below this a word may be an id or a time: those are never cut. */
const shortest = 64;

/** A record that fits; `rest` are the words that show all of it: `status bg_… --full`. */
export const brief = <T extends object>(record: T, rest: string): T =>
	toJson(record).length <= maxBrief ? record : cutToFit(record, rest);

/** The same as JSON. */
export function briefJson(record: object, rest: string): string {
	const json = toJson(record);
	return json.length <= maxBrief ? json : toJson(cutToFit(record, rest));
}

/** What to type to see the rest of a task's words. */
export const callFor = (rest: string) => `${toLine(typedCommand())} ${rest}`;

// --- internal ---

function cutToFit<T extends object>(record: T, rest: string): T {
	const cutTo = (length: number) => ({
		...(cut(record, length) as T),
		truncated: true,
		more: callFor(rest),
	});
	let [fits, tooLong] = [shortest, maxBrief];
	while (tooLong - fits > 1) {
		const length = (fits + tooLong) >> 1;
		if (toJson(cutTo(length)).length <= maxBrief) fits = length;
		else tooLong = length;
	}
	return cutTo(fits);
}

/** Words of at most so many characters, and of lists as many items as would fit with short words. */
function cut(value: unknown, length: number): unknown {
	if (typeof value === "string") {
		if (value.length <= length) return value;
		// Half a character would be none.
		return `${value.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
	}
	if (Array.isArray(value))
		return value
			.slice(0, Math.ceil(length / shortest))
			.map((each) => cut(each, length));
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value).map(([key, each]) => [key, cut(each, length)]),
	);
}
