/**
 * What `bg watch` shows, and what a key makes of it. Pure: keys and looks go in, a view comes out,
 * and a view is drawn as lines that fit the screen. Who acts, reads and writes is the command.
 */

import { layOutTable, summarizeCounts } from "../print/table.ts";
import type { TaskRow } from "../print/task-row.ts";
import type { TerminalSize } from "../print/terminal.ts";
import { toPlain } from "../print/text.ts";
import { fitText, padText, wrapText } from "../print/width.ts";
import { type Status, statuses } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

export type WatchView = {
	/** Newest first, with their whole ids. */
	rows: readonly TaskRow[];
	/** The id of the row that is selected; none where there is no row. */
	selected: string | undefined;
	mode: "list" | "output" | "confirm";
	/** What the task that is followed wrote. */
	output: string;
	/** How many lines its end is away from the bottom of the screen. */
	back: number;
	/** What there is to say of the last thing that was done. */
	note: string;
};

export const emptyView: WatchView = {
	rows: [],
	selected: undefined,
	mode: "list",
	output: "",
	back: 0,
	note: "",
};

/** What is to be done after a key. */
export type WatchAction =
	| { do: "quit" | "suspend" }
	| { do: "cancel"; id: string };

const escapeCharacter = "\u001b";
const keyPattern = new RegExp(
	`${escapeCharacter}(?:\\[[\\d;]*[A-Za-z~]|O[A-Za-z])|[\\s\\S]`,
	"g",
);

/** Takes what was typed apart: a key is a character, or the sequence of a key that has none. */
export const splitKeys = (text: string): string[] =>
	text.match(keyPattern) ?? [];

/** What a key does; how far it moves, where it moves. */
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

/** What a key makes of a view. */
export function pressKey(
	view: WatchView,
	key: string,
	size: TerminalSize,
): { view: WatchView; act?: WatchAction } {
	if (key === "\u0003") return { view, act: { do: "quit" } };
	if (key === "\u001a") return { view, act: { do: "suspend" } };
	const { mode, selected } = view;
	if (mode === "confirm") {
		const list: WatchView = { ...view, mode: "list" };
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
		return leaves.includes(key)
			? { view: { ...view, mode: "list", output: "", back: 0 } }
			: { view };
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
		? { view: { ...clean, note: "it is over already" } }
		: { view: { ...clean, mode: "confirm" } };
}

/** The view of what there is now; the selection stays where it was. */
export function showRows(view: WatchView, rows: readonly TaskRow[]): WatchView {
	const { selected } = view;
	if (rows.some(({ id }) => id === selected)) return { ...view, rows };
	const at = view.rows.findIndex(({ id }) => id === selected);
	const next = rows[Math.min(Math.max(0, at), rows.length - 1)]?.id;
	return { ...view, rows, selected: next, mode: "list", output: "", back: 0 };
}

export type DrawOptions = TerminalSize & { colour: boolean };

/** Draws a view as lines: at most as many as there are rows, none wider than the screen. */
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

type ViewParts = [head: string[], body: string[], foot: string];

/** The mark of the selected row, and what stands before the others. */
const gutter = ["› ", "  "] as const;

function drawList(
	view: WatchView,
	{ columns, rows, colour }: DrawOptions,
): ViewParts {
	const all = view.rows;
	const counts = Object.fromEntries(
		statuses.map((each) => [each, 0]),
	) as Record<Status, number>;
	for (const { status } of all) counts[status]++;
	const title = `bg watch  ${summarizeCounts(counts) || "no task yet"}`;
	const at = all.findIndex(({ id }) => id === view.selected);
	const height = Math.max(1, rows - 3);
	// The selected row stays in the middle where there is more than fits.
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
			? `cancel it with all it started? y/n  ${selected.short} ${selected.about}`
			: view.note || "↑↓ select  ⏎ output  c cancel  q quit";
	return [[title, gutter[1] + table.head], body, foot];
}

function drawOutput(view: WatchView, size: TerminalSize): ViewParts {
	const row = view.rows.find(({ id }) => id === view.selected);
	const title = row ? `${row.id}  ${row.status} ${row.age}  ${row.about}` : "";
	const lines = wrapOutput(view.output, size);
	const end = Math.max(0, lines.length - view.back);
	const body = lines.slice(Math.max(0, end - measureBody(size)), end);
	return [
		[title],
		body,
		`↑↓ scroll${view.back ? "  G to the end" : ""}  q back`,
	];
}

/** How many lines of an output are seen at once. */
const measureBody = ({ rows }: TerminalSize) => Math.max(1, rows - 2);

/** An output as lines that fit. */
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
