/**
 * The columns of the list of `bg watch`. A narrow list leaves columns out; the description and what a task does
 * share the width that is left, so neither pushes the other one out. Pure.
 */
import { colourText, statusMark } from "../../../print/status.ts";
import { formatAge } from "../../../print/units.ts";
import { measureWidth, padText } from "../../../print/width.ts";
import { isFinal } from "../../../task/states.ts";
import type { WatchRow } from "../state.ts";

type Column = {
	title: string;
	cell: (row: WatchRow, now: number) => string;
	/** The columns it takes: a number, or up to a number as its widest cell. */
	width: number | { upTo: number };
	side?: "left";
};

/** A task that did nothing for this long is called quiet, and stands out after this long. In ms. */
const quietMs = 60_000;
const veryQuietMs = 5 * 60_000;

const columns = {
	id: { title: "ID", cell: ({ short }) => short, width: { upTo: 32 } },
	status: {
		title: "STATUS",
		cell: (row) => `${markOf(row)} ${row.isPaused ? "paused" : row.status}`,
		width: 11,
	},
	mark: { title: "", cell: markOf, width: 1 },
	time: { title: "TIME", cell: formatTime, width: 8, side: "left" },
	droid: { title: "DROID", cell: ({ droid }) => droid, width: { upTo: 16 } },
	model: { title: "MODEL", cell: ({ model }) => model, width: { upTo: 20 } },
	tokens: {
		title: "TOKENS",
		cell: ({ tokens }) => tokens,
		width: { upTo: 8 },
		side: "left",
	},
	active: { title: "ACTIVE", cell: formatActive, width: 9 },
} as const satisfies Record<string, Column>;

type Name = keyof typeof columns;

/** The sets of columns, widest first. `least`: the least width that must be left for the texts. */
const sets: { names: Name[]; least: number }[] = [
	{
		names: ["id", "status", "time", "droid", "model", "tokens", "active"],
		least: 60,
	},
	{ names: ["id", "status", "time", "droid", "tokens", "active"], least: 46 },
	{ names: ["id", "status", "time", "droid", "active"], least: 42 },
	{ names: ["id", "status", "time", "active"], least: 42 },
	{ names: ["id", "status", "time"], least: 34 },
	{ names: ["id", "mark", "time"], least: 0 },
];

const gap = 2;

/** The most of the description in the width of both texts, as a share and in columns. */
const descriptionShare = 0.5;
const minDescription = 16;

/** Lays rows out in `width` columns. `all` are the rows that may be scrolled to: the widths fit all of them. */
export function layOutRows(all: readonly WatchRow[], width: number) {
	const { names, widths, left } = chooseColumns(all, width);
	const hasActive = names.includes("active");
	const most = Math.max(minDescription, Math.round(left * descriptionShare));
	const task = Math.min(
		left,
		most,
		Math.max(measureAll(all).task, "TASK".length),
	);
	const doing = Math.max(0, left - task - gap);
	const draw = (
		cellOf: (name: Name, width: number) => string,
		[description, does]: [string, string],
	) => {
		let space = width;
		const parts: string[] = [];
		const add = (most: number, text: (width: number) => string) => {
			const taken = Math.min(most, space);
			if (taken > 0) parts.push(text(taken));
			space -= taken + gap;
		};
		for (const [at, name] of names.entries())
			add(widths[at] ?? 0, (each) => cellOf(name, each));
		add(task, (each) => padText(description, each));
		add(doing, (each) => padText(does, each));
		return parts.join(" ".repeat(gap));
	};
	return {
		head: draw(
			(name, each) => padCell(name, columns[name].title, each),
			["TASK", "DOES"],
		),
		/** One row, at most as wide as the list. */
		line: (row: WatchRow, now: number, colour: boolean): string => {
			const quiet = hasActive ? "" : formatQuiet(row, now);
			const does = [quiet, row.doing].filter(Boolean).join(" · ");
			return draw(
				(name, each) => {
					const cell = padCell(name, columns[name].cell(row, now), each);
					return colour ? paint(name, cell, row, now) : cell;
				},
				[row.description, does],
			);
		},
	};
}

/** When a task ended, how long it has run, or how long it has waited. */
export function formatTime(row: WatchRow, now: number): string {
	const { queuedAt, startedAt, endedAt } = row;
	if (isFinal(row))
		return endedAt === undefined ? "?" : `${formatAge(now - endedAt)} ago`;
	const since = startedAt ?? queuedAt;
	return since === undefined ? "?" : formatAge(now - since);
}

export function markOf({ status, isPaused }: WatchRow): string {
	return isPaused ? "‖" : statusMark(status);
}

// --- internal ---

/** The widest set of columns that leaves enough for the texts. */
function chooseColumns(
	all: readonly WatchRow[],
	width: number,
): { names: Name[]; widths: number[]; left: number } {
	const widest = measureAll(all);
	const fitting = sets.map(({ names, least }) => {
		// A column that is empty in all rows is left out.
		const used = names.filter((name) => widest[name] > 0);
		const widths = used.map((name) => widest[name]);
		const taken = widths.reduce((sum, each) => sum + each + gap, 0);
		const left = Math.max(0, width - taken);
		return { names: used, widths, left, fits: left >= least };
	});
	const none = { names: [], widths: [], left: 0 };
	return fitting.find(({ fits }) => fits) ?? fitting.at(-1) ?? none;
}

const padCell = (name: Name, text: string, width = 0) => {
	const { side }: Column = columns[name];
	return padText(text, width, side);
};

function paint(name: Name, cell: string, row: WatchRow, now: number): string {
	if (name === "status" || name === "mark") return colourText(cell, row.status);
	const isStuck = name === "active" && isQuiet(row, now, veryQuietMs);
	return isStuck ? colourText(cell, "error") : cell;
}

/** Whether a task runs and has done nothing for so long. */
function isQuiet(row: WatchRow, now: number, ms: number): boolean {
	const { status, isPaused, activeAt } = row;
	if (status !== "running" || isPaused || activeAt === undefined) return false;
	return now - activeAt >= ms;
}

const formatQuiet = (row: WatchRow, now: number): string =>
	isQuiet(row, now, quietMs)
		? `quiet ${formatAge(now - (row.activeAt ?? now))}`
		: "";

function formatActive(row: WatchRow, now: number): string {
	const { status, isPaused, activeAt } = row;
	if (status !== "running" || isPaused || activeAt === undefined) return "";
	return formatQuiet(row, now) || "active";
}

type Widths = Record<Name | "task", number>;
const measured = new WeakMap<readonly WatchRow[], Widths>();

/** The width of each column for rows, which do not change. Of a column of changing texts, its own. */
function measureAll(rows: readonly WatchRow[]): Widths {
	const known = measured.get(rows);
	if (known) return known;
	const entries = Object.entries(columns).map(([name, column]) => {
		const { title, cell, width }: Column = column;
		if (typeof width === "number") return [name, width];
		let most = 0;
		for (const row of rows) most = Math.max(most, measureWidth(cell(row, 0)));
		const isEmpty = most === 0 && name !== "id";
		return [
			name,
			isEmpty ? 0 : Math.min(width.upTo, Math.max(title.length, most)),
		];
	});
	const descriptions = rows.map((row) => measureWidth(row.description));
	const widths: Widths = {
		...(Object.fromEntries(entries) as Record<Name, number>),
		task: descriptions.reduce((most, each) => Math.max(most, each), 0),
	};
	measured.set(rows, widths);
	return widths;
}
