/**
 * The records: how they are found, read and changed. A record changes in one way only: lock, read,
 * decide, write a temporary file, rename, unlock. The file names are in store/paths.ts.
 *
 * A record is in the folder or in the archive (prune/archive.ts), and is moved under its lock. A reader without
 * the lock looks in the folder, in the archive, and in the folder again.
 */
import { existsSync, lstatSync, renameSync } from "node:fs";
import {
	BgError,
	errorCode,
	errorMessage,
	ifExists,
	isSystemError,
	isTooLarge,
	refused,
	toWriteError,
	wrapWriteErrors,
} from "../error.ts";
import {
	createSessionId,
	daysOfPrefix,
	idPattern,
	sortIds,
	timeOfId,
	undated,
} from "../task/ids.ts";
import { hasNewerSchema, NewerSchemaError, parseTask } from "../task/parse.ts";
import { formatRecordText, formatShortText } from "../task/record-size.ts";
import { type ResolveOptions, resolveId } from "../task/resolve-id.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { openStore } from "./directory.ts";
import { publishEnd } from "./ends.ts";
import {
	isSpecial,
	listNames,
	readFile,
	readTrusted,
	replaceFile,
	replaceFileAsync,
} from "./files.ts";
import { withLock, withLockAsync } from "./locks.ts";
import {
	archivedRecord,
	folderPath,
	outputBeside,
	recordFile,
	type Store,
} from "./paths.ts";
import { expectNotice } from "./sessions/notices.ts";
import { indexSession } from "./sessions/session-index.ts";

/** How long a verb waits for a lock, in ms. */
export const lockTimeoutMs = 2000;

/** A record that could not be read, and why. */
export type UnreadableRecord = { id: string; taskId: string; problem: string };

/**
 * Reads one record.
 * @throws BgError: missing if there is none, refused if it cannot be read.
 */
export function readTask(store: Store, id: string): Task {
	const task = findReadableTask(store, id);
	if (task) return task;
	throw missing(`no task "${id}" (bg list shows them)`);
}

/** Reads one record; undefined if there is none or it cannot be read. */
export function findTask(store: Store, id: string): Task | undefined {
	try {
		return loadTask(store, id);
	} catch {
		return undefined;
	}
}

/**
 * Reads one record; undefined only if there is none.
 * @throws BgError (refused) if it cannot be read.
 */
export function findReadableTask(store: Store, id: string): Task | undefined {
	try {
		return ifExists(() => loadTask(store, id));
	} catch (error) {
		throw toReadError(store, id, error);
	}
}

/** A text that changes with every write of a record; undefined if there is none. Cheaper than reading it. */
export function readRecordVersion(
	store: Store,
	id: string,
): string | undefined {
	const read = (path: string) => lstatSync(path, { throwIfNoEntry: false });
	const here = recordFile(store, id);
	const status = read(here) ?? read(archivedRecord(store, id)) ?? read(here);
	return status && `${status.ino}:${status.mtimeMs}`;
}

/**
 * Iterates over the records in the folder, newest first, with `archived` also over those in the archive. Adds
 * those that cannot be read to `unreadable`.
 */
export function* iterateTasks(
	store: Store,
	unreadable: UnreadableRecord[] = [],
	{ archived = false }: { archived?: boolean } = {},
): Generator<Task> {
	// The folder is listed first: a task that is moved meanwhile is in both lists.
	const ids = listTaskIds(store);
	const moved = archived ? listArchivedIds(store) : [];
	const here = new Set(moved.length ? ids : []);
	const places = new Set(moved.filter((id) => !here.has(id)));
	if (places.size) ids.push(...places);
	if (places.size) sortIds(ids);
	for (const id of ids.reverse()) {
		try {
			yield loadListedTask(store, id, places.has(id));
		} catch (error) {
			// ENOENT: the record was deleted between the listing and the read.
			if (errorCode(error) !== "ENOENT")
				unreadable.push({ id, taskId: id, problem: errorMessage(error) });
		}
	}
}

/** Lists the ids of the records in the folder, oldest first. All unfinished tasks are among them. */
export const listTaskIds = (store: Store): string[] =>
	sortIds(listIdsIn(store, store.dir));

/** Lists the ids of archived tasks that begin with `prefix`, oldest first. */
export function listArchivedIds(store: Store, prefix = "bg_"): string[] {
	const archive = folderPath(store, "archive");
	const { first = "", last = "9999" } = daysOfPrefix(prefix) ?? {};
	const ids = listNames(store, archive)
		.filter((day) =>
			/^\d{4}-\d\d-\d\d$/.test(day)
				? first <= day && day <= last
				: day === undated,
		)
		.flatMap((day) => listIdsIn(store, `${archive}/${day}`))
		.filter((id) => id.startsWith(prefix));
	return sortIds(ids);
}

/** Resolves an id that a person typed, see task/resolve-id.ts. @throws BgError as there. */
export const resolveTaskId = (
	store: Store,
	given: string,
	options?: ResolveOptions,
): string =>
	resolveId(
		given,
		{
			has: (id) => existsSync(locateRecord(store, id)),
			list: (prefix) =>
				prefix === undefined ? listTaskIds(store) : listIdsFrom(store, prefix),
			findNewest: (ids) => findNewest(store, ids),
			hasEnded: (id) => {
				const task = findTask(store, id);
				return task !== undefined && isFinal(task);
			},
		},
		options,
	);

/** Writes a new record, after its entries in the session index and among the notices. */
export function createTask(store: Store, task: Task): void {
	indexTask(store, task);
	writeRecord(task, recordFile(store, task.id), { store, durable: true });
}

/** How many new records are made durable at the same time. Each is an open file. */
const maxWritten = 64;

/**
 * Writes the records of a launch, the last one last. Records that are written at the same time are made durable
 * together, which takes a part of the time on a disk with a journal.
 */
export async function createTasks(
	store: Store,
	tasks: readonly Task[],
): Promise<void> {
	const others = tasks.slice(0, -1);
	for (let start = 0; start < others.length; start += maxWritten) {
		const writes = others.slice(start, start + maxWritten).map((task) => {
			indexTask(store, task);
			return replaceRecord(store, task, recordFile(store, task.id));
		});
		// What is under way has to end before an error is handled.
		await Promise.allSettled(writes);
		await Promise.all(writes);
	}
	const last = tasks.at(-1);
	if (last) createTask(store, last);
}

/** Adds a task that is about to be recorded to the session index and the notices. */
function indexTask(
	store: Store,
	{ id, kind, session_id, parent_session_id }: Task,
): void {
	wrapWriteErrors(store.dir, () => {
		// The session id that bg derives from the task's needs no index.
		if (session_id && session_id !== createSessionId(id))
			indexSession(store, session_id, id);
		// Droid itself reports the end of its own subagents.
		if (kind !== "native") expectNotice(store, parent_session_id, id);
	});
}

/** How a record is changed. */
export type UpdateOptions = {
	/** How long to wait for the record's lock, in ms. */
	timeoutMs?: number;
	/** Replaces a record that is missing or broken, which is an error otherwise. */
	fallback?: Task;
	/** Called under the lock, after the record was changed by another change than its end. */
	onWritten?: () => void;
};

/**
 * Changes a record under its lock. `decide` gets the record as it is now and returns the new one, or
 * undefined to leave it. An end is written with fsync and published to waiters.
 * @returns the record as it is now.
 * @throws LockHeldError if the lock stays held; BgError if the record cannot be read or rewritten.
 */
export function updateTask(
	store: Store,
	id: string,
	decide: (task: Task) => Task | undefined,
	{ timeoutMs = lockTimeoutMs, fallback }: UpdateOptions = {},
): Task {
	return withLock(store, { name: id, timeoutMs }, () => {
		const { task, change } = decideChange(store, id, decide, fallback);
		if (change) rewriteRecord(store, task, change === "end");
		if (change === "end") publishEnd(store, task);
		return task;
	});
}

/**
 * Like updateTask, but other work of this process goes on while it waits for the lock, and while the disk
 * writes an end. If the lock is free, `decide` has been called when this function returns its promise, and
 * the record has been changed unless this is its end.
 */
export function updateTaskAsync(
	store: Store,
	id: string,
	decide: (task: Task) => Task | undefined,
	{ timeoutMs = lockTimeoutMs, fallback, onWritten }: UpdateOptions = {},
): Promise<Task> {
	return withLockAsync(store, { name: id, timeoutMs }, () => {
		const { task, change } = decideChange(store, id, decide, fallback);
		if (change === "end") return recordEnd(store, task);
		if (change) {
			rewriteRecord(store, task, false);
			onWritten?.();
		}
		return task;
	});
}

/** The task `id` and the tasks it was launched from; empty without an id. */
export function findAncestors(
	store: Store,
	id: string | undefined,
): Set<string> {
	const ancestors = new Set<string>();
	for (let at = id; at && !ancestors.has(at); ) {
		ancestors.add(at);
		at = findTask(store, at)?.parent_task_id;
	}
	return ancestors;
}

// --- internal ---

const missing = (message: string) => new BgError("missing", message);

/**
 * The task that was launched last. An id with a time to come says that the clock was set back: then the order in
 * which the supervisors began since the boot decides.
 */
function findNewest(
	store: Store,
	ids: readonly string[],
	now = Date.now(),
): string | undefined {
	const last = ids.at(-1);
	if (!last || (timeOfId(last) ?? 0) <= now) return last;
	const { supervisor } = findTask(store, last) ?? {};
	if (!supervisor) return last;
	let newest = { id: last, start: Number(supervisor.start) };
	for (const id of ids) {
		const { machine, boot, start } = findTask(store, id)?.supervisor ?? {};
		const isComparable =
			machine === supervisor.machine && boot === supervisor.boot;
		if (isComparable && Number(start) >= newest.start)
			newest = { id, start: Number(start) };
	}
	return newest.id;
}

/** The path of a record: in the archive only if it is there and not in the folder. */
function locateRecord(store: Store, id: string): string {
	const here = recordFile(store, id);
	if (existsSync(here)) return here;
	const archived = archivedRecord(store, id);
	return existsSync(archived) ? archived : here;
}

/** The ids of the records in one folder. */
function listIdsIn(store: Store, folder: string): string[] {
	const ids: string[] = [];
	for (const name of listNames(store, folder)) {
		if (!name.endsWith(".json")) continue;
		const id = name.slice(0, -".json".length);
		if (idPattern.test(id)) ids.push(id);
	}
	return ids;
}

/** The ids that begin with a text, in the folder and in the archive. */
const listIdsFrom = (store: Store, prefix: string): string[] => [
	...new Set([
		...listTaskIds(store).filter((id) => id.startsWith(prefix)),
		...listArchivedIds(store, prefix),
	]),
];

/** Decides how to change a record whose lock is held. Returns the task as it will be. */
function decideChange(
	store: Store,
	id: string,
	decide: (task: Task) => Task | undefined,
	fallback: Task | undefined,
): { task: Task; change?: "end" | "other" } {
	const before = readOrReplace(store, id, fallback);
	// Checked before `decide`, which may start or remove something.
	if (hasNewerSchema(before))
		throw refused(
			`${id} was written by a newer bg (schema ${before.schema}): update this one`,
		);
	const after = decide(before);
	if (!after || after === before) return { task: before };
	const isEnd = isFinal(after) && !isFinal(before);
	return { task: after, change: isEnd ? "end" : "other" };
}

/** Writes and publishes the end of a task whose record is locked. */
async function recordEnd(store: Store, task: Task): Promise<Task> {
	await replaceRecord(store, task, locateRecord(store, task.id));
	publishEnd(store, task);
	return task;
}

/** Like `writeRecord` with `durable`; other work of this process goes on while the disk writes. */
async function replaceRecord(
	store: Store,
	task: Task,
	path: string,
): Promise<void> {
	const write = (text: string) => replaceFileAsync(store, { path, text });
	try {
		await write(formatRecordText(task)).catch((error) => {
			if (!isTooLarge(error)) throw error;
			return write(formatShortText(task, "ulimit -f"));
		});
	} catch (error) {
		throw toWriteError(path, error);
	}
}

/** The error for a record that cannot be read. */
function toReadError(store: Store, id: string, error: unknown): BgError {
	if (error instanceof BgError) return error;
	const hint =
		error instanceof NewerSchemaError
			? "update bg"
			: `fix or remove ${locateRecord(store, id)}`;
	return refused(
		`the record of ${id} cannot be read: ${errorMessage(error)} (${hint})`,
	);
}

/**
 * Loads a record of a list, which may have 10,000. The file's owner is checked only for an unfinished
 * task: a finished one is shown and leads to no action.
 */
function loadListedTask(store: Store, id: string, isArchived: boolean): Task {
	const path = isArchived ? archivedRecord(store, id) : recordFile(store, id);
	const task =
		ifExists(() => parseRecord(readTrusted(path), path, id)) ??
		loadTask(store, id);
	return isFinal(task) ? task : loadTask(store, id);
}

/** @throws Error if the record cannot be read, with code ENOENT if it is missing. */
function loadTask(store: Store, id: string): Task {
	const load = (path: string) => parseRecord(readFile(store, path), path, id);
	const here = recordFile(store, id);
	return (
		ifExists(() => load(here)) ??
		ifExists(() => load(archivedRecord(store, id))) ??
		load(here)
	);
}

/** Parses the text of the record at `path`. @throws Error if it is not the record of `id`. */
function parseRecord(text: string, path: string, id: string): Task {
	const task = parseTask(text);
	if (task.id !== id) throw new Error(`it is the record of ${task.id}`);
	// The recorded path may be that of before a move.
	if (task.progress?.outputFile) task.progress.outputFile = outputBeside(path);
	return task;
}

/**
 * Reads a record. If it is missing or broken, returns `fallback` and sets a broken record aside;
 * without a fallback, that is an error.
 */
function readOrReplace(store: Store, id: string, fallback?: Task): Task {
	if (!fallback) return readTask(store, id);
	try {
		return ifExists(() => loadTask(store, id)) ?? fallback;
	} catch (error) {
		const path = locateRecord(store, id);
		// A system error may pass, and a newer bg can read its own schema: neither means broken.
		const isIntact = isSystemError(error) || error instanceof NewerSchemaError;
		if (isIntact && !isSpecial(path)) throw toReadError(store, id, error);
		// Another user may have put a folder in the store's place, to which nothing is written.
		openStore({ dir: store.dir });
		const aside = `${folderPath(store, "broken")}/${id}.${Date.now()}.json`;
		renameSync(path, aside);
		return fallback;
	}
}

/** Writes a record, which is locked, where it is. */
const rewriteRecord = (store: Store, task: Task, durable: boolean) =>
	writeRecord(task, locateRecord(store, task.id), { store, durable });

/** Writes a record; a shorter one if the file would be larger than allowed (`ulimit -f`). */
function writeRecord(
	task: Task,
	path: string,
	{ store, durable }: { store: Store; durable: boolean },
): void {
	const write = (text: string) => replaceFile(store, { path, text, durable });
	wrapWriteErrors(path, () => {
		try {
			write(formatRecordText(task));
		} catch (error) {
			if (!isTooLarge(error)) throw error;
			write(formatShortText(task, "ulimit -f"));
		}
	});
}
