/**
 * The records: how they are found, read and changed. A record changes in one way only: lock, read,
 * decide, write a temporary file, rename, unlock. The names are in store/paths.ts.
 */
import { existsSync, lstatSync, renameSync } from "node:fs";
import {
	BgError,
	errorCode,
	errorMessage,
	isSystemError,
	refused,
	usage,
} from "../error.ts";
import { compareIds, idPattern, idPrefixPattern } from "../task/ids.ts";
import { hasNewerSchema, NewerSchemaError, parseTask } from "../task/parse.ts";
import { formatRecordText, shortestText } from "../task/record-size.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import {
	listNames,
	readFile,
	readTrusted,
	replaceFile,
	wrapWriteErrors,
} from "./files.ts";
import { withLock } from "./locks.ts";
import { expectNotice, publishEnd } from "./notices.ts";
import { folderPath, recordFile, type Store } from "./paths.ts";
import { indexSession } from "./session-index.ts";

/** How long a verb waits for a lock, in ms. */
export const lockTimeoutMs = 2000;

/** A record that could not be read, and why. */
export type UnreadableRecord = { taskId: string; problem: string };

/**
 * Reads one record.
 * @throws BgError: missing where there is none, refused where it cannot be read.
 */
export function readTask(store: Store, id: string): Task {
	try {
		return loadTask(store, id);
	} catch (error) {
		throw toReadError(store, id, error);
	}
}

/** The same, undefined where there is none or it cannot be read. */
export function findTask(store: Store, id: string): Task | undefined {
	try {
		return readTask(store, id);
	} catch (error) {
		if (error instanceof BgError) return undefined;
		throw error;
	}
}

/**
 * The same, undefined only where there is none.
 * @throws BgError (refused) where it cannot be read: what it says counts, and nobody knows it.
 */
export function findReadableTask(store: Store, id: string): Task | undefined {
	try {
		return readTask(store, id);
	} catch (error) {
		if (error instanceof BgError && error.exit === "missing") return undefined;
		throw error;
	}
}

/** Changes with every write of a record; undefined where there is none. Cheaper than reading it. */
export function readRecordVersion(
	store: Store,
	id: string,
): string | undefined {
	const status = lstatSync(recordFile(store, id), { throwIfNoEntry: false });
	return status && `${status.ino}:${status.mtimeMs}`;
}

/** All records, newest first; those that cannot be read are put into `unreadable`. */
export function* iterateTasks(
	store: Store,
	unreadable: UnreadableRecord[] = [],
): Generator<Task> {
	for (const id of listTaskIds(store).reverse()) {
		try {
			yield loadListedTask(store, id);
		} catch (error) {
			// Deleted between the listing and the reading: it is simply not there.
			if (errorCode(error) !== "ENOENT")
				unreadable.push({ taskId: id, problem: errorMessage(error) });
		}
	}
}

/** The ids of all records, oldest first. */
export function listTaskIds(store: Store): string[] {
	const ids: string[] = [];
	for (const name of listNames(store, store.dir)) {
		if (!name.endsWith(".json")) continue;
		const id = name.slice(0, -".json".length);
		if (idPattern.test(id)) ids.push(id);
	}
	return ids.sort(compareIds);
}

/**
 * The id that a person meant: a whole id, a unique prefix, or `@last`.
 * @throws BgError: usage where it cannot be one, missing where there is none or more than one.
 */
export function resolveTaskId(store: Store, given: string): string {
	if (given === "@last") {
		const newest = listTaskIds(store).at(-1);
		if (!newest)
			throw new BgError(
				"missing",
				"no task yet (bg launch and bg run make some)",
			);
		return newest;
	}
	if (!idPrefixPattern.test(given))
		throw usage(
			`${JSON.stringify(given)} is not a task id: ids look like bg_19f0c2a4b1c…, a unique beginning will do, @last is the newest`,
		);
	if (idPattern.test(given) && existsSync(recordFile(store, given)))
		return given;
	const matches = listTaskIds(store).filter((id) => id.startsWith(given));
	if (matches.length > 1)
		throw new BgError(
			"missing",
			`"${given}" could be ${matches.length} tasks (${matches.slice(0, 3).join(", ")}${matches.length > 3 ? ", …" : ""}): type more of it (bg list shows them)`,
		);
	const [only] = matches;
	if (!only) throw missingTaskError(given);
	return only;
}

/** Writes a new record; its place in the session index is made first. */
export function createTask(store: Store, task: Task): void {
	const { id, kind, session_id, parent_session_id } = task;
	wrapWriteErrors(store.dir, () => {
		if (session_id) indexSession(store, session_id, id);
		// Of a subagent of its own droid itself tells.
		if (kind !== "native") expectNotice(store, parent_session_id, id);
	});
	writeRecord(store, task, true);
}

export type UpdateOptions = {
	/** How long to wait for the lock, in ms. */
	timeoutMs?: number;
	/** What to write where the record is gone or broken; without it, that is an error. */
	fallback?: Task;
};

/**
 * Changes a record under its lock. `decide` sees the record as it is now and returns the new one,
 * or undefined to leave it. An end is written through to the disk and told to those who wait.
 * @returns the record as it now is.
 * @throws BgError where the lock is not to be had, or the record is not ours to rewrite.
 */
export function updateTask(
	store: Store,
	id: string,
	decide: (task: Task) => Task | undefined,
	{ timeoutMs = lockTimeoutMs, fallback }: UpdateOptions = {},
): Task {
	return withLock(store, id, timeoutMs, () => {
		const before = readOrReplace(store, id, fallback);
		// Before the decision, which may start or remove something.
		if (hasNewerSchema(before))
			throw refused(
				`${id} was written by a newer bg (schema ${before.schema}): update this one`,
			);
		const after = decide(before);
		if (!after || after === before) return before;
		const ended = isFinal(after) && !isFinal(before);
		writeRecord(store, after, ended);
		if (ended) publishEnd(store, after);
		return after;
	});
}

/** The task a command runs in, and the tasks that one was launched from. */
export function findAncestors(
	store: Store,
	id: string | undefined,
): Set<string> {
	const ancestors = new Set<string>();
	for (let at = id; at && !ancestors.has(at); ) {
		ancestors.add(at);
		try {
			at = readTask(store, at).parent_task_id;
		} catch {
			break;
		}
	}
	return ancestors;
}

// --- internal ---

const missingTaskError = (id: string) =>
	new BgError("missing", `no task "${id}" (bg list shows them)`);

/** Why a record was not read, in words for a person. */
function toReadError(store: Store, id: string, error: unknown): BgError {
	if (errorCode(error) === "ENOENT") return missingTaskError(id);
	if (error instanceof BgError) return error;
	return refused(
		`the record of ${id} cannot be read: ${errorMessage(error)} (mend or remove ${recordFile(store, id)})`,
	);
}

/**
 * A record of a list of ten thousand. Whose it is is looked at where something can follow from it:
 * what is over is shown, and no more.
 */
function loadListedTask(store: Store, id: string): Task {
	const task = parseRecordOf(id, readTrusted(recordFile(store, id)));
	return isFinal(task) ? task : loadTask(store, id);
}

function parseRecordOf(id: string, json: string): Task {
	const task = parseTask(json);
	if (task.id !== id) throw new Error(`it is that of ${task.id}`);
	return task;
}

/** @throws Error where there is no record of that id, with code ENOENT where there is no file. */
function loadTask(store: Store, id: string): Task {
	return parseRecordOf(id, readFile(store, recordFile(store, id)));
}

/** The record; if it is gone or broken and the caller gave one, the caller's. */
function readOrReplace(store: Store, id: string, fallback?: Task): Task {
	try {
		return loadTask(store, id);
	} catch (error) {
		const path = recordFile(store, id);
		const isGone = errorCode(error) === "ENOENT";
		// What cannot be read for a moment, or only by a newer bg, is not broken.
		const isIntact =
			(isSystemError(error) || error instanceof NewerSchemaError) &&
			!isSpecial(path);
		if (!fallback || (isIntact && !isGone)) throw toReadError(store, id, error);
		if (!isGone)
			renameSync(
				path,
				`${folderPath(store, "broken")}/${id}.${Date.now()}.json`,
			);
		return fallback;
	}
}

/** Whether a path is known to be no regular file: opening a socket is an error of the system. */
function isSpecial(path: string): boolean {
	try {
		return !lstatSync(path).isFile();
	} catch {
		return false;
	}
}

/** Writes a record; if it is larger than a file may be here (`ulimit -f`), the shortest form of it. */
function writeRecord(store: Store, task: Task, durable: boolean): void {
	const path = recordFile(store, task.id);
	wrapWriteErrors(path, () => {
		try {
			replaceFile(store, path, formatRecordText(task), durable);
		} catch (error) {
			if (!isTooLarge(error)) throw error;
			replaceFile(store, path, shortestText(task), durable);
		}
	});
}

/** Whether a write failed at the file size limit. Deno tells the number alone. */
const isTooLarge = (error: unknown) =>
	errorCode(error) === "EFBIG" || /os error 27\b/.test(errorMessage(error));
