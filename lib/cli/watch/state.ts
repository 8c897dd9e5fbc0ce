/**
 * The state of `bg watch`, and how the screen is divided. Pure. `update.ts` changes a state, `render.ts` draws it.
 */
import type { TerminalSize } from "../../print/terminal.ts";
import type { Status } from "../../task/schema.ts";
import type { Line } from "./input.ts";
import type { Anchor, Output, PageSize } from "./output.ts";

/** A task in the list: plain text, and times in ms since 1970. */
export type WatchRow = {
	id: string;
	/** An end of the id that is unique in the folder. */
	short: string;
	status: Status;
	kind: "droid" | "command" | "native";
	isPaused: boolean;
	/** It is final, and its process is alive. */
	isLingering: boolean;
	hasWorktree: boolean;
	/** The droid, or the kind of a task without one. */
	droid: string;
	model: string;
	/** The tokens that it used, without those from a cache, and credits; undefined if that is not known. */
	used?: { tokens: number; credits: number } | undefined;
	/** The same tokens as a text. */
	tokens: string;
	description: string;
	/** What it does, why it waits, or how it ended. */
	doing: string;
	queuedAt?: number | undefined;
	startedAt?: number | undefined;
	endedAt?: number | undefined;
	/** When it last wrote or computed. */
	activeAt?: number | undefined;
	tags: readonly string[];
	session: string;
};

/** What is said of the queue and of all tasks, besides the list. */
export type WatchHead = {
	counts: Readonly<Partial<Record<Status, number>>>;
	isQueuePaused: boolean;
	/** Why the engine of tasks does not answer; empty if it does. */
	engine?: string;
	/** The limit on running tasks here; 0 is none, undefined if it cannot be read. */
	limit?: number | undefined;
	/** How many run, and of how many that may. */
	running: string;
	/** The other limits in force, and what is in use. */
	limits: string;
	/** The tokens and credits of all tasks. */
	usage: string;
};

export type WatchData = { rows: readonly WatchRow[]; head: WatchHead };

/** What a line is typed for. */
export type InputKind = "filter" | "search" | "resume" | "send";

export type WatchState = {
	size: TerminalSize;
	/** The verbs that this program has. Keys of other verbs do nothing. */
	verbs: ReadonlySet<string>;
	/** All tasks in the order of the list, and those that pass the filter. */
	rows: readonly WatchRow[];
	shown: readonly WatchRow[];
	head: WatchHead;
	filter: string;
	/** The id of the selected task; undefined if there is none. */
	selected: string | undefined;
	/** The index of the first row on the screen. */
	top: number;
	/** What the keys for movement move. */
	focus: "list" | "output";
	/** Whether the output has the whole screen. */
	isWhole: boolean;
	/** The output of the selected task. */
	output: Output | undefined;
	/** What the selected task changed in its worktree; "" if that is not known. */
	changes: string;
	/** The top of a page that stands still; undefined while the end is followed. */
	anchor: Anchor | undefined;
	/** The text that was searched in the output. */
	search: string;
	input:
		| { kind: InputKind; line: Line; id: string; before: string }
		| undefined;
	question: { text: string; effect: Effect } | undefined;
	/** The first line of the help; undefined if it is not open. */
	help: number | undefined;
	/** The result of the last action, shown until a time in ms. */
	note: { text: string; isFault: boolean; until: number } | undefined;
	/** The actions that run, by key. */
	busy: readonly string[];
	/** The limit that was asked for last, until it is in force. */
	wantedLimit: number | undefined;
};

/** What a key requests from the loop. */
export type Effect =
	| { do: "quit" }
	| { do: "suspend" }
	| { do: "redraw" }
	/** Run a verb. `key`: it does not run twice at once. `label` says what runs. */
	| { do: "run"; call: readonly string[]; key: string; label: string }
	/** Run a verb in the terminal, which is given back for that time. */
	| { do: "show"; call: readonly string[] };

export const emptyState = (
	size: TerminalSize,
	verbs: readonly string[] = [],
): WatchState => ({
	size,
	verbs: new Set(verbs),
	rows: [],
	shown: [],
	head: {
		counts: {},
		isQueuePaused: false,
		running: "",
		limits: "",
		usage: "",
	},
	filter: "",
	selected: undefined,
	top: 0,
	focus: "list",
	isWhole: false,
	output: undefined,
	changes: "",
	anchor: undefined,
	search: "",
	input: undefined,
	question: undefined,
	help: undefined,
	note: undefined,
	busy: [],
	wantedLimit: undefined,
});

/** The row of the selected task, also if the filter hides it. */
export const findSelected = ({ rows, selected }: WatchState) =>
	rows.find(({ id }) => id === selected);

// --- the division of the screen ---

/** The least size with a pane below the list, or beside it. */
const minRowsBelow = 30;
const minColumnsBeside = 120;
/** From this width the pane is beside the list even if the screen is tall. */
const minColumnsWide = 180;

/** The share of a pane in the rows or columns. */
const paneShare = { below: 0.42, beside: 0.4 } as const;

/** The columns between the list and the pane beside it. */
export const gapWidth = 3;

/** The lines above and below the list: head, titles of the columns, foot. */
const frameRows = 3;

export type Layout = {
	list: PageSize;
	/** The lines of output; the title of the pane comes on top. */
	pane?: PageSize & { place: "below" | "beside" | "whole" };
};

/** Divides the screen. A list has at least one row. */
export function layOut({
	size: { columns, rows },
	isWhole,
}: Pick<WatchState, "size" | "isWhole">): Layout {
	const list = { width: columns, height: Math.max(1, rows - frameRows) };
	if (isWhole) {
		const height = Math.max(1, rows - 2);
		return { list, pane: { width: columns, height, place: "whole" } };
	}
	const isTall = rows >= minRowsBelow;
	if (columns >= (isTall ? minColumnsWide : minColumnsBeside)) {
		const width = Math.floor(columns * paneShare.beside);
		return {
			list: { ...list, width: columns - width - gapWidth },
			pane: { width, height: list.height, place: "beside" },
		};
	}
	if (!isTall) return { list };
	const height = Math.floor(rows * paneShare.below) - 1;
	return {
		list: { ...list, height: list.height - height - 1 },
		pane: { width: columns, height, place: "below" },
	};
}
