/**
 * Tables. `formatTable` lays out any rows for a pipe; `layOutTable` lays out tasks in the width of a
 * terminal: no line is wider. Tokens have a column if any row has them. In a narrow terminal the progress
 * joins the description, then the droid is left out and an ended task has the time since its end instead of
 * how long it took, then the status is left out except its mark. Pure.
 */
import { type Status, statuses } from "../task/schema.ts";
import { colourText, statusMark } from "./status.ts";
import type { TaskRow } from "./task-row.ts";
import { fitText, measureWidth, padText } from "./width.ts";

type Column = {
	title: string;
	cell: (row: TaskRow, width: number) => string;
	/** The greatest width, in columns. Without it, the column takes the remaining width. */
	maxWidth?: number;
	side?: "left";
};

const status = (row: TaskRow) => `${statusMark(row.status)} ${row.status}`;

const columns = {
	id: { title: "ID", cell: ({ short }) => short, maxWidth: 32 },
	status: { title: "STATUS", cell: status, maxWidth: 11 },
	mark: { title: "", cell: (row) => statusMark(row.status), maxWidth: 1 },
	age: { title: "AGE", cell: ({ age }) => age, maxWidth: 6, side: "left" },
	ended: {
		title: "ENDED",
		cell: ({ ended }) => ended,
		maxWidth: 8,
		side: "left",
	},
	when: {
		title: "AGE",
		cell: ({ age, ended }) => ended || age,
		maxWidth: 8,
		side: "left",
	},
	tokens: {
		title: "TOKENS",
		cell: ({ tokens = "" }) => tokens,
		maxWidth: 6,
		side: "left",
	},
	droid: { title: "DROID", cell: ({ droid }) => droid, maxWidth: 16 },
	task: { title: "TASK", cell: ({ description }) => description, maxWidth: 48 },
	progress: { title: "PROGRESS", cell: ({ progress }) => progress },
	both: { title: "TASK", cell: joinProgress },
} as const satisfies Record<string, Column>;

/** The sets of columns, widest first. `minWidth`: the least width of the last column. */
const columnSets: { minWidth: number; names: (keyof typeof columns)[] }[] = [
	{
		minWidth: 32,
		names: [
			...(["id", "status", "age", "ended", "tokens", "droid"] as const),
			...(["task", "progress"] as const),
		],
	},
	{
		minWidth: 24,
		names: ["id", "status", "age", "ended", "tokens", "droid", "both"],
	},
	{ minWidth: 24, names: ["id", "status", "when", "tokens", "both"] },
	{ minWidth: 0, names: ["id", "mark", "when", "both"] },
];

const gapColumns = 2;

/** The least width of a description, and of the progress behind it, in columns. */
const minDescriptionColumns = 24;
const minProgressColumns = 10;

/** Formats rows of plain text in columns, each as wide as its widest cell; the last one is not padded. */
export function formatTable(rows: readonly (readonly string[])[]): string {
	const widths = measureColumns(rows);
	const lines = rows.map((row) =>
		joinCells(row.map((cell, at) => padText(cell, widths[at] ?? 0))),
	);
	return lines.join("\n");
}

/** Lays tasks out in `width` columns. */
export function layOutTable(rows: readonly TaskRow[], width: number) {
	const isShown = (name: keyof typeof columns) =>
		(name !== "tokens" && name !== "ended") || rows.some((row) => row[name]);
	const fitting = columnSets.map(({ minWidth, names }) => {
		const chosen: Column[] = names.filter(isShown).map((name) => columns[name]);
		const titles = chosen.map(({ title }) => title);
		const cells = rows.map((row) =>
			chosen.map(({ cell, maxWidth }) =>
				maxWidth === undefined ? "" : cell(row, maxWidth),
			),
		);
		const widths = measureColumns([titles, ...cells]).map((each, at) =>
			Math.min(each, chosen[at]?.maxWidth ?? 0),
		);
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
		return joinCells(cells);
	};
	return {
		head: draw(({ title, side }, cellWidth) => padText(title, cellWidth, side)),
		/** Formats one row. With `colour`, its status has a colour. */
		line: (row: TaskRow, colour: boolean) =>
			draw((column, cellWidth) => {
				const text = column.cell(row, cellWidth);
				const cell = padText(text, cellWidth, column.side);
				const isStatus = column === columns.status || column === columns.mark;
				return colour && isStatus ? colourText(cell, row.status) : cell;
			}),
	};
}

/** Formats the number of tasks of each status: `3 running, 12 completed`. */
export function summarizeCounts(
	counts: Readonly<Partial<Record<Status, number>>>,
): string {
	return statuses
		.filter((each) => counts[each])
		.map((each) => `${counts[each]} ${each}`)
		.join(", ");
}

/** The least digits of a short id. Fewer are not accepted. */
const minIdLength = 4;

/** Shortens ids to ends that are unique among `all`, and therefore accepted by `bg`. */
export function shortenIds(all: readonly string[]): (id: string) => string {
	const reverse = (id: string) =>
		[...id.slice("bg_".length)].reverse().join("");
	const sorted = all.map(reverse).sort();
	const lengths = new Map<string, number>();
	for (const [at, id] of sorted.entries()) {
		const near = [sorted[at - 1], sorted[at + 1]];
		const shared = near.map((other) => measureSharedPrefix(id, other ?? ""));
		lengths.set(id, Math.max(minIdLength, ...shared.map((each) => each + 1)));
	}
	return (id) => {
		const end = id.slice(-(lengths.get(reverse(id)) ?? id.length));
		// All of an id may be the end of a longer one.
		return end.length > id.length - "bg_".length ? id : end;
	};
}

// --- internal ---

/** The width of the widest cell of each column. */
function measureColumns(rows: readonly (readonly string[])[]): number[] {
	const widths: number[] = [];
	for (const row of rows)
		for (const [at, cell] of row.entries())
			widths[at] = Math.max(widths[at] ?? 0, measureWidth(cell));
	return widths;
}

const joinCells = (cells: readonly string[]): string =>
	cells.join(" ".repeat(gapColumns)).trimEnd();

/** Joins the description and the progress. The description is cut so that both are visible. */
function joinProgress(row: TaskRow, width: number): string {
	const { description, progress } = row;
	if (!progress) return description;
	const left = width - measureWidth(progress) - " · ".length;
	const maxWidth = Math.max(
		left,
		minDescriptionColumns,
		Math.ceil(width * 0.6),
	);
	const seen = fitText(description, maxWidth);
	return measureWidth(seen) + minProgressColumns > width
		? description
		: `${seen} · ${progress}`;
}

function measureSharedPrefix(a: string, b: string): number {
	let at = 0;
	while (at < a.length && a[at] === b[at]) at++;
	return at;
}
