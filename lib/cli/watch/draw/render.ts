/** Draws the state of `bg watch` as lines that fit the screen. Pure. */
import { summarizeCounts } from "../../../print/table.ts";
import type { Frame } from "../../../print/terminal.ts";
import { fitText, measureWidth, padText } from "../../../print/width.ts";
import type { PageSize } from "../output.ts";
import { gapWidth, layOut, type WatchState } from "../state.ts";
import { layOutRows } from "./columns.ts";
import { drawFoot } from "./foot.ts";
import { drawHelp } from "./help.ts";
import { drawPane } from "./pane.ts";
import { bold, type DrawOptions, invert } from "./style.ts";

/** Draws as many lines as the screen has rows, none wider than the screen. */
export function render(state: WatchState, options: DrawOptions): Frame {
	const { columns, rows } = state.size;
	const { line, cursor } = drawFoot(state, options);
	const body = drawBody(state, options).map((each) => each.trimEnd());
	const lines = body.slice(0, Math.max(0, rows - 1));
	while (lines.length < rows - 1) lines.push("");
	lines.push(line);
	if (cursor === undefined) return { lines };
	const column = Math.min(cursor, columns - 1);
	return { lines, cursor: { row: rows - 1, column } };
}

// --- internal ---

/** The mark of the selected row, and of the others. */
const gutter = ["› ", "  "] as const;

/** All above the last line. */
function drawBody(state: WatchState, options: DrawOptions): string[] {
	const { columns } = state.size;
	if (state.help !== undefined) return drawHelp(state, options);
	const { list, pane } = layOut(state);
	const drawn = pane && drawPane(state, pane, options);
	if (drawn && pane.place === "whole")
		return [bold(fitText(drawn.title, columns), options), ...drawn.rows];
	const head = bold(fitText(describeHead(state), columns), options);
	const table = drawList(state, list, options);
	if (!drawn) return [head, ...table];
	const isFocused = state.focus === "output";
	if (pane.place === "below") {
		const rule = drawRule(drawn.title, columns);
		const title = isFocused ? invert(rule, options) : rule;
		return [head, ...table, title, ...drawn.rows];
	}
	const title = padText(drawn.title, pane.width);
	const beside = [
		isFocused ? invert(title, options) : bold(title, options),
		...drawn.rows,
	];
	const gap = (isFocused ? " ┃ " : " │ ").slice(0, gapWidth);
	return [head, ...table.map((line, at) => `${line}${gap}${beside[at] ?? ""}`)];
}

/** The line on top, with what matters most first. */
function describeHead({ head }: WatchState): string {
	const { counts, isQueuePaused, engine, running, limits, usage } = head;
	const others = summarizeCounts({ ...counts, running: 0 });
	const parts = [
		isQueuePaused ? "queue paused" : "",
		engine ?? "",
		Object.keys(counts).length ? "" : "no task yet",
		[running, others].filter(Boolean).join(", "),
		limits,
		usage,
	];
	return `bg watch  ${parts.filter(Boolean).join(" · ")}`;
}

/** The titles of the columns and the rows of the list, each as wide as the list. */
function drawList(
	state: WatchState,
	{ width, height }: PageSize,
	options: DrawOptions,
): string[] {
	const { shown, top, selected } = state;
	const { now, colour } = options;
	const { head, line } = layOutRows(shown, width - gutter[0].length);
	const lines = shown.slice(top, top + height).map((row) => {
		if (row.id === selected || width < gutter[0].length)
			return invert(padText(gutter[0] + line(row, now, false), width), options);
		return gutter[1] + line(row, now, colour);
	});
	while (lines.length < height) lines.push(" ".repeat(width));
	return [padText(gutter[1] + head, width), ...lines];
}

/** A line across the screen with a title. */
function drawRule(title: string, width: number): string {
	const text = fitText(`── ${title} `, width);
	return text + "─".repeat(Math.max(0, width - measureWidth(text)));
}
