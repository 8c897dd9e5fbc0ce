/** Reads the rows that `bg list` and `bg watch` show. */
import { addProgress } from "../droid/task-output.ts";
import { shortenIds } from "../print/table.ts";
import { type TaskRow, toTaskRow } from "../print/task-row.ts";
import { toPlain } from "../print/text.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { describeNote } from "../prune/supervision.ts";
import { readOutputBytes, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

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

/** A way to look at all tasks again and again that reads only what may have changed. */
export function createRowReader(store: Store): () => TaskRow[] {
	type Seen = { version: string | undefined; row: TaskRow; shown: boolean };
	let known = new Map<string, Seen>();
	return () => {
		const ids = listTaskIds(store).reverse();
		const shorten = shortenIds(ids);
		const now = new Map<string, Seen>();
		for (const id of ids) {
			const version = readRecordVersion(store, id);
			const before = known.get(id);
			if (before?.version === version && before && isFinal(before.row)) {
				now.set(id, before);
				continue;
			}
			const task = findTask(store, id);
			if (!task) continue;
			const reconciled = reconcileTask(store, task);
			const row = readTaskRow(store, reconciled);
			now.set(id, { version, row, shown: !reconciled.archived_at });
		}
		known = now;
		return [...now.values()]
			.filter(({ shown }) => shown)
			.map(({ row }) => ({ ...row, short: shorten(row.id) }));
	};
}

// --- internal ---

/** The last line a command wrote, also one that is not whole yet. */
function readLastLine(store: Store, id: string): string {
	try {
		const size = readOutputSize(store, id);
		const from = Math.max(0, size - lastLineBytes);
		const text = readOutputBytes(store, id, { from, to: size }).toString(
			"utf8",
		);
		return toPlain(text).trimEnd().split("\n").at(-1) ?? "";
	} catch {
		// An output that cannot be read has nothing to say; what can be said is in the record.
		return "";
	}
}
