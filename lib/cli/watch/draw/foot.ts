/**
 * The last line of the screen: a line that is typed, a question, the result of an action, or keys; and how much
 * of the list is shown. Pure.
 */
import { colourText } from "../../../print/status.ts";
import { toLine, toPlain } from "../../../print/text.ts";
import { fitText, measureWidth, padText } from "../../../print/width.ts";
import { listHints } from "../bindings.ts";
import { filterHint } from "../filter.ts";
import { locateSelected } from "../move.ts";
import {
	findSelected,
	type InputKind,
	layOut,
	type WatchState,
} from "../state.ts";
import { markOf } from "./columns.ts";
import { bold, type DrawOptions } from "./style.ts";

/** The line, and the column of the cursor while something is typed. */
export type Foot = { line: string; cursor?: number };

export function drawFoot(state: WatchState, options: DrawOptions): Foot {
	const { columns } = state.size;
	const { input, question, note } = state;
	if (input) return drawInput(state, input, options);
	if (question) return { line: bold(fitText(question.text, columns), options) };
	const shown = describeShown(state);
	const space = columns - measureWidth(shown) - gap.length;
	const hasNote = note && note.until > options.now;
	const text = hasNote ? toLine(note.text, 500) : joinFitting(state, space);
	// A long text takes the place of the count.
	const fits = space >= Math.min(measureWidth(text), columns / 2);
	const line =
		fits && shown
			? `${padText(text, space)}${gap}${shown}`
			: fitText(text, columns);
	return {
		line:
			hasNote && note.isFault && options.colour
				? colourText(line, "error")
				: line,
	};
}

// --- internal ---

const gap = "  ";

/** Keys, as many as fit, and what the list hides. */
function joinFitting(state: WatchState, space: number): string {
	const { isWhole, filter, help } = state;
	if (help !== undefined) return "";
	if (isWhole) return ["↑↓ scroll", "/ search", "? keys", "q back"].join(gap);
	const row = findSelected(state);
	const place = locateSelected(state);
	const hints = [
		...(filter ? [`filter: ${toLine(filter, 60)} (Esc clears it)`] : []),
		...(row && place !== "shown"
			? [`selected: ${row.short} ${markOf(row)} ${row.status}, ${place}`]
			: []),
		...listHints(state),
	];
	let text = "";
	for (const hint of hints) {
		const longer = text ? `${text}${gap}${hint}` : hint;
		if (text && measureWidth(longer) > space) break;
		text = longer;
	}
	return text;
}

/** How many tasks the list shows: `showing 18 of 200`. */
function describeShown(state: WatchState): string {
	const { rows, shown, top, isWhole, help } = state;
	if (rows.length === 0 || isWhole || help !== undefined) return "";
	const seen = Math.min(layOut(state).list.height, shown.length - top);
	const all = shown.length < rows.length ? ` (${rows.length} in all)` : "";
	return `showing ${seen} of ${shown.length}${all}`;
}

const prompts: Record<InputKind, (id: string) => string> = {
	filter: () => "filter: ",
	search: () => "search: ",
	resume: (id) => `prompt for ${id}: `,
	send: (id) => `message to ${id}: `,
};

/** A line that is typed; if it does not fit, the part before the cursor. */
function drawInput(
	state: WatchState,
	{ kind, line, id }: NonNullable<WatchState["input"]>,
	options: DrawOptions,
): Required<Foot> {
	const { columns } = state.size;
	const { short = id } = state.rows.find((row) => row.id === id) ?? {};
	const label = fitText(prompts[kind](short), Math.max(1, columns - 10));
	const space = Math.max(1, columns - measureWidth(label) - 1);
	const before = takeEnd(toOneLine(line.before), space);
	const after = fitText(toOneLine(line.after), space - measureWidth(before));
	const isEmpty = !before && !after;
	const hint = isEmpty && kind === "filter" ? fitText(filterHint, space) : "";
	return {
		line: bold(label, options) + before + after + hint,
		cursor: measureWidth(label) + measureWidth(before),
	};
}

const toOneLine = (text: string) =>
	toPlain(text.replaceAll("\n", "↵").replaceAll("\t", " "));

/** The longest end of a text that fits a width. */
function takeEnd(text: string, width: number): string {
	let end = text;
	while (measureWidth(end) > width) {
		const excess = Math.ceil((measureWidth(end) - width) / 2);
		// Not half of a surrogate pair.
		end = end.slice(excess).replace(/^[\udc00-\udfff]/, "");
	}
	return end;
}
