/** States of `bg watch` for tests of its pure parts: rows, keys that are typed, and what is then drawn. */
import { render } from "../../lib/cli/watch/draw/render.ts";
import { KeyReader } from "../../lib/cli/watch/input.ts";
import type { Output } from "../../lib/cli/watch/output.ts";
import { toWatchRow } from "../../lib/cli/watch/read/rows.ts";
import {
	type Effect,
	emptyState,
	type WatchHead,
	type WatchRow,
	type WatchState,
} from "../../lib/cli/watch/state.ts";
import { resize, showData, update } from "../../lib/cli/watch/update.ts";
import { toTaskRow } from "../../lib/print/task-row.ts";
import type { Task } from "../../lib/task/schema.ts";

export const now = Date.parse("2026-01-01T12:00:00Z");

export const keys = {
	up: "\u001b[A",
	down: "\u001b[B",
	pageUp: "\u001b[5~",
	pageDown: "\u001b[6~",
	home: "\u001b[H",
	end: "\u001b[F",
	escape: "\u001b",
	enter: "\r",
	ctrlC: "\u0003",
	ctrlZ: "\u001a",
};

/** The id of a task by its number. */
export const idOf = (n: number) => `bg_${String(n).padStart(8, "0")}`;

/** The row of a task. */
export function rowOf(
	n: number,
	fields: Partial<Task> = {},
	facts: { writtenAt?: number; isLingering?: boolean; doing?: string } = {},
): WatchRow {
	const task = {
		id: idOf(n),
		kind: "command",
		status: "running",
		description: `task ${n}`,
		queued_at: "2026-01-01T11:00:00Z",
		...fields,
	} as Task;
	const { doing, ...others } = facts;
	const row = toTaskRow(task, { lastMessage: doing, now });
	return toWatchRow(task, {
		row,
		shorten: (id) => `s${Number(id.slice(3))}`,
		...others,
	});
}

const verbs = "output pause cancel retry resume limit send diff".split(" ");

const head: WatchHead = {
	counts: {},
	isQueuePaused: false,
	limit: 8,
	running: "",
	limits: "",
	usage: "",
};

/** A state with rows. */
export function stateOf(
	rows: readonly WatchRow[],
	{ columns = 80, rows: height = 24 } = {},
): WatchState {
	const empty = emptyState({ columns, rows: height }, verbs);
	return showData(empty, { rows, head });
}

/** The state with other rows. */
export const withRows = (state: WatchState, rows: readonly WatchRow[]) =>
	showData(state, { rows, head: state.head });

export const withSize = (state: WatchState, columns: number, rows: number) =>
	resize(state, { columns, rows });

/** The state after some typing, and what it asked for. */
export function typed(
	state: WatchState,
	...texts: string[]
): { state: WatchState; effects: Effect[] } {
	const reader = new KeyReader();
	const effects: Effect[] = [];
	for (const text of texts)
		for (const each of reader.read(Buffer.from(text))) {
			const step = update(state, each, now);
			state = step.state;
			if (step.effect) effects.push(step.effect);
		}
	return { state, effects };
}

/** An output of numbered lines. */
export const outputOf = (
	n: number,
	count: number,
	fields: Partial<Output> = {},
): Output => ({
	id: idOf(n),
	lines: Array.from({ length: count }, (_, at) => `line ${at}`),
	first: 0,
	isCut: false,
	isUnread: false,
	...fields,
});

/** The lines of the screen, without colours unless wanted. */
export const screenOf = (state: WatchState, colour = false): string[] => [
	...render(state, { now, colour }).lines,
];
