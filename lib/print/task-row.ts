/** A task in one line: its description and its progress or result, as plain text. */
import type { Status, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { toLine } from "./text.ts";
import { formatEnded, formatTaskAge } from "./units.ts";

export type TaskRow = {
	id: string;
	/** An end of the id that is unique in the folder. */
	short: string;
	status: Status;
	/** How long it took, or has taken so far. */
	age: string;
	/** How long ago it ended; empty before. */
	ended: string;
	droid: string;
	description: string;
	/** What it used, if that is to be shown. */
	tokens?: string;
	/** Of a finished task, the error or the result. */
	progress: string;
};

type RowFacts = {
	note?: string;
	/** Why it waits to start. */
	waitsFor?: string;
	lastMessage?: string;
	/** What is said of messages to it, and of its notes. */
	messages?: readonly string[];
	now: number;
};

/** What is said of a task beside its record: its note, and why it waits. Both may be "paused". */
export const describeState = ({
	note,
	waits_for,
}: {
	note?: string | undefined;
	waits_for?: string | undefined;
}) => [note, waits_for === note ? undefined : waits_for];

/** Makes the row of a task. `now`: ms since 1970. */
export function toTaskRow(
	task: Task,
	{ note, waitsFor, lastMessage, messages = [], now }: RowFacts,
): TaskRow {
	const { id, status, agent, kind, description, error, result } = task;
	const progress = isFinal(task)
		? [note, error, ...messages, error ? undefined : result]
		: [
				...describeState({ note, waits_for: waitsFor }),
				...messages,
				...describeProgress(task),
				lastMessage,
			];
	return {
		id,
		short: id,
		status,
		age: formatTaskAge(task, now),
		ended: formatEnded(task, now),
		droid: truncateLine(agent ?? kind),
		description: truncateLine(description),
		progress: progress
			.flatMap((part) => (part ? truncateLine(part) : []))
			.join(" · "),
	};
}

/** Describes the progress of a droid: its tool calls and the last tool; empty without calls. */
export function describeProgress({ progress }: Task): string[] {
	if (!progress?.toolCalls) return [];
	const { toolCalls, lastTool } = progress;
	const calls = `${toolCalls} ${toolCalls === 1 ? "call" : "calls"}`;
	return lastTool ? [calls, lastTool] : [calls];
}

// --- internal ---

/** Cut first, because a result may have 16 KiB and a list 10,000 rows. */
const truncateLine = (text: string) => toLine(text.slice(0, 1000));
