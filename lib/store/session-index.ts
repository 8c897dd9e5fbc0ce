/**
 * The session index: which tasks a session has, so that a look-up costs the same with 10 tasks and
 * with 10,000; and what is known of a session itself. Over a folder of the old script it is built
 * in slices, unfinished tasks first; the mark that says "whole" is written last.
 */
import { existsSync, rmSync } from "node:fs";
import { errorCode } from "../error.ts";
import { idPattern, sessionPattern } from "../task/ids.ts";
import {
	createExclusive,
	createIn,
	listNames,
	makeFolder,
	readFile,
	removeEmptyFolder,
	replaceFile,
	touch,
} from "./files.ts";
import { folderPath, type Store } from "./paths.ts";

/** Puts a task under a session's key. */
export function indexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	createIn(store, sessionFolder(store, key), id);
}

/** Takes a task away from a session's key. */
export function unindexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	rmSync(`${sessionFolder(store, key)}/${id}`, { force: true });
	// Only an empty folder goes.
	removeEmptyFolder(sessionFolder(store, key));
}

/** The ids of the tasks that stand under a session's key. */
export function listSessionTasks(store: Store, key: string): string[] {
	if (!sessionPattern.test(key)) return [];
	const names = listNames(store, sessionFolder(store, key));
	return names.filter((name) => idPattern.test(name));
}

/**
 * What is noted of a session: the session that called it, what it said as it ended, or the last
 * awaited task whose record a hook read.
 */
export type SessionNote = "caller" | "ended" | "checked";

export function writeSessionNote(
	store: Store,
	key: string,
	note: SessionNote,
	text: string,
): void {
	if (!sessionPattern.test(key)) return;
	makeSessionFolder(store, key);
	replaceFile(store, noteFile(store, key, note), text, false);
}

export function readSessionNote(
	store: Store,
	key: string,
	note: SessionNote,
): string | undefined {
	if (!sessionPattern.test(key)) return undefined;
	try {
		return readFile(store, noteFile(store, key, note));
	} catch (error) {
		if (errorCode(error) === "ENOENT") return undefined;
		throw error;
	}
}

/** Whether this is the first to make a record of a subagent's session: hooks run in parallel. */
export function claimSession(store: Store, key: string): boolean {
	if (!sessionPattern.test(key)) return false;
	makeSessionFolder(store, key);
	return createExclusive(`${sessionFolder(store, key)}/.recorded`);
}

/** Whether every record of the store stands in the index. */
export const isIndexComplete = (store: Store) =>
	existsSync(completeMark(store));

export function markIndexComplete(store: Store): void {
	touch(completeMark(store));
}

/** How far the building of the index is: the pass, and the id it stands at. */
export function readIndexProgress(store: Store): { pass: number; at: string } {
	try {
		const text = readFile(store, `${completeMark(store)}.at`);
		const [, pass, at = ""] = /^([01]) (bg_[0-9a-f]+)?$/.exec(text) ?? [];
		return pass && (!at || idPattern.test(at))
			? { pass: Number(pass), at }
			: { pass: 0, at: "" };
	} catch {
		return { pass: 0, at: "" };
	}
}

export function writeIndexProgress(
	store: Store,
	pass: number,
	at: string,
): void {
	replaceFile(store, `${completeMark(store)}.at`, `${pass} ${at}`, false);
}

// --- internal ---

const sessionFolder = (store: Store, key: string) =>
	`${folderPath(store, "sessions")}/${key}`;

const noteFile = (store: Store, key: string, note: SessionNote) =>
	`${sessionFolder(store, key)}/.${note}`;

const completeMark = (store: Store) =>
	`${folderPath(store, "sessions")}/.whole`;

function makeSessionFolder(store: Store, key: string): void {
	makeFolder(store, sessionFolder(store, key));
}
