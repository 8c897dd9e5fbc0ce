/**
 * The view of `bg watch`: how keys and polls change it, and how it is drawn in lines that fit the screen.
 * Pure: the verb reads tasks, cancels them and writes to the terminal.
 */

import { layOutTable, summarizeCounts } from "../../print/table.ts";
import type { TaskRow } from "../../print/task-row.ts";
import type { TerminalSize } from "../../print/terminal.ts";
import { toPlain } from "../../print/text.ts";
import { fitText, padText, wrapText } from "../../print/width.ts";
import type { Status } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";

export type WatchView = {
	/** Newest first, with full ids. */
	rows: readonly TaskRow[];
	/** What is in force in the queue, in one line. */
	queue: string;
	/** The id of the selected row; undefined if there is no row. */
	selected: string | undefined;
	mode: "list" | "output" | "confirm";
	/** The output of the followed task. */
	output: string;
	/** The lines between the end of the output and the bottom of the screen. */
	back: number;
	/** The result of the last action. */
	note: string;
};

export const emptyView: WatchView = {
	rows: [],
	queue: "",
	selected: undefined,
	mode: "list",
	output: "",
	back: 0,
	note: "",
};

/** An action that a key requests. */
export type WatchAction =
	| { do: "quit" | "suspend" }
	| { do: "cancel"; id: string };

const escapeCharacter = "\u001b";
const keyPattern = new RegExp(
	`${escapeCharacter}(?:\\[[\\d;]*[A-Za-z~]|O[A-Za-z])|[\\s\\S]`,
	"g",
);

/** Splits typed text into keys: characters, and escape sequences of keys like arrows. */
export const splitKeys = (text: string): string[] =>
	text.match(keyPattern) ?? [];

/** Keys that move, and the rows or lines they move by. */
const keyMoves: Record<string, number> = {
	j: 1,
	"\u001b[B": 1,
	"\u001bOB": 1,
	k: -1,
	"\u001b[A": -1,
	"\u001bOA": -1,
	" ": 10,
	"\u001b[6~": 10,
	"\u001b[5~": -10,
	g: Number.NEGATIVE_INFINITY,
	"\u001b[H": Number.NEGATIVE_INFINITY,
	G: Number.POSITIVE_INFINITY,
	"\u001b[F": Number.POSITIVE_INFINITY,
};

/** The view after a key. */
export function pressKey(
	view: WatchView,
	key: string,
	size: TerminalSize,
): { view: WatchView; act?: WatchAction } {
	if (key === "\u0003") return { view, act: { do: "quit" } };
	if (key === "\u001a") return { view, act: { do: "suspend" } };
	const { mode, selected } = view;
	if (mode === "confirm") {
		const list = toList(view);
		if (key !== "y" || !selected) return { view: list };
		return { view: list, act: { do: "cancel", id: selected } };
	}
	const move = keyMoves[key];
	if (mode === "output") {
		if (move !== undefined) {
			const most = wrapOutput(view.output, size).length - measureBody(size);
			const back = Math.max(0, Math.min(view.back - move, most));
			return { view: { ...view, back } };
		}
		const leaves = ["q", "\u001b", "o", "\r", "\u001b[D", "\u007f"];
		return { view: leaves.includes(key) ? toList(view) : view };
	}
	if (key === "q") return { view, act: { do: "quit" } };
	const clean: WatchView = { ...view, note: "" };
	if (move !== undefined) return { view: moveSelection(clean, move) };
	const row = view.rows.find(({ id }) => id === selected);
	if (!row) return { view: clean };
	if (["o", "\r", "\u001b[C"].includes(key))
		return { view: { ...clean, mode: "output" } };
	if (key !== "c") return { view: clean };
	return isFinal(row)
		? { view: { ...clean, note: "the task has already ended" } }
		: { view: { ...clean, mode: "confirm" } };
}

/** The view with new rows. The selected task stays selected; if it is gone, the row at its index is. */
export function showRows(
	view: WatchView,
	rows: readonly TaskRow[],
	queue = "",
): WatchView {
	const { selected } = view;
	const next = { ...view, rows, queue };
	if (rows.some(({ id }) => id === selected)) return next;
	const at = view.rows.findIndex(({ id }) => id === selected);
	const { id } = rows[Math.min(Math.max(0, at), rows.length - 1)] ?? {};
	return toList({ ...next, selected: id });
}

export type DrawOptions = TerminalSize & { colour: boolean };

/** Draws a view as lines that fit the rows and columns of the screen. */
export function drawView(view: WatchView, options: DrawOptions): string[] {
	const { columns, rows } = options;
	const [head, body, foot] =
		view.mode === "output"
			? drawOutput(view, options)
			: drawList(view, options);
	const bold = (line: string) =>
		options.colour ? `\u001b[1m${line}\u001b[22m` : line;
	const space = Math.max(0, rows - head.length - 1);
	const blank = Array<string>(Math.max(0, space - body.length)).fill("");
	return [
		...head.map((line) => bold(fitText(line, columns))),
		...body.slice(0, space),
		...blank,
		fitText(foot, columns),
	].slice(-rows);
}

// --- internal ---

const toList = (view: WatchView): WatchView => ({
	...view,
	mode: "list",
	output: "",
	back: 0,
});

type ViewParts = [head: string[], body: string[], foot: string];

/** The prefix of the selected row, and of the others. */
const gutter = ["› ", "  "] as const;

function drawList(
	view: WatchView,
	{ columns, rows, colour }: DrawOptions,
): ViewParts {
	const all = view.rows;
	const counts: Partial<Record<Status, number>> = {};
	for (const { status } of all) counts[status] = (counts[status] ?? 0) + 1;
	const summary = summarizeCounts(counts) || "no task yet";
	const title = `bg watch  ${[summary, view.queue].filter(Boolean).join(" · ")}`;
	const at = all.findIndex(({ id }) => id === view.selected);
	const height = Math.max(1, rows - 3);
	// The selected row stays in the middle if not all rows fit.
	const middle = at - Math.floor(height / 2);
	const from = Math.max(0, Math.min(middle, all.length - height));
	const space = columns - gutter[0].length;
	const seen = all.slice(from, from + height);
	const table = layOutTable(seen, space);
	const body = seen.map((row, index) => {
		const isSelected = from + index === at;
		if (!isSelected) return gutter[1] + table.line(row, colour);
		const line = gutter[0] + padText(table.line(row, false), space);
		return colour ? `\u001b[7m${line}\u001b[27m` : line.trimEnd();
	});
	const selected = all[at];
	const foot =
		view.mode === "confirm" && selected
			? `cancel with everything it started? y/n  ${selected.short} ${selected.description}`
			: view.note || "↑↓ select  ⏎ output  c cancel  q quit";
	return [[title, gutter[1] + table.head], body, foot];
}

function drawOutput(view: WatchView, size: TerminalSize): ViewParts {
	const row = view.rows.find(({ id }) => id === view.selected);
	const title = row
		? `${row.id}  ${row.status} ${row.age}  ${row.description}`
		: "";
	const lines = wrapOutput(view.output, size);
	const end = Math.max(0, lines.length - view.back);
	const body = lines.slice(Math.max(0, end - measureBody(size)), end);
	const toEnd = view.back ? "  G to the end" : "";
	return [[title], body, `↑↓ scroll${toEnd}  q back`];
}

/** The lines of an output that fit. */
const measureBody = ({ rows }: TerminalSize) => Math.max(1, rows - 2);

/** An output wrapped to the width of the screen. */
const wrapOutput = (output: string, { columns }: TerminalSize): string[] =>
	toPlain(output)
		.trimEnd()
		.split("\n")
		.flatMap((line) =>
			wrapText(line.replaceAll("\t", "    "), Math.max(2, columns)),
		);

function moveSelection(view: WatchView, move: number): WatchView {
	const { rows, selected } = view;
	const at = rows.findIndex(({ id }) => id === selected);
	const next = Math.max(0, Math.min(at + move, rows.length - 1));
	return { ...view, selected: rows[next]?.id };
}
