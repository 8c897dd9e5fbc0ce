/**
 * What a person is shown of a task in one line: what it is about, and how far it is in its own
 * words. All of it is plain text, cut to what a screen could hold.
 */
import { describeNote, formatTaskAge } from "./answer.ts";
import type { Store } from "./names.ts";
import { addProgress } from "./output.ts";
import { readOutputBytes, readOutputSize } from "./outputs.ts";
import { toLine, toPlain } from "./print.ts";
import { isFinal, type Status, type Task } from "./task.ts";

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

/** How much of an output is looked at for its last line, in bytes. */
const lastLineBytes = 2048;

/** Looks at a task: at its output too, where it runs. */
export function readTaskRow(
	store: Store,
	task: Task,
	now = Date.now(),
): TaskRow {
	const current = addProgress(store, task);
	const isCommand = task.kind === "command" && task.status === "running";
	const lastMessage = isCommand
		? readLastLine(store, task.id)
		: current.progress?.lastMessage;
	return toTaskRow(current, { note: describeNote(task), lastMessage, now });
}

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

/** The last line a command wrote, also one that is not whole yet. */
function readLastLine(store: Store, id: string): string {
	try {
		const size = readOutputSize(store, id);
		const from = Math.max(0, size - lastLineBytes);
		const text = readOutputBytes(store, id, from, size).toString("utf8");
		return toPlain(text).trimEnd().split("\n").at(-1) ?? "";
	} catch {
		// An output that cannot be read has nothing to say; what can be said is in the record.
		return "";
	}
}
