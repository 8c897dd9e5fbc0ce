/** The rows that `bg list` and `bg watch` show. Nothing here changes a record. */
import { addProgress } from "../droid/task-output.ts";
import { shortenIds } from "../print/table.ts";
import { type TaskRow, toTaskRow } from "../print/task-row.ts";
import { toPlain } from "../print/text.ts";
import { findQueueState } from "../prune/queue-state.ts";
import type { ReconciledTask } from "../prune/reconcile.ts";
import { describeNote } from "../prune/supervision.ts";
import { describeTaskMessages } from "../prune/task-messages.ts";
import { readOutputBytes, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import { hasMessages } from "../store/sessions/messages.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

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

/** Reads the rows of all tasks repeatedly; of each finished task only once. */
export class RowReader {
	readonly #store: Store;
	/** By id, newest first; a task without a row is in the list that `readChanged` returned last. */
	#known = new Map<string, KnownRow>();
	#shorten = (id: string) => id;

	constructor(store: Store) {
		this.#store = store;
	}

	/** Reads the records that changed or may change: of new, rewritten and unfinished tasks. */
	readChanged(): Task[] {
		const ids = listTaskIds(this.#store).reverse();
		const known = new Map<string, KnownRow>();
		const changed: Task[] = [];
		for (const id of ids) {
			const version = readRecordVersion(this.#store, id);
			const before = this.#known.get(id);
			if (before?.isDone && before.version === version) {
				known.set(id, before);
				continue;
			}
			const task = findTask(this.#store, id);
			if (!task) continue;
			known.set(id, { version, isDone: false });
			changed.push(task);
		}
		this.#known = known;
		this.#shorten = shortenIds(ids);
		return changed;
	}

	/**
	 * The rows of all tasks that `bg cleanup` did not archive, newest first.
	 * @param changed what `readChanged` returned last, reconciled.
	 */
	toRows(changed: Iterable<ReconciledTask>): TaskRow[] {
		const tasks = [...changed];
		const statuses = new Map(tasks.map(({ id, status }) => [id, status]));
		const queue = tasks.some(({ status }) => status === "queued")
			? findQueueState(this.#store)
			: undefined;
		for (const task of tasks) {
			const known = this.#known.get(task.id);
			if (!known) continue;
			known.isDone = isFinal(task) && task.recorded !== false;
			const waitsFor = queue?.describeWait(task, (id) => statuses.get(id));
			known.row = task.archived_at
				? undefined
				: readTaskRow(this.#store, task, waitsFor);
		}
		return [...this.#known.values()].flatMap(({ row }) =>
			row ? [{ ...row, short: this.#shorten(row.id) }] : [],
		);
	}
}

// --- internal ---

type KnownRow = {
	version: string | undefined;
	/** Whether the record will not change by itself any more. */
	isDone: boolean;
	/** Absent if the task is archived. */
	row?: TaskRow;
};

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
