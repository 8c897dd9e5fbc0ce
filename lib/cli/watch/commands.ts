/** What each command of the table of keys does to the state. Pure. */
import { isFinal } from "../../task/states.ts";
import type { Command } from "./bindings.ts";
import { emptyLine } from "./input.ts";
import {
	findMatch,
	isInOutput,
	keepVisible,
	move,
	movePage,
	say,
	scrollOutput,
	setFilter,
} from "./move.ts";
import {
	type Effect,
	findSelected,
	type InputKind,
	type WatchRow,
	type WatchState,
} from "./state.ts";

/** A state, and the effect that the caller has to perform. */
export type Step = { state: WatchState; effect?: Effect };

/** The key of the action that sets the limit on running tasks. */
export const limitKey = "limit";

type Run = (state: WatchState, now: number) => Step;

export const commands: Record<Command, Run> = {
	down: (state) => ({ state: move(state, 1) }),
	up: (state) => ({ state: move(state, -1) }),
	pageDown: (state) => ({ state: movePage(state, 1) }),
	pageUp: (state) => ({ state: movePage(state, -1) }),
	first: (state) => ({ state: move(state, Number.NEGATIVE_INFINITY) }),
	last: (state) => ({ state: move(state, Number.POSITIVE_INFINITY) }),
	outputDown: (state) => ({ state: scrollOutput(state, 1) }),
	outputUp: (state) => ({ state: scrollOutput(state, -1) }),
	open: (state) => {
		if (state.isWhole) return { state: toList(state) };
		return { state: { ...state, isWhole: state.selected !== undefined } };
	},
	back: (state) => ({
		state: isInOutput(state) ? toList(state) : setFilter(state, ""),
	}),
	switchFocus: (state) => ({
		state: { ...state, focus: isInOutput(state) ? "list" : "output" },
	}),
	find: (state) => ({
		state: openInput(state, isInOutput(state) ? "search" : "filter"),
	}),
	nextMatch: (state, now) => ({ state: findMatch(state, { step: 1, now }) }),
	previousMatch: (state, now) => ({
		state: findMatch(state, { step: -1, now }),
	}),
	page: withRow((state, { id }) => ({
		state,
		effect: { do: "show", call: ["output", id] },
	})),
	diff: withRow((state, { id, short, hasWorktree }, now) =>
		hasWorktree
			? { state, effect: { do: "show", call: ["diff", id] } }
			: refuse(state, `${short} has no worktree of its own`, now),
	),
	pause: withRow((state, row, now) =>
		isFinal(row)
			? refuse(state, `${row.short} has already ended`, now)
			: start(state, callOn(row, row.isPaused ? "unpause" : "pause")),
	),
	cancel: withRow((state, row, now) => {
		const { short, description, isLingering } = row;
		if (isFinal(row) && !isLingering)
			return refuse(state, `${short} has already ended`, now);
		const text = `cancel ${short} with everything it started? y/n  ${description}`;
		const effect = callOn(row, "cancel", "--yes");
		return { state: { ...state, question: { text, effect } } };
	}),
	retry: withRow((state, row, now) =>
		isFinal(row)
			? start(state, callOn(row, "retry"))
			: refuse(state, `${row.short} can be retried after it has ended`, now),
	),
	resume: withRow((state, row, now) => {
		const { id, short, kind } = row;
		if (kind !== "droid")
			return refuse(state, `${short} has no droid session to resume`, now);
		if (!isFinal(row))
			return refuse(state, `${short} can be resumed after it has ended`, now);
		return { state: openInput(state, "resume", id) };
	}),
	send: withRow((state, row, now) =>
		isFinal(row)
			? refuse(state, `${row.short} has ended and takes no message`, now)
			: { state: openInput(state, "send", row.id) },
	),
	pauseQueue: (state) => {
		const verb = state.head.isQueuePaused ? "unpause" : "pause";
		const call = [verb, "--queue"];
		const label = `${verb} the queue`;
		return start(state, { do: "run", call, key: "queue", label });
	},
	raiseLimit: (state, now) => changeLimit(state, 1, now),
	lowerLimit: (state, now) => changeLimit(state, -1, now),
	help: (state) => ({ state: { ...state, help: 0 } }),
	redraw: (state) => ({ state, effect: { do: "redraw" } }),
	suspend: (state) => ({ state, effect: { do: "suspend" } }),
	quit: (state) =>
		state.isWhole
			? { state: toList(state) }
			: { state, effect: { do: "quit" } },
	leave: (state) => ({ state, effect: { do: "quit" } }),
};

/**
 * Starts an action unless one on the same task runs: what a second one does would be decided by the state before the
 * first. Limits are absolute numbers, and are set one after the other.
 */
export function start(state: WatchState, effect: Effect): Step {
	if (effect.do !== "run") return { state, effect };
	const { key, label } = effect;
	if (key !== limitKey && state.busy.includes(key)) return { state };
	const until = Number.POSITIVE_INFINITY;
	const note = { text: `${label} …`, isFault: false, until };
	return { state: { ...state, busy: [...state.busy, key], note }, effect };
}

/** The call of a verb on a task. */
export const callOn = (
	{ id, short }: Pick<WatchRow, "id" | "short">,
	verb: string,
	...rest: readonly string[]
): Effect => ({
	do: "run",
	call: [verb, id, ...rest],
	key: id,
	label: `${verb} ${short}`,
});

// --- internal ---

const refuse = (state: WatchState, text: string, now: number): Step => ({
	state: say(state, text, now, true),
});

/** A command about the selected task; it does nothing without one. */
function withRow(
	command: (state: WatchState, row: WatchRow, now: number) => Step,
): Run {
	return (state, now) => {
		const row = findSelected(state);
		return row ? command(state, row, now) : { state };
	};
}

const toList = (state: WatchState): WatchState =>
	keepVisible({ ...state, isWhole: false, focus: "list" });

/** Opens the line for a text. The filter begins with what it is. */
function openInput(state: WatchState, kind: InputKind, id = ""): WatchState {
	const before = kind === "filter" ? state.filter : "";
	const line = { ...emptyLine, before };
	return { ...state, note: undefined, input: { kind, line, id, before } };
}

function changeLimit(state: WatchState, by: 1 | -1, now: number): Step {
	const limit = state.wantedLimit ?? state.head.limit;
	if (limit === undefined)
		return refuse(state, "the limits cannot be read (bg limit says why)", now);
	if (limit === 0) {
		const hint = "bg limit running 8 sets one";
		return refuse(state, `there is no limit on running tasks (${hint})`, now);
	}
	const wantedLimit = limit + by;
	// 0 would be no limit.
	if (wantedLimit < 1)
		return refuse(state, "the limit is 1 (P pauses the queue)", now);
	return start(
		{ ...state, wantedLimit },
		{
			do: "run",
			call: ["limit", "running", String(wantedLimit)],
			key: limitKey,
			label: `limit running ${wantedLimit}`,
		},
	);
}
