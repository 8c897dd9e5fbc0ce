/**
 * What `bg watch` shows, and what a key makes of it. Pure: keys and looks go in, a view comes out,
 * and a view is drawn as lines that fit the screen. Who acts, reads and writes is the command.
 */
import type { Glance } from "./glance.ts";
import { toPlain } from "./print.ts";
import { layTable, summarize } from "./table.ts";
import { isFinal, type Status, statuses } from "./task.ts";
import type { Size } from "./terminal.ts";
import { fit, pad, wrap } from "./width.ts";

export type View = {
	/** Newest first, with their whole ids. */
	rows: readonly Glance[];
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

export const emptyView: View = {
	rows: [],
	selected: undefined,
	mode: "list",
	output: "",
	back: 0,
	note: "",
};

/** What is to be done after a key. */
export type Act = { do: "quit" | "suspend" } | { do: "cancel"; id: string };

const esc = "\u001b";
const keyPattern = new RegExp(
	`${esc}(?:\\[[\\d;]*[A-Za-z~]|O[A-Za-z])|[\\s\\S]`,
	"g",
);

/** Takes what was typed apart: a key is a character, or the sequence of a key that has none. */
export const keysOf = (text: string): string[] => text.match(keyPattern) ?? [];

/** What a key does; how far it moves, where it moves. */
const moves: Record<string, number> = {
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
export function press(
	view: View,
	key: string,
	size: Size,
): { view: View; act?: Act } {
	if (key === "\u0003") return { view, act: { do: "quit" } };
	if (key === "\u001a") return { view, act: { do: "suspend" } };
	const { mode, selected } = view;
	if (mode === "confirm") {
		const list: View = { ...view, mode: "list" };
		if (key !== "y" || !selected) return { view: list };
		return { view: list, act: { do: "cancel", id: selected } };
	}
	const move = moves[key];
	if (mode === "output") {
		if (move !== undefined) {
			const most = linesOf(view.output, size).length - bodyOf(size);
			const back = Math.max(0, Math.min(view.back - move, most));
			return { view: { ...view, back } };
		}
		const leaves = ["q", "\u001b", "o", "\r", "\u001b[D", "\u007f"];
		return leaves.includes(key)
			? { view: { ...view, mode: "list", output: "", back: 0 } }
			: { view };
	}
	if (key === "q") return { view, act: { do: "quit" } };
	const clean: View = { ...view, note: "" };
	if (move !== undefined) return { view: select(clean, move) };
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
export function show(view: View, rows: readonly Glance[]): View {
	const { selected } = view;
	if (rows.some(({ id }) => id === selected)) return { ...view, rows };
	const at = view.rows.findIndex(({ id }) => id === selected);
	const next = rows[Math.min(Math.max(0, at), rows.length - 1)]?.id;
	return { ...view, rows, selected: next, mode: "list", output: "", back: 0 };
}

export type DrawOptions = Size & { colour: boolean };

/** Draws a view as lines: at most as many as there are rows, none wider than the screen. */
export function drawView(view: View, options: DrawOptions): string[] {
	const { columns, rows } = options;
	const [head, body, foot] =
		view.mode === "output"
			? drawOutput(view, options)
			: drawList(view, options);
	const bold = (line: string) =>
		options.colour ? `\u001b[1m${line}\u001b[22m` : line;
	const room = Math.max(0, rows - head.length - 1);
	const blank = Array<string>(Math.max(0, room - body.length)).fill("");
	return [
		...head.map((line) => bold(fit(line, columns))),
		...body.slice(0, room),
		...blank,
		fit(foot, columns),
	].slice(-rows);
}

// --- internal ---

type Parts = [head: string[], body: string[], foot: string];

/** The mark of the selected row, and what stands before the others. */
const gutter = ["› ", "  "] as const;

function drawList(view: View, { columns, rows, colour }: DrawOptions): Parts {
	const all = view.rows;
	const counts = Object.fromEntries(
		statuses.map((each) => [each, 0]),
	) as Record<Status, number>;
	for (const { status } of all) counts[status]++;
	const title = `bg watch  ${summarize(counts) || "no task yet"}`;
	const at = all.findIndex(({ id }) => id === view.selected);
	const height = Math.max(1, rows - 3);
	// The selected row stays in the middle where there is more than fits.
	const middle = at - Math.floor(height / 2);
	const from = Math.max(0, Math.min(middle, all.length - height));
	const room = columns - gutter[0].length;
	const seen = all.slice(from, from + height);
	const table = layTable(seen, room);
	const body = seen.map((row, index) => {
		const isSelected = from + index === at;
		if (!isSelected) return gutter[1] + table.line(row, colour);
		const line = gutter[0] + pad(table.line(row, false), room);
		return colour ? `\u001b[7m${line}\u001b[27m` : line.trimEnd();
	});
	const selected = all[at];
	const foot =
		view.mode === "confirm" && selected
			? `cancel it with all it started? y/n  ${selected.short} ${selected.about}`
			: view.note || "↑↓ select  ⏎ output  c cancel  q quit";
	return [[title, gutter[1] + table.head], body, foot];
}

function drawOutput(view: View, size: Size): Parts {
	const row = view.rows.find(({ id }) => id === view.selected);
	const title = row ? `${row.id}  ${row.status} ${row.age}  ${row.about}` : "";
	const lines = linesOf(view.output, size);
	const end = Math.max(0, lines.length - view.back);
	const body = lines.slice(Math.max(0, end - bodyOf(size)), end);
	return [
		[title],
		body,
		`↑↓ scroll${view.back ? "  G to the end" : ""}  q back`,
	];
}

/** How many lines of an output are seen at once. */
const bodyOf = ({ rows }: Size) => Math.max(1, rows - 2);

/** An output as lines that fit. */
const linesOf = (output: string, { columns }: Size): string[] =>
	toPlain(output)
		.trimEnd()
		.split("\n")
		.flatMap((line) =>
			wrap(line.replaceAll("\t", "    "), Math.max(2, columns)),
		);

function select(view: View, move: number): View {
	const { rows, selected } = view;
	const at = rows.findIndex(({ id }) => id === selected);
	const next = Math.max(0, Math.min(at + move, rows.length - 1));
	return { ...view, selected: rows[next]?.id };
}
