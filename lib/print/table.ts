/**
 * The table of tasks as a terminal shows it: as many columns as its width holds, and never a line
 * that is wider. Pure. Where it is narrow the progress joins the description, then the droid goes,
 * then of the status all but its mark.
 */

import { type Status, statuses } from "../task/schema.ts";
import { colourText, statusMark } from "./status.ts";
import type { TaskRow } from "./task-row.ts";
import { fitText, measureWidth, padText } from "./width.ts";

export type TaskTable = {
	head: string;
	/** One row; coloured, its status is. */
	line: (row: TaskRow, colour: boolean) => string;
};

type Column = {
	title: string;
	cell: (row: TaskRow, width: number) => string;
	/** At most so wide; without, it takes what is left. */
	maxWidth?: number;
	side?: "left";
};

const status = (row: TaskRow) => `${statusMark(row.status)} ${row.status}`;

const columns = {
	id: { title: "ID", cell: ({ short }) => short, maxWidth: 32 },
	status: { title: "STATUS", cell: status, maxWidth: 11 },
	mark: { title: "", cell: (row) => statusMark(row.status), maxWidth: 1 },
	age: { title: "AGE", cell: ({ age }) => age, maxWidth: 6, side: "left" },
	droid: { title: "DROID", cell: ({ droid }) => droid, maxWidth: 16 },
	task: { title: "TASK", cell: ({ about }) => about, maxWidth: 48 },
	progress: { title: "PROGRESS", cell: ({ words }) => words },
	both: { title: "TASK", cell: joinProgress },
} as const satisfies Record<string, Column>;

/** From the richest to the poorest; `least` is what the last column must have. */
const columnSets: { minWidth: number; names: (keyof typeof columns)[] }[] = [
	{ minWidth: 32, names: ["id", "status", "age", "droid", "task", "progress"] },
	{ minWidth: 24, names: ["id", "status", "age", "droid", "both"] },
	{ minWidth: 24, names: ["id", "status", "age", "both"] },
	{ minWidth: 0, names: ["id", "mark", "age", "both"] },
];

const gapColumns = 2;

/** A description is not cut shorter than this for what is said behind it, in columns. */
const minDescriptionColumns = 24;
const minProgressColumns = 10;

/** Lays rows out in `width` columns. */
export function layOutTable(
	rows: readonly TaskRow[],
	width: number,
): TaskTable {
	const fitting = columnSets.map(({ minWidth, names }) => {
		const chosen: Column[] = names.map((name) => columns[name]);
		const widths = chosen.map((column) => measureColumn(column, rows));
		const taken = widths.reduce(
			(sum, each) => sum + each + gapColumns,
			-gapColumns,
		);
		widths[widths.length - 1] = Math.max(0, width - taken);
		return { chosen, widths, fits: width - taken >= minWidth };
	});
	const { chosen = [], widths = [] } =
		fitting.find(({ fits }) => fits) ?? fitting.at(-1) ?? {};
	const draw = (paint: (column: Column, cellWidth: number) => string) => {
		const cells: string[] = [];
		let left = width;
		for (const [at, column] of chosen.entries()) {
			if (left <= 0) break;
			const cellWidth = Math.min(widths[at] ?? 0, left);
			cells.push(paint(column, cellWidth));
			left -= cellWidth + gapColumns;
		}
		return cells.join(" ".repeat(gapColumns)).trimEnd();
	};
	return {
		head: draw(({ title, side }, cellWidth) => padText(title, cellWidth, side)),
		line: (row, colour) =>
			draw((column, cellWidth) => {
				const cell = padText(
					column.cell(row, cellWidth),
					cellWidth,
					column.side,
				);
				const isStatus = column === columns.status || column === columns.mark;
				return colour && isStatus ? colourText(cell, row.status) : cell;
			}),
	};
}

/** How many there are of each status, as `3 running, 12 completed`. */
export function summarizeCounts(
	counts: Readonly<Record<Status, number>>,
): string {
	return statuses
		.filter((each) => counts[each])
		.map((each) => `${counts[each]} ${each}`)
		.join(", ");
}

/** No fewer characters of an id than these: they tell apart what is launched a quarter of a second apart. */
const minIdLength = "bg_".length + 9;

/** Shortens ids to what is unique among all there are: each is what `bg` takes for that task. */
export function shortenIds(all: readonly string[]): (id: string) => string {
	const sorted = [...all].sort();
	const lengths = new Map<string, number>();
	for (const [at, id] of sorted.entries()) {
		const near = [sorted[at - 1], sorted[at + 1]];
		const shared = near.map((other) => measureSharedPrefix(id, other ?? ""));
		lengths.set(id, Math.max(minIdLength, ...shared.map((each) => each + 1)));
	}
	return (id) => id.slice(0, lengths.get(id));
}

// --- internal ---

function measureColumn(column: Column, rows: readonly TaskRow[]): number {
	const { title, cell, maxWidth } = column;
	// The last column takes what is left.
	if (maxWidth === undefined) return 0;
	let width = title.length;
	for (const row of rows)
		width = Math.max(width, measureWidth(cell(row, maxWidth)));
	return Math.min(width, maxWidth);
}

/** The description and the words, both of which shall be seen. */
function joinProgress({ about, words }: TaskRow, width: number): string {
	if (!words) return about;
	const left = width - measureWidth(words) - " · ".length;
	const maxWidth = Math.max(
		left,
		minDescriptionColumns,
		Math.ceil(width * 0.6),
	);
	const seen = fitText(about, maxWidth);
	return measureWidth(seen) + minProgressColumns > width
		? about
		: `${seen} · ${words}`;
}

function measureSharedPrefix(a: string, b: string): number {
	let at = 0;
	while (at < a.length && a[at] === b[at]) at++;
	return at;
}
