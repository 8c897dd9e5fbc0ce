/** How the selection, the window of the list and the page of the output move. Pure. */
import { toLine } from "../../print/text.ts";
import { isFinal } from "../../task/states.ts";
import { filterRows } from "./filter.ts";
import { findLine, findTopLine, scrollPage } from "./output.ts";
import { layOut, type WatchRow, type WatchState } from "./state.ts";

/** How long the result of an action is shown, in ms. */
const noteMs = 8000;

/** The state with a sentence in its last line. */
export const say = (
	state: WatchState,
	text: string,
	now: number,
	isFault = false,
): WatchState => ({ ...state, note: { text, isFault, until: now + noteMs } });

// --- the list ---

/**
 * The state with other rows or another filter. The selected task stays selected; if it is gone, the task at its index
 * is. The window keeps showing it if others are added or leave, and stays where it is if the task itself starts or ends.
 */
export function showRows(before: WatchState, after: WatchState): WatchState {
	const { selected, top } = before;
	const shown = filterRows(after.rows, after.filter);
	const at = indexOf(before.shown, selected);
	const next = { ...after, shown };
	const found = shown[indexOf(shown, selected)];
	if (!found) {
		const near = shown[Math.min(Math.max(0, at), shown.length - 1)];
		return keepVisible(select(next, near?.id));
	}
	const wasVisible = at >= top && at < top + layOut(before).list.height;
	const isMoved = sectionOf(before.shown[at]) === sectionOf(found);
	const isKept = at < 0 || after.filter !== before.filter;
	return isKept || (wasVisible && isMoved) ? keepVisible(next) : clampTop(next);
}

export const setFilter = (state: WatchState, filter: string): WatchState =>
	showRows(state, { ...state, filter });

/** Whether the selected task is in the window of the list, above it, or below it. */
export function locateSelected(state: WatchState): "shown" | "above" | "below" {
	const at = indexOf(state.shown, state.selected);
	if (at >= 0 && at < state.top) return "above";
	return at >= state.top + layOut(state).list.height ? "below" : "shown";
}

/** Moves the window of the list as little as necessary to show the selected task. */
export function keepVisible(state: WatchState): WatchState {
	const { height } = layOut(state).list;
	const at = Math.max(0, indexOf(state.shown, state.selected));
	const top = Math.max(at - height + 1, Math.min(state.top, at));
	return clampTop({ ...state, top });
}

// --- the output ---

/** Moves the output by rows. */
export function scrollOutput(state: WatchState, by: number): WatchState {
	const { output, anchor } = state;
	const { pane } = layOut(state);
	if (!output || !pane) return state;
	return { ...state, anchor: scrollPage(output, anchor, pane, by) };
}

/**
 * Moves the output to a line that has the searched text: the next one in a direction, or with `isNew` the first one
 * from the top of the page on.
 */
export function findMatch(
	state: WatchState,
	{ step, now, isNew = false }: { step: 1 | -1; now: number; isNew?: boolean },
): WatchState {
	const { output, anchor, search } = state;
	const { pane } = layOut(state);
	if (!output || !pane) return state;
	if (!search)
		return say(state, "nothing was searched: / searches the output", now, true);
	const top = findTopLine(output, anchor, pane);
	const from = isNew ? top : top + step;
	const line = findLine(output, search, { from, step });
	if (line === undefined)
		return say(state, `not found: ${toLine(search)}`, now, true);
	return { ...state, note: undefined, anchor: { line, row: 0 } };
}

/** Whether keys move in the output: it has the whole screen, or the pane has the focus. */
export const isInOutput = (state: WatchState): boolean =>
	state.isWhole ||
	(state.focus === "output" && layOut(state).pane !== undefined);

/** Moves the selection or the output, whichever has the focus. */
export const move = (state: WatchState, by: number): WatchState =>
	isInOutput(state) ? scrollOutput(state, by) : moveSelection(state, by);

export function movePage(state: WatchState, direction: 1 | -1): WatchState {
	const { list, pane = list } = layOut(state);
	const { height } = isInOutput(state) ? pane : list;
	return move(state, direction * Math.max(1, height - 1));
}

// --- internal ---

const indexOf = (rows: readonly WatchRow[], id: string | undefined) =>
	rows.findIndex((row) => row.id === id);

const sectionOf = (row: WatchRow | undefined) =>
	row && (isFinal(row) ? "ended" : row.status);

/** The state with a task selected: its output is followed. */
function select(state: WatchState, selected: string | undefined): WatchState {
	if (selected === state.selected) return state;
	return { ...state, selected, output: undefined, anchor: undefined };
}

function clampTop(state: WatchState): WatchState {
	const { height } = layOut(state).list;
	const top = Math.max(0, Math.min(state.top, state.shown.length - height));
	return { ...state, top };
}

function moveSelection(state: WatchState, by: number): WatchState {
	const { shown, selected } = state;
	const at = indexOf(shown, selected);
	const next = Math.max(0, Math.min(at + by, shown.length - 1));
	return keepVisible(select(state, shown[next]?.id));
}
