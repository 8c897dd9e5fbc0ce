/** A task in one line: its description, and its progress or result. All of it is plain text. */
import type { Status, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { toLine } from "./text.ts";
import { formatTaskAge } from "./units.ts";

export type TaskRow = {
	id: string;
	/** As much of the id as tells it from the others. */
	short: string;
	status: Status;
	age: string;
	droid: string;
	/** The description. */
	about: string;
	/** What came of it; of one that runs, how far it is. */
	words: string;
};

/** The same of what is known already. */
export function toTaskRow(
	task: Task,
	{
		note,
		lastMessage,
		now,
	}: {
		note?: string | undefined;
		lastMessage?: string | undefined;
		now: number;
	},
): TaskRow {
	const { id, status, agent, kind, description, error, result } = task;
	const words = isFinal(task)
		? [note, error, error ? undefined : result]
		: [note, ...describeProgress(task), lastMessage];
	return {
		id,
		short: id,
		status,
		age: formatTaskAge(task, now),
		droid: truncateLine(agent ?? kind),
		about: truncateLine(description),
		words: words
			.filter((part) => part)
			.map((part) => truncateLine(part ?? ""))
			.join(" · "),
	};
}

/** How far a droid is, in words: its tool calls and the last tool; none where it called none. */
export function describeProgress({ progress }: Task): string[] {
	if (!progress?.toolCalls) return [];
	const { toolCalls, lastTool } = progress;
	const calls = `${toolCalls} ${toolCalls === 1 ? "call" : "calls"}`;
	return lastTool ? [calls, lastTool] : [calls];
}

// --- internal ---

/** A result may be 16 KiB, and a list may hold ten thousand. */
const truncateLine = (text: string) => toLine(text.slice(0, 1000));
