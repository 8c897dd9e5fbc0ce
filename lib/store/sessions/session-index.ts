/**
 * The session index: the tasks of each session, so that finding them costs the same with 10 tasks and
 * with 10,000; and notes about the session itself. For records of `background-manager.py` the index is
 * built in slices, unfinished tasks first (prune/index-build.ts). The mark of a complete index is
 * written last.
 *
 * Droid continues a session under a new id after a compaction: `.next` of the old session and `.previous`
 * of the new one name each other. A fork continues a copy: `.forks` and `.previous`, and the old session
 * goes on as well. A session owns the tasks of those it continues, of a forked one up to the fork.
 */
import { existsSync, rmSync } from "node:fs";
import { ifExists } from "../../error.ts";
import { idPattern, sessionPattern, taskEndOfSession } from "../../task/ids.ts";
import type { Task } from "../../task/schema.ts";
import { makeFolder } from "../directory.ts";
import {
	createExclusive,
	createIn,
	listNames,
	readFile,
	removeEmptyFolder,
	replaceFile,
	touch,
} from "../files.ts";
import { folderPath, indexMark, type Store } from "../paths.ts";

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
export type SessionNote = "caller" | "ended" | "checked" | "next" | "previous";

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

/** Whether a name in the folder of a session links it to another session that continues it. */
export const isSessionLink = (name: string): boolean =>
	[".next", ".previous", ".forks"].includes(name);

/** Removes a note about a session. */
export function removeSessionNote(
	store: Store,
	key: string,
	note: SessionNote,
): void {
	if (sessionPattern.test(key))
		rmSync(noteFile(store, key, note), { force: true });
}

/** The session that continues this one under a new id; undefined if there is none. */
export const findNext = (store: Store, key: string): string | undefined =>
	readLink(store, key, "next")?.session;

/** The session that this one continues, and until when its tasks belong to this one ("": no limit). */
export const findPrevious = (
	store: Store,
	key: string,
): { session: string; until: string } | undefined =>
	readLink(store, key, "previous");

/** Lists a session and those that continue it, oldest first. The last one is the newest. */
export function listSuccessors(store: Store, key: string): string[] {
	const path = new Set<string>();
	// Names on disk may form a cycle.
	for (let at: string | undefined = key; at && !path.has(at); ) {
		path.add(at);
		at = findNext(store, at);
	}
	return [...path];
}

/** The newest of the sessions that continue a session, or the session itself. */
export const findNewest = (store: Store, key: string): string =>
	listSuccessors(store, key).at(-1) ?? key;

/** The sessions whose tasks belong to a session, newest first, each with the last time ("": no limit). */
export type OwnedSessions = ReadonlyMap<string, string>;

/** Finds the sessions whose tasks belong to a session. Any id of it will do, old or new. */
export function findOwnedSessions(store: Store, key: string): OwnedSessions {
	const path = listSuccessors(store, key).reverse();
	const owned = new Map<string, string>();
	let until = "";
	for (let at = path[0]; at && !owned.has(at); ) {
		owned.set(at, until);
		const previous = findPrevious(store, at);
		if (previous?.until && (!until || previous.until < until))
			until = previous.until;
		at = previous?.session;
	}
	for (const each of path) owned.set(each, owned.get(each) ?? "");
	return owned;
}

/** Whether a task belongs to one of the sessions. */
export function isOwned(
	sessions: OwnedSessions,
	{ parent_session_id: key, queued_at: at = "" }: Task,
): boolean {
	const until = key === undefined ? undefined : sessions.get(key);
	return until !== undefined && (!until || at <= until);
}

/**
 * Returns a check whether a task belongs to a session, which may go on under a new id meanwhile: a task of
 * an unknown session makes the check read again.
 */
export function followSession(
	store: Store,
	key: string,
): (task: Task) => boolean {
	let sessions = findOwnedSessions(store, key);
	const others = new Set<string>();
	return (task) => {
		const { parent_session_id: parent = "" } = task;
		if (!sessions.has(parent) && !others.has(parent)) {
			others.add(parent);
			sessions = findOwnedSessions(store, key);
		}
		return isOwned(sessions, task);
	};
}

/** The ids of one continuous session, oldest first: forks are sessions of their own. */
export const listSameSessions = (store: Store, key: string): string[] =>
	[...findOwnedSessions(store, key)]
		.filter(([, until]) => !until)
		.map(([each]) => each)
		.reverse();

/** Records that `fork` has copies of the notices of a session. */
export function addFork(store: Store, key: string, fork: string): void {
	if (!sessionPattern.test(key) || !sessionPattern.test(fork)) return;
	makeFolder(store, sessionFolder(store, key));
	createIn(store, forksFolder(store, key), fork);
}

/** Removes the record of a fork: it continues the session now. */
export function removeFork(store: Store, key: string, fork: string): void {
	if (sessionPattern.test(key) && sessionPattern.test(fork))
		rmSync(`${forksFolder(store, key)}/${fork}`, { force: true });
}

/** Whether a session is a fork of another one. */
export const isFork = (store: Store, key: string, fork: string): boolean =>
	sessionPattern.test(key) && existsSync(`${forksFolder(store, key)}/${fork}`);

/** Lists the sessions that have copies of the notices of a session. */
export const listForks = (store: Store, key: string): string[] =>
	listNames(store, forksFolder(store, key)).filter((name) =>
		sessionPattern.test(name),
	);

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

const forksFolder = (store: Store, key: string) =>
	`${sessionFolder(store, key)}/.forks`;

/** Reads a note that names another session, and maybe a time. */
function readLink(
	store: Store,
	key: string,
	note: "next" | "previous",
): { session: string; until: string } | undefined {
	try {
		const text = readSessionNote(store, key, note) ?? "";
		const [, session = "", until = ""] =
			/^([\w-]+)(?: ([\dTZ:.-]+))?$/.exec(text) ?? [];
		const isOther = session !== key && session !== "main";
		const isLink = isOther && sessionPattern.test(session);
		return isLink ? { session, until } : undefined;
	} catch {
		// An unreadable link counts for nothing: no launch or end fails because of it.
		return undefined;
	}
}

const progressPath = (store: Store) => `${indexMark(store)}.at`;
