/**
 * How keys, data and results change the state of `bg watch`. Pure: effects are returned, not performed.
 * Times are in ms since 1970.
 */
import type { TerminalSize } from "../../print/terminal.ts";
import { type Command, findCommand } from "./bindings.ts";
import { callOn, commands, limitKey, type Step, start } from "./commands.ts";
import { editLine, type Line, pasteText, type Typed } from "./input.ts";
import { findMatch, keepVisible, say, setFilter, showRows } from "./move.ts";
import type { Output } from "./output.ts";
import type { WatchData, WatchState } from "./state.ts";

/** The state after a key or a paste. */
export function update(state: WatchState, typed: Typed, now: number): Step {
	if (state.input) return typeInto(state, state.input, { typed, now });
	if ("paste" in typed) return { state };
	const { key } = typed;
	const command = findCommand(key, state);
	// The job can be stopped at any time.
	if (command === "suspend") return commands.suspend(state, now);
	if (state.question) {
		const { effect } = state.question;
		const next = { ...state, question: undefined };
		return key === "y" ? start(next, effect) : { state: next };
	}
	if (state.help !== undefined && command !== "leave")
		return { state: scrollHelp(state, command) };
	return command ? commands[command](state, now) : { state };
}

/** The state with tasks as they are now. */
export const showData = (state: WatchState, data: WatchData): WatchState =>
	showRows(state, { ...state, ...data });

/** The state with the output of the selected task as it is now. */
export const showOutput = (
	state: WatchState,
	output: Output | undefined,
): WatchState => (state.output === output ? state : { ...state, output });

/** The state on a screen of another size. */
export const resize = (state: WatchState, size: TerminalSize): WatchState =>
	keepVisible({ ...state, size });

/** The state after an action has ended. `text` is the first line of its answer. */
export function endAction(
	state: WatchState,
	{ key, text, isFault }: { key: string; text: string; isFault: boolean },
	now: number,
): WatchState {
	const at = state.busy.indexOf(key);
	const busy = state.busy.filter((_, index) => index !== at);
	const wantedLimit = busy.includes(limitKey) ? state.wantedLimit : undefined;
	return say({ ...state, busy, wantedLimit }, text, now, isFault);
}

// --- internal ---

const helpMoves: Partial<Record<Command, number>> = {
	down: 1,
	up: -1,
	pageDown: 10,
	pageUp: -10,
};

/** Scrolls the help; any other key closes it. */
function scrollHelp(
	state: WatchState,
	command: Command | undefined,
): WatchState {
	const by = command && helpMoves[command];
	if (by === undefined) return { ...state, help: undefined };
	return { ...state, help: Math.max(0, (state.help ?? 0) + by) };
}

/** The state after a key or a paste while a line is typed. */
function typeInto(
	state: WatchState,
	input: NonNullable<WatchState["input"]>,
	{ typed, now }: { typed: Typed; now: number },
): Step {
	const { kind, line, id, before } = input;
	const closed = { ...state, input: undefined };
	const change = (next: Line): Step => {
		const typing = { ...state, input: { ...input, line: next } };
		const isFilter = kind === "filter";
		// The list is filtered while it is typed.
		return { state: isFilter ? setFilter(typing, textOf(next)) : typing };
	};
	if ("paste" in typed) {
		// Only a prompt and a message may have more than one line.
		const isOneLine = kind === "filter" || kind === "search";
		const text = isOneLine ? typed.paste.replace(/\s+/g, " ") : typed.paste;
		return change(pasteText(line, text));
	}
	const { key } = typed;
	if (key === "escape" || key === "ctrl-c")
		return { state: kind === "filter" ? setFilter(closed, before) : closed };
	if (key === "ctrl-z") return commands.suspend(state, now);
	if (key !== "enter") return change(editLine(line, key));
	const text = textOf(line);
	if (kind === "filter" || !text.trim()) return { state: closed };
	if (kind === "search") {
		const searching = { ...closed, search: text };
		return { state: findMatch(searching, { step: 1, now, isNew: true }) };
	}
	const row = state.rows.find((each) => each.id === id);
	return start(closed, callOn(row ?? { id, short: id }, kind, "--", text));
}

const textOf = ({ before, after }: Line) => before + after;
