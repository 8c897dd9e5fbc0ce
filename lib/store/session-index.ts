/**
 * The session index: the tasks of each session, so that finding them costs the same with 10 tasks and
 * with 10,000; and notes about the session itself. For records of `background-manager.py` the index is
 * built in slices, unfinished tasks first (prune/index-build.ts). The mark of a complete index is
 * written last.
 */
import { existsSync, rmSync } from "node:fs";
import { ifExists } from "../error.ts";
import { idPattern, sessionPattern, taskEndOfSession } from "../task/ids.ts";
import { makeFolder } from "./directory.ts";
import {
	createExclusive,
	createIn,
	listNames,
	readFile,
	removeEmptyFolder,
	replaceFile,
	touch,
} from "./files.ts";
import { folderPath, indexMark, type Store } from "./paths.ts";

/** Adds a task to the index. `key` is a session id; any other text is ignored, here and below. */
export function indexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	createIn(store, sessionFolder(store, key), id);
}

/** Removes a task from the index. */
export function unindexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	rmSync(`${sessionFolder(store, key)}/${id}`, { force: true });
	removeEmptyFolder(sessionFolder(store, key));
}

/**
 * Lists the ids of a session's tasks. The session id that bg derived from a task's id is in no index: that task
 * is found by its name, among those in the folder.
 */
export function listSessionTasks(store: Store, key: string): string[] {
	if (!sessionPattern.test(key)) return [];
	const names = listNames(store, sessionFolder(store, key));
	const ids = names.filter((name) => idPattern.test(name));
	const end = taskEndOfSession(key);
	if (end === undefined || ids.length) return ids;
	return listNames(store, store.dir)
		.filter((name) => name.endsWith(`${end}.json`))
		.map((name) => name.slice(0, -".json".length))
		.filter((id) => idPattern.test(id));
}

/** A note about a session (store/paths.ts): `.sessions/<key>/.<note>`. */
export type SessionNote = "caller" | "ended" | "checked";

/** Writes a note about a session. */
export function writeSessionNote(
	store: Store,
	key: string,
	note: SessionNote,
	text: string,
): void {
	if (!sessionPattern.test(key)) return;
	makeFolder(store, sessionFolder(store, key));
	replaceFile(store, { path: noteFile(store, key, note), text });
}

/** Reads a note about a session; undefined if there is none. */
export function readSessionNote(
	store: Store,
	key: string,
	note: SessionNote,
): string | undefined {
	if (!sessionPattern.test(key)) return undefined;
	return ifExists(() => readFile(store, noteFile(store, key, note)));
}

/**
 * Claims a subagent's session. Returns whether this hook is the first and makes its record: hooks run in
 * parallel.
 */
export function claimSession(store: Store, key: string): boolean {
	if (!sessionPattern.test(key)) return false;
	makeFolder(store, sessionFolder(store, key));
	return createExclusive(`${sessionFolder(store, key)}/.recorded`);
}

/** Whether every record is in the index. */
export const isIndexComplete = (store: Store) => existsSync(indexMark(store));

/** Marks the index as complete. */
export const markIndexComplete = (store: Store) => touch(indexMark(store));

/** Reads how far the index was built: the pass (0 or 1) and the last id of it ("" at the start). */
export function readIndexProgress(store: Store): { pass: number; at: string } {
	try {
		const text = readFile(store, progressPath(store));
		const [, pass, at = ""] = /^([01]) (bg_[0-9a-f]+)?$/.exec(text) ?? [];
		return pass && (!at || idPattern.test(at))
			? { pass: Number(pass), at }
			: { pass: 0, at: "" };
	} catch {
		return { pass: 0, at: "" };
	}
}

/** Writes how far the index was built. */
export function writeIndexProgress(
	store: Store,
	pass: number,
	at: string,
): void {
	replaceFile(store, { path: progressPath(store), text: `${pass} ${at}` });
}

// --- internal ---

const sessionFolder = (store: Store, key: string) =>
	`${folderPath(store, "sessions")}/${key}`;

const noteFile = (store: Store, key: string, note: SessionNote) =>
	`${sessionFolder(store, key)}/.${note}`;

const progressPath = (store: Store) => `${indexMark(store)}.at`;
