/**
 * What a person is shown of a task in one line: what it is about, and how far it is in its own
 * words. All of it is plain text, cut to what a screen could hold.
 */
import { ageOf, noteOf } from "./answer.ts";
import type { Store } from "./names.ts";
import { withProgress } from "./output.ts";
import { outputSize, readOutput } from "./outputs.ts";
import { toLine, toPlain } from "./print.ts";
import { isFinal, type Status, type Task } from "./task.ts";

export type Glance = {
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
const lastBytes = 2048;

/** Looks at a task: at its output too, where it runs. */
export function glanceAt(store: Store, task: Task, now = Date.now()): Glance {
	const seen = withProgress(store, task);
	const isCommand = task.kind === "command" && task.status === "running";
	const said = isCommand
		? lastLine(store, task.id)
		: seen.progress?.lastMessage;
	return glanceOf(seen, { note: noteOf(task), said, now });
}

/** The same of what is known already. */
export function glanceOf(
	task: Task,
	{
		note,
		said,
		now,
	}: { note?: string | undefined; said?: string | undefined; now: number },
): Glance {
	const { id, status, agent, kind, description, error, result } = task;
	const words = isFinal(task)
		? [note, error, error ? undefined : result]
		: [note, ...progressOf(task), said];
	return {
		id,
		short: id,
		status,
		age: ageOf(task, now),
		droid: cut(agent ?? kind),
		about: cut(description),
		words: words
			.filter((part) => part)
			.map((part) => cut(part ?? ""))
			.join(" · "),
	};
}

/** How far a droid is, in words: its tool calls and the last tool; none where it called none. */
export function progressOf({ progress }: Task): string[] {
	if (!progress?.toolCalls) return [];
	const { toolCalls, lastTool } = progress;
	const calls = `${toolCalls} ${toolCalls === 1 ? "call" : "calls"}`;
	return lastTool ? [calls, lastTool] : [calls];
}

// --- internal ---

/** A result may be 16 KiB, and a list may hold ten thousand. */
const cut = (text: string) => toLine(text.slice(0, 1000));

/** The last line a command wrote, also one that is not whole yet. */
function lastLine(store: Store, id: string): string {
	try {
		const size = outputSize(store, id);
		const from = Math.max(0, size - lastBytes);
		const text = readOutput(store, id, from, size).toString("utf8");
		return toPlain(text).trimEnd().split("\n").at(-1) ?? "";
	} catch {
		// An output that cannot be read has nothing to say; what can be said is in the record.
		return "";
	}
}
