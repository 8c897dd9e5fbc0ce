/**
 * The records: how they are found, read and changed. A record changes in one way only: lock, read,
 * decide, write a temporary file, rename, unlock. The names are in names.ts.
 */
import { existsSync, lstatSync, renameSync, rmSync, watch } from "node:fs";
import { BgError, codeOf, isSystemError, messageOf, refused } from "./error.ts";
import {
	discard,
	making,
	namesIn,
	ownName,
	readFile,
	readQuickly,
	replaceFile,
	takeFile,
	touch,
} from "./files.ts";
import { withLock } from "./lock.ts";
import {
	inStore,
	lastEndFile,
	onEndMark,
	outputFile,
	progressFile,
	promptFile,
	recordFile,
	type Store,
	systemPromptFile,
} from "./names.ts";
import { dropNotice, expectNotice, fallDue } from "./notices.ts";
import { idPattern, idPrefixPattern } from "./patterns.ts";
import { recordText, shortestText } from "./record.ts";
import { forgetSession, indexSession } from "./sessions.ts";
import {
	compareIds,
	isFinal,
	isNewer,
	NewerError,
	parseTask,
	type Task,
} from "./task.ts";

/** How long a verb waits for a lock, in ms. */
const lockPatience = 2000;

/** A record that could not be read, and why. */
export type Unreadable = { taskId: string; problem: string };

// --- records ---

/**
 * Reads one record.
 * @throws BgError: missing where there is none, refused where it cannot be read.
 */
export function readTask(store: Store, id: string): Task {
	try {
		return loadTask(store, id);
	} catch (error) {
		throw faultOf(store, id, error);
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
export function findReadable(store: Store, id: string): Task | undefined {
	try {
		return readTask(store, id);
	} catch (error) {
		if (error instanceof BgError && error.exit === "missing") return undefined;
		throw error;
	}
}

/** Changes with every write of a record; undefined where there is none. Cheaper than reading it. */
export function recordVersion(store: Store, id: string): string | undefined {
	const status = lstatSync(recordFile(store, id), { throwIfNoEntry: false });
	return status && `${status.ino}:${status.mtimeMs}`;
}

/** All records, newest first; those that cannot be read are put into `unreadable`. */
export function* eachTask(
	store: Store,
	unreadable: Unreadable[] = [],
): Generator<Task> {
	for (const id of listIds(store).reverse()) {
		try {
			yield loadListed(store, id);
		} catch (error) {
			// Deleted between the listing and the reading: it is simply not there.
			if (codeOf(error) !== "ENOENT")
				unreadable.push({ taskId: id, problem: messageOf(error) });
		}
	}
}

/** The ids of all records, oldest first. */
export function listIds(store: Store): string[] {
	const ids: string[] = [];
	for (const name of namesIn(store, store.dir)) {
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
export function resolveId(store: Store, given: string): string {
	if (given === "@last") {
		const newest = listIds(store).at(-1);
		if (!newest)
			throw new BgError(
				"missing",
				"no task yet (bg launch and bg run make some)",
			);
		return newest;
	}
	if (!idPrefixPattern.test(given))
		throw new BgError(
			"usage",
			`${JSON.stringify(given)} is not a task id: ids look like bg_19f0c2a4b1c…, a unique beginning will do, @last is the newest`,
		);
	if (idPattern.test(given) && existsSync(recordFile(store, given)))
		return given;
	const found = listIds(store).filter((id) => id.startsWith(given));
	if (found.length > 1)
		throw new BgError(
			"missing",
			`"${given}" could be ${found.length} tasks (${found.slice(0, 3).join(", ")}${found.length > 3 ? ", …" : ""}): type more of it (bg list shows them)`,
		);
	const [only] = found;
	if (!only) throw noSuchTask(given);
	return only;
}

/** Writes a new record; its place in the session index is made first. */
export function createTask(store: Store, task: Task): void {
	const { id, kind, session_id, parent_session_id } = task;
	making(store.dir, () => {
		if (session_id) indexSession(store, session_id, id);
		// Of a subagent of its own droid itself tells.
		if (kind !== "native") expectNotice(store, parent_session_id, id);
	});
	writeRecord(store, task, true);
}

/** What a finished task takes up on disk, in bytes. */
export function sizeOfTask(store: Store, id: string): number {
	return filesOf(store, id)
		.map((path) => lstatSync(path, { throwIfNoEntry: false })?.size ?? 0)
		.reduce((sum, size) => sum + size, 0);
}

/**
 * Deletes a finished task with all that it left; false where it is not over, or not there.
 * @throws BgError (refused) if its `--on-end` has not run yet.
 */
export function deleteTask(store: Store, id: string): boolean {
	return withLock(store, id, lockPatience, () => {
		const task = findTask(store, id);
		if (!task || !isFinal(task) || isNewer(task)) return false;
		checkOnEndRan(store, task);
		const { session_id, droid_session_id, parent_session_id } = task;
		for (const key of [session_id, droid_session_id, parent_session_id])
			if (key) forgetSession(store, key, id);
		dropNotice(store, parent_session_id, id);
		// The record goes last: what is deleted halfway can be deleted again.
		for (const path of filesOf(store, id)) rmSync(path, { force: true });
		return true;
	});
}

export type UpdateOptions = {
	/** How long to wait for the lock, in ms. */
	patience?: number;
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
	{ patience = lockPatience, fallback }: UpdateOptions = {},
): Task {
	return withLock(store, id, patience, () => {
		const before = readOrReplace(store, id, fallback);
		// Before the decision, which may start or remove something.
		if (isNewer(before))
			throw new BgError(
				"refused",
				`${id} was written by a newer bg (schema ${before.schema}): update this one`,
			);
		const after = decide(before);
		if (!after || after === before) return before;
		const ended = isFinal(after) && !isFinal(before);
		writeRecord(store, after, ended);
		if (ended) announceEnd(store, after);
		return after;
	});
}

/** The task a command runs in, and the tasks that one was launched from. */
export function ancestorsOf(store: Store, id: string | undefined): Set<string> {
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

// --- what stands beside a record ---

/** Forgets what only a running task needs. */
export function removePrompts(store: Store, id: string): void {
	for (const path of [promptFile(store, id), systemPromptFile(store, id)])
		rmSync(path, { force: true });
}

/** Notes that something is to be run once the task is over. */
export function markOnEnd(store: Store, id: string): void {
	making(onEndMark(store, id), () => touch(onEndMark(store, id)));
}

/** Whether what a task wants to be run at its end has not been run yet. */
export const isOnEndPending = (store: Store, { id, on_end }: Task): boolean =>
	on_end !== undefined && existsSync(onEndMark(store, id));

/** @throws BgError (refused) if the `--on-end` of a task has not been run yet. */
export function checkOnEndRan(store: Store, task: Task): void {
	if (isOnEndPending(store, task))
		throw refused(`${task.id} is kept: its --on-end has not run yet`);
}

/** Takes that note away: true for one caller alone. */
export function takeOnEnd(store: Store, id: string): boolean {
	return takeFile(onEndMark(store, id));
}

// --- waiting ---

/**
 * Calls back after every end of a task in this directory. Arm it first, then read, then wait: so
 * nothing falls between. Where the system cannot watch, the caller's own slow look has to do.
 */
export function watchEnds(store: Store, onEnd: () => void): () => void {
	try {
		const watcher = watch(inStore(store, "ends"), onEnd);
		watcher.on("error", () => watcher.close());
		return () => watcher.close();
	} catch {
		return () => {};
	}
}

/** Wakes all who wait for an end, or for a place that is free now. */
export function ringEnds(store: Store): void {
	const bell = `${inStore(store, "temporary")}/${ownName()}`;
	try {
		touch(bell);
		renameSync(bell, lastEndFile(store));
	} catch {
		// Those who wait look once a second as well.
		discard(bell);
	}
}

// --- internal ---

/** All files of a task, its record last. */
function filesOf(store: Store, id: string): string[] {
	const attempts = findTask(store, id)?.attempts ?? [];
	return [
		...attempts.map(({ attempt }) => outputFile(store, id, attempt)),
		outputFile(store, id),
		progressFile(store, id),
		promptFile(store, id),
		systemPromptFile(store, id),
		onEndMark(store, id),
		recordFile(store, id),
	];
}

const noSuchTask = (id: string) =>
	new BgError("missing", `no task "${id}" (bg list shows them)`);

/** Why a record was not read, in words for a person. */
function faultOf(store: Store, id: string, error: unknown): BgError {
	if (codeOf(error) === "ENOENT") return noSuchTask(id);
	if (error instanceof BgError) return error;
	return new BgError(
		"refused",
		`the record of ${id} cannot be read: ${messageOf(error)} (mend or remove ${recordFile(store, id)})`,
	);
}

/**
 * A record of a list of ten thousand. Whose it is is looked at where something can follow from it:
 * what is over is shown, and no more.
 */
function loadListed(store: Store, id: string): Task {
	const task = parseAs(id, readQuickly(recordFile(store, id)));
	return isFinal(task) ? task : loadTask(store, id);
}

function parseAs(id: string, json: string): Task {
	const task = parseTask(json);
	if (task.id !== id) throw new Error(`it is that of ${task.id}`);
	return task;
}

/** @throws Error where there is no record of that id, with code ENOENT where there is no file. */
function loadTask(store: Store, id: string): Task {
	return parseAs(id, readFile(store, recordFile(store, id)));
}

/** The record; if it is gone or broken and the caller gave one, the caller's. */
function readOrReplace(store: Store, id: string, fallback?: Task): Task {
	try {
		return loadTask(store, id);
	} catch (error) {
		const path = recordFile(store, id);
		const isGone = codeOf(error) === "ENOENT";
		// What cannot be read for a moment, or only by a newer bg, is not broken.
		const isWhole =
			(isSystemError(error) || error instanceof NewerError) && !isSpecial(path);
		if (!fallback || (isWhole && !isGone)) throw faultOf(store, id, error);
		if (!isGone)
			renameSync(path, `${inStore(store, "broken")}/${id}.${Date.now()}.json`);
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
	making(path, () => {
		try {
			replaceFile(store, path, recordText(task), durable);
		} catch (error) {
			if (!isTooLarge(error)) throw error;
			replaceFile(store, path, shortestText(task), durable);
		}
	});
}

/** Whether a write failed at the file size limit. Deno tells the number alone. */
const isTooLarge = (error: unknown) =>
	codeOf(error) === "EFBIG" || /os error 27\b/.test(messageOf(error));

/** A launch whose session is told, and those who wait. Where it fails, they look for themselves. */
function announceEnd(store: Store, { id, parent_session_id }: Task): void {
	try {
		fallDue(store, parent_session_id, id);
	} catch {
		// A session looks at its records at its start and its stop as well.
	}
	ringEnds(store);
}
