/** The output of the selected task, with a title. Pure. */
import { toLine } from "../../../print/text.ts";
import { formatAge } from "../../../print/units.ts";
import { fitText } from "../../../print/width.ts";
import { isFinal } from "../../../task/states.ts";
import {
	countMatches,
	findTopLine,
	layOutPage,
	type PageSize,
	splitMatches,
} from "../output.ts";
import { findSelected, type WatchRow, type WatchState } from "../state.ts";
import { formatTime, markOf } from "./columns.ts";
import { type DrawOptions, invert } from "./style.ts";

/** Draws at most as many rows as the page has. */
export function drawPane(
	state: WatchState,
	size: PageSize,
	options: DrawOptions,
): { title: string; rows: string[] } {
	const row = findSelected(state);
	if (!row) return { title: "", rows: [] };
	const { output, search, anchor } = state;
	const task = describeTask(row, state.changes, options.now);
	if (!output) return { title: task, rows: [] };
	const page = layOutPage(output, anchor, size);
	const title = [...describePlace(state, page.below, size), task].join(" · ");
	const rows = page.rows.map((each) => highlight(each, search, options));
	if (page.above === 0 && output.isCut && rows.length === size.height)
		rows[0] = fitText("[… earlier output: o shows all]", size.width);
	return { title, rows };
}

// --- internal ---

/** What is said of a page that stands still. */
function describePlace(
	{ output, anchor, search }: WatchState,
	below: number,
	size: PageSize,
): string[] {
	if (!output || !anchor) return [];
	const more = output.isUnread ? "more" : below ? `${below} more` : "";
	const place = more ? `${more} below, G follows` : "stands still, G follows";
	if (!search) return [place];
	const top = findTopLine(output, anchor, size);
	const { count, index } = countMatches(output, search, top);
	return count ? [place, `match ${index} of ${count}`] : [place];
}

/** A task in one line. The description is last, because it may be long. */
function describeTask(row: WatchRow, changes: string, now: number): string {
	const { short, description, status, isPaused, droid, startedAt, endedAt } =
		row;
	const hasTimes = startedAt !== undefined && endedAt !== undefined;
	const took =
		isFinal(row) && hasTimes ? `, took ${formatAge(endedAt - startedAt)}` : "";
	const word = isPaused ? "paused" : status;
	const state = `${markOf(row)} ${word} ${formatTime(row, now)}${took}`;
	return [`${short} ${state}`, droid, toLine(changes), description]
		.filter(Boolean)
		.join(" · ");
}

/** Marks what was searched. */
const highlight = (row: string, search: string, options: DrawOptions) =>
	options.colour
		? splitMatches(row, search)
				.map((part, at) => (at % 2 ? invert(part, options) : part))
				.join("")
		: row;
