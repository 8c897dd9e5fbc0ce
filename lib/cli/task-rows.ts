/** The rows that `bg list` and `bg watch` show. Nothing here changes a record. */
import { addProgress } from "../droid/task-output.ts";
import { type TaskRow, toTaskRow } from "../print/task-row.ts";
import { toPlain } from "../print/text.ts";
import { describeNote } from "../prune/supervision.ts";
import { describeTaskMessages } from "../prune/task-messages.ts";
import { readOutputBytes, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { hasMessages } from "../store/sessions/messages.ts";
import type { Task } from "../task/schema.ts";

/** How much of the end of an output is read for its last line, in bytes. */
const lastLineBytes = 2048;

/**
 * Makes the row of a task, with the progress that its output shows now.
 * @param waitsFor why it waits to start.
 */
export function readTaskRow(
	store: Store,
	task: Task,
	waitsFor?: string,
): TaskRow {
	const current = addProgress(store, task);
	const isCommand = task.kind === "command" && task.status === "running";
	const lastMessage = isCommand
		? readLastLine(store, task.id)
		: current.progress?.lastMessage;
	const note = describeNote(task);
	const messages = hasMessages(store, task.id)
		? describeTaskMessages(store, task)
		: [];
	const facts = { note, waitsFor, lastMessage, messages };
	return toTaskRow(current, { ...facts, now: Date.now() });
}

// --- internal ---

/** The last line a command wrote, also an unfinished one; "" if its output cannot be read. */
function readLastLine(store: Store, id: string): string {
	try {
		const size = readOutputSize(store, id);
		const from = Math.max(0, size - lastLineBytes);
		const bytes = readOutputBytes(store, id, { from, to: size });
		return toPlain(bytes.toString()).trimEnd().split("\n").at(-1) ?? "";
	} catch {
		return "";
	}
}
