/**
 * The table of tasks as a terminal shows it: as many columns as its width holds, and never a line
 * that is wider. Pure. Where it is narrow the progress joins the description, then the droid goes,
 * then of the status all but its mark.
 */
import { markOf, tint } from "./answer.ts";
import type { Glance } from "./glance.ts";
import { type Status, statuses } from "./task.ts";
import { fit, pad, widthOf } from "./width.ts";

export type Table = {
	head: string;
	/** One row; coloured, its status is. */
	line: (row: Glance, colour: boolean) => string;
};

type Column = {
	title: string;
	cell: (row: Glance, width: number) => string;
	/** At most so wide; without, it takes what is left. */
	most?: number;
	side?: "left";
};

const status = (row: Glance) => `${markOf(row.status)} ${row.status}`;

const columns = {
	id: { title: "ID", cell: ({ short }) => short, most: 32 },
	status: { title: "STATUS", cell: status, most: 11 },
	mark: { title: "", cell: (row) => markOf(row.status), most: 1 },
	age: { title: "AGE", cell: ({ age }) => age, most: 6, side: "left" },
	droid: { title: "DROID", cell: ({ droid }) => droid, most: 16 },
	task: { title: "TASK", cell: ({ about }) => about, most: 48 },
	progress: { title: "PROGRESS", cell: ({ words }) => words },
	both: { title: "TASK", cell: joinBoth },
} as const satisfies Record<string, Column>;

/** From the richest to the poorest; `least` is what the last column must have. */
const layouts: { least: number; names: (keyof typeof columns)[] }[] = [
	{ least: 32, names: ["id", "status", "age", "droid", "task", "progress"] },
	{ least: 24, names: ["id", "status", "age", "droid", "both"] },
	{ least: 24, names: ["id", "status", "age", "both"] },
	{ least: 0, names: ["id", "mark", "age", "both"] },
];

const gap = 2;

/** A description is not cut shorter than this for what is said behind it, in columns. */
const leastAbout = 24;
const leastWords = 10;

/** Lays rows out in `width` columns. */
export function layTable(rows: readonly Glance[], width: number): Table {
	const fitting = layouts.map(({ least, names }) => {
		const chosen: Column[] = names.map((name) => columns[name]);
		const widths = chosen.map((column) => widthNeeded(column, rows));
		const taken = widths.reduce((sum, each) => sum + each + gap, -gap);
		widths[widths.length - 1] = Math.max(0, width - taken);
		return { chosen, widths, fits: width - taken >= least };
	});
	const { chosen = [], widths = [] } =
		fitting.find(({ fits }) => fits) ?? fitting.at(-1) ?? {};
	const draw = (paint: (column: Column, room: number) => string) => {
		const cells: string[] = [];
		let left = width;
		for (const [at, column] of chosen.entries()) {
			if (left <= 0) break;
			const room = Math.min(widths[at] ?? 0, left);
			cells.push(paint(column, room));
			left -= room + gap;
		}
		return cells.join(" ".repeat(gap)).trimEnd();
	};
	return {
		head: draw(({ title, side }, room) => pad(title, room, side)),
		line: (row, colour) =>
			draw((column, room) => {
				const cell = pad(column.cell(row, room), room, column.side);
				const isStatus = column === columns.status || column === columns.mark;
				return colour && isStatus ? tint(cell, row.status) : cell;
			}),
	};
}

/** How many there are of each status, as `3 running, 12 completed`. */
export function summarize(counts: Readonly<Record<Status, number>>): string {
	return statuses
		.filter((each) => counts[each])
		.map((each) => `${counts[each]} ${each}`)
		.join(", ");
}

/** No fewer characters of an id than these: they tell apart what is launched a quarter of a second apart. */
const shortestId = "bg_".length + 9;

/** Shortens ids to what is unique among all there are: each is what `bg` takes for that task. */
export function shortenIds(all: readonly string[]): (id: string) => string {
	const sorted = [...all].sort();
	const lengths = new Map<string, number>();
	for (const [at, id] of sorted.entries()) {
		const near = [sorted[at - 1], sorted[at + 1]];
		const shared = near.map((other) => sharedLength(id, other ?? ""));
		lengths.set(id, Math.max(shortestId, ...shared.map((each) => each + 1)));
	}
	return (id) => id.slice(0, lengths.get(id));
}

// --- internal ---

function widthNeeded(column: Column, rows: readonly Glance[]): number {
	const { title, cell, most } = column;
	// The last column takes what is left.
	if (most === undefined) return 0;
	let width = title.length;
	for (const row of rows) width = Math.max(width, widthOf(cell(row, most)));
	return Math.min(width, most);
}

/** The description and the words, both of which shall be seen. */
function joinBoth({ about, words }: Glance, width: number): string {
	if (!words) return about;
	const left = width - widthOf(words) - " · ".length;
	const most = Math.max(left, leastAbout, Math.ceil(width * 0.6));
	const seen = fit(about, most);
	return widthOf(seen) + leastWords > width ? about : `${seen} · ${words}`;
}

function sharedLength(a: string, b: string): number {
	let at = 0;
	while (at < a.length && a[at] === b[at]) at++;
	return at;
}
