/**
 * Reads the tasks of a store repeatedly, for `bg watch`. A poll costs little while nothing changes: the folder is
 * listed only if its names may have changed, a record is read only if it was rewritten, an output only if it grew,
 * and the queue only if its folders changed. Names and records change by renames, which change the folder's mtime.
 */
import { addUsage, readCurrentDigest } from "../../../droid/task-output.ts";
import { shortenIds } from "../../../print/table.ts";
import {
	findQueueState,
	type QueueState,
	readQueueSettings,
} from "../../../prune/queue-state.ts";
import {
	type ReconciledTask,
	reconcileTask,
} from "../../../prune/reconcile.ts";
import { checkSupervision } from "../../../prune/supervision.ts";
import { readOutputState } from "../../../store/output-files.ts";
import { folderPath, type Store } from "../../../store/paths.ts";
import {
	findTask,
	listTaskIds,
	readRecordVersion,
} from "../../../store/records.ts";
import { hasMessages } from "../../../store/sessions/messages.ts";
import type { Status, Task } from "../../../task/schema.ts";
import { isFinal } from "../../../task/states.ts";
import { readTaskRow } from "../../task-rows.ts";
import type { WatchData, WatchHead, WatchRow } from "../state.ts";
import { FolderChanges } from "./folder-changes.ts";
import {
	describeInUse,
	describeUsed,
	type OrderedTask,
	orderRows,
	toShort,
	toWatchRow,
} from "./rows.ts";

/** A finished record is rarely rewritten (cleanup, a late fact): how often that is checked, in ms. */
const finishedCheckMs = 5000;

/** A poll reconciles one of so many unfinished tasks: each asks the system about its processes. */
const reconcileParts = 4;

export class TaskReader {
	readonly #store: Store;
	readonly #includes: (task: Task) => boolean;
	readonly #known = new Map<string, Known>();
	readonly #folder: FolderChanges;
	readonly #queueFolders: FolderChanges[];
	#ids: string[] = [];
	#shorten = (id: string) => id;
	#queue: QueueState | undefined;
	#settings: ReturnType<typeof readQueueSettings> | undefined;
	#head: WatchHead | undefined;
	#checkedAt = Number.NEGATIVE_INFINITY;
	#part = 0;

	/** @param includes whether a task is shown; by default unless `bg cleanup` took it off the list. */
	constructor(
		store: Store,
		includes: (task: Task) => boolean = ({ archived_at }) => !archived_at,
	) {
		this.#store = store;
		this.#includes = includes;
		this.#folder = new FolderChanges(store.dir);
		this.#queueFolders = (["queue", "slots"] as const).map(
			(name) => new FolderChanges(folderPath(store, name)),
		);
	}

	/** @returns the tasks as they are now, in the order of the list; undefined if nothing has changed. */
	poll(now = Date.now()): WatchData | undefined {
		const hasNames = this.#folder.mayHaveChanged();
		const isCheck = Math.abs(now - this.#checkedAt) >= finishedCheckMs;
		if (isCheck) this.#checkedAt = now;
		const isListed = (hasNames || isCheck) && this.#list();
		const isRead = this.#readRecords(isCheck, hasNames);
		const isFollowed = this.#followTasks();
		// The limits are a file of the folder.
		const isQueueRead =
			this.#queueFolders.map((each) => each.mayHaveChanged()).includes(true) ||
			hasNames;
		if (isQueueRead) this.#queue = findQueueState(this.#store);
		let isChanged = isListed || isRead || isFollowed;
		if (isChanged || isQueueRead)
			isChanged = this.#describeHead(isQueueRead) || isChanged;
		isChanged = this.#describeWaits(now, isQueueRead || isRead) || isChanged;
		if (!isChanged || !this.#head) return undefined;
		return { rows: orderRows(this.#known, now), head: this.#head };
	}

	/** Lists the ids. @returns whether there are others. */
	#list(): boolean {
		const ids = listTaskIds(this.#store);
		const isSame =
			ids.length === this.#ids.length &&
			ids.every((id, at) => id === this.#ids[at]);
		if (isSame) return false;
		const present = new Set(ids);
		for (const id of this.#known.keys())
			if (!present.has(id)) this.#known.delete(id);
		for (const id of ids) if (!this.#known.has(id)) this.#known.set(id, {});
		this.#ids = ids;
		this.#shorten = shortenIds(ids);
		for (const [id, known] of this.#known)
			if (known.row) known.row = { ...known.row, short: this.#shorten(id) };
		return true;
	}

	/** Reads records that were rewritten. @returns whether there were any. */
	#readRecords(isCheck: boolean, hasNames: boolean): boolean {
		let isChanged = false;
		for (const [id, known] of this.#known) {
			const isUnfinished = known.task !== undefined;
			const isDue = !known.version || isCheck || (isUnfinished && hasNames);
			if (!isDue) continue;
			const version = readRecordVersion(this.#store, id);
			if (version === known.version) continue;
			const task = findTask(this.#store, id);
			known.version = version;
			isChanged = true;
			if (task) this.#setTask(id, known, reconcileTask(this.#store, task));
			else Object.assign(known, { task: undefined, row: undefined });
		}
		return isChanged;
	}

	/** Reconciles a part of the unfinished tasks, and reads how far those are that wrote something. */
	#followTasks(): boolean {
		let isChanged = false;
		let at = this.#part++;
		for (const [id, known] of this.#known) {
			const { task } = known;
			if (!task) continue;
			if (at++ % reconcileParts === 0) {
				const now = reconcileTask(this.#store, task);
				const isOver = isFinal(task) && !isLingering(task);
				const hasNews = hasMessages(this.#store, id) || known.hasMessages;
				if (now !== task || isOver || hasNews) {
					this.#setTask(id, known, now);
					isChanged = true;
					continue;
				}
			}
			if (task.status !== "running") continue;
			const written = readOutputVersion(this.#store, id);
			if (written === known.written) continue;
			this.#setTask(id, known, task);
			isChanged = true;
		}
		return isChanged;
	}

	#setTask(id: string, known: Known, task: ReconciledTask): void {
		const isDone =
			isFinal(task) && task.recorded !== false && !isLingering(task);
		known.task = isDone ? undefined : task;
		known.besides = undefined;
		known.hasMessages = hasMessages(this.#store, id);
		known.written =
			task.status === "running"
				? readOutputVersion(this.#store, id)
				: undefined;
		known.row = this.#includes(task) ? this.#toRow(task, known.row) : undefined;
	}

	#toRow(task: ReconciledTask, before: WatchRow | undefined): WatchRow {
		const { id, kind, status } = task;
		const isRunning = status === "running";
		const model =
			isRunning && kind === "droid" ? findModel(this.#store, task) : undefined;
		const written = isRunning ? readOutputState(this.#store, id) : undefined;
		return toWatchRow(task, {
			row: readTaskRow(this.#store, task),
			usage: (isRunning ? addUsage(this.#store, task) : task).usage,
			shorten: this.#shorten,
			writtenAt: written?.mtimeMs,
			model: model ?? before?.model,
			isLingering: isLingering(task),
		});
	}

	/** Describes all tasks and what is in force. @returns whether that has changed. */
	#describeHead(isQueueRead: boolean): boolean {
		const counts: Partial<Record<Status, number>> = {};
		let [tokens, credits] = [0, 0];
		for (const { row } of this.#known.values()) {
			if (!row) continue;
			counts[row.status] = (counts[row.status] ?? 0) + 1;
			tokens += row.used?.tokens ?? 0;
			credits += row.used?.credits ?? 0;
		}
		if (isQueueRead || !this.#settings)
			this.#settings = readQueueSettings(this.#store);
		const { limits, queue } = this.#settings;
		const before = JSON.stringify(this.#head);
		this.#head = {
			counts,
			isQueuePaused: queue.paused,
			...describeInUse(limits, this.#queue, counts.running ?? 0),
			usage: describeUsed({ tokens, credits }),
		};
		return JSON.stringify(this.#head) !== before;
	}

	/**
	 * Describes why queued tasks wait: all of them, or those that wait for a time.
	 * @returns whether a reason has changed.
	 */
	#describeWaits(now: number, isAll: boolean): boolean {
		const findStatus = (id: string) => this.#known.get(id)?.task?.status;
		let isChanged = false;
		for (const known of this.#known.values()) {
			const { task, row } = known;
			if (!row || task?.status !== "queued") continue;
			if (!isAll && task.not_before === undefined) continue;
			const wait = this.#queue?.describeWait(task, findStatus, now) ?? "";
			known.besides ??= row.doing;
			const text = [toShort(wait, this.#shorten), known.besides]
				.filter(Boolean)
				.join(" · ");
			if (text === row.doing) continue;
			known.row = { ...row, doing: text };
			isChanged = true;
		}
		return isChanged;
	}
}

// --- internal ---

/** What is known of a task. */
type Known = OrderedTask & {
	/** The version of its record; undefined if it was not read yet. */
	version?: string | undefined;
	/** The version of its output while it runs. */
	written?: string | undefined;
	/** What is said of a queued task besides why it waits. */
	besides?: string | undefined;
	/** Whether its row may show messages, which come and go beside the record. */
	hasMessages?: boolean;
};

/** Whether a task has ended and its process is alive. */
const isLingering = (task: Task) =>
	isFinal(task) && checkSupervision(task) === "lingering";

/** A text that changes when a task writes. */
function readOutputVersion(store: Store, id: string): string {
	const { size, mtimeMs } = readOutputState(store, id) ?? {};
	return `${size}:${mtimeMs}`;
}

/** The model that a droid's stream names. */
function findModel(store: Store, task: Task): string | undefined {
	try {
		return readCurrentDigest(store, task).model;
	} catch {
		return undefined;
	}
}
