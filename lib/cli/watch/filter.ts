/**
 * The filter of the list: `status:running tag:nightly words`. All parts must match; a part with commas
 * matches any of its values. A word is searched in all that the list shows of a task. Pure.
 */
import type { WatchRow } from "./state.ts";

/** The fields that can be named, and whether a task has a value (in lower case). */
const fields = {
	status: ({ status, isPaused }, value) =>
		status.startsWith(value) || (isPaused && "paused".startsWith(value)),
	tag: ({ tags }, value) => tags.some((tag) => includes(tag, value)),
	session: ({ session }, value) => includes(session, value),
	droid: ({ droid }, value) => includes(droid, value),
} as const satisfies Record<string, (row: WatchRow, value: string) => boolean>;

/** How a filter is typed. */
export const filterHint = `words, ${Object.keys(fields)
	.map((name) => `${name}:…`)
	.join(" ")}`;

/** The rows that match a filter, in their order. */
export function filterRows(
	rows: readonly WatchRow[],
	filter: string,
): readonly WatchRow[] {
	const tests = filter.match(/(?:"[^"]*"?|[^\s"])+/g)?.map(toTest) ?? [];
	if (tests.length === 0) return rows;
	return rows.filter((row) => tests.every((test) => test(row)));
}

// --- internal ---

const includes = (text: string, part: string) =>
	text.toLowerCase().includes(part);

/** The test for one part of a filter. */
function toTest(part: string): (row: WatchRow) => boolean {
	const [, name = "", given = ""] = /^(\w+):(.*)$/s.exec(part) ?? [];
	const unquote = (text: string) => text.replaceAll('"', "").toLowerCase();
	if (Object.hasOwn(fields, name)) {
		const values = given.split(",").map(unquote);
		const test = fields[name as keyof typeof fields];
		return (row) => values.some((value) => test(row, value));
	}
	const word = unquote(part);
	return ({ id, description, doing, droid, model, tags }) =>
		[id, description, doing, droid, model, ...tags].some((text) =>
			includes(text, word),
		);
}
