/**
 * Stop requests and end events.
 *
 * If a task's record cannot be written, a stop request is an empty file whose name has all of its
 * content: it needs no free space. The task's supervisor reads it and records it later. Every end
 * replaces a file in `.ends`, which wakes the processes that watch that folder.
 */
import { existsSync, lstatSync, renameSync, rmSync, watch } from "node:fs";
import * as v from "valibot";
import { Stop, type Task } from "../task/schema.ts";
import { timestamp } from "../task/states.ts";
import {
	createIn,
	discard,
	listNames,
	moveFile,
	touch,
	uniqueHolderName,
} from "./files.ts";
import { isKnownSession, markSessionDue } from "./notices.ts";
import {
	endFile,
	folderPath,
	handoverFile,
	noticeFolder,
	type Store,
} from "./paths.ts";
import { readSessionNote } from "./session-index.ts";

/** Leaves a stop request for a task's supervisor. */
export function postStop(store: Store, id: string, stop: Stop): void {
	const { reason, signal = "", by } = stop;
	const name = [reason, signal, by].map(encodeURIComponent).join(",");
	createIn(store, folderPath(store, "stops"), `${id}.${name}`);
}

/** Reads the stop request for a task; undefined if there is none. Its time is now. */
export function findStop(store: Store, id: string): Stop | undefined {
	for (const name of listStops(store, id)) {
		const [reason, signal, by] = name
			.slice(id.length + 1)
			.split(",")
			.map(decodeURIComponent);
		const request = v.safeParse(Stop, {
			reason,
			at: timestamp(),
			by,
			...(signal && { signal }),
		});
		if (request.success) return request.output;
	}
	return undefined;
}

/** Removes the stop requests for a task that has ended. */
export function removeStops(store: Store, id: string): void {
	for (const name of listStops(store, id))
		rmSync(`${folderPath(store, "stops")}/${name}`, { force: true });
}

/**
 * Calls back after every end of a task in this store. Start to watch first, then read, then wait: no
 * end is missed. If the system cannot watch (a user has 128 inotify instances), the folder is polled.
 * @returns a function that ends the watch.
 */
export function watchEnds(store: Store, onEnd: () => void): () => void {
	const folder = folderPath(store, "ends");
	let stop = () => {};
	const poll = () => {
		stop = pollFolder(folder, onEnd);
	};
	try {
		const watcher = watch(folder, onEnd);
		stop = () => watcher.close();
		watcher.on("error", () => {
			watcher.close();
			poll();
		});
	} catch {
		poll();
	}
	return () => stop();
}

/** Processes begin with different names. */
let endCount = process.pid;

/** Wakes the processes that wait for an end or for a free slot. */
export function notifyWaiters(store: Store): void {
	const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
	try {
		touch(temporary);
		renameSync(temporary, endFile(store, endCount++));
	} catch {
		// Waiting processes also poll once a second.
		discard(temporary);
	}
}

/** Makes the notice of an ended task due, in its session or, if that has ended, in a caller's. */
export function markNoticeDue(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	const seen = new Set<string>();
	let owner: string | undefined;
	for (let at = session; isKnownSession(at) && !seen.has(at); ) {
		seen.add(at);
		const entry = `${noticeFolder(store, at)}/${id}`;
		if (owner !== undefined) {
			if (existsSync(handoverFile(store, at, owner))) markSessionDue(store, at);
		} else if (moveFile(entry, `${entry}.due`)) {
			markSessionDue(store, at);
			owner = at;
		}
		at = readSessionNote(store, at, "caller");
	}
}

/** Makes the notice of a task's end due and wakes the waiters. */
export function publishEnd(
	store: Store,
	{ id, parent_session_id }: Task,
): void {
	try {
		markNoticeDue(store, parent_session_id, id);
	} catch {
		// A session's hooks also read its records when it starts and stops.
	}
	notifyWaiters(store);
}

// --- internal ---

/** How often a folder is polled that the system does not watch, in ms. */
const folderPollMs = 20;

/** Calls back when the names in a folder have changed. Returns a function that ends that. */
function pollFolder(folder: string, onChange: () => void): () => void {
	const read = () => {
		try {
			return lstatSync(folder).mtimeMs;
		} catch {
			return undefined;
		}
	};
	let before = read();
	const timer = setInterval(() => {
		const now = read();
		if (now !== before) onChange();
		before = now;
	}, folderPollMs);
	return () => clearInterval(timer);
}

/** How long after its last change a folder is read again at each call, in ms: file times are that coarse. */
const unsettledMs = 3000;

/** The time of the last change of a folder that was found empty then. */
let emptySince: { folder: string; mtimeMs: number } | undefined;

/** Lists the stop requests for a task. A supervisor asks often, and nearly always there are none. */
function listStops(store: Store, id: string): string[] {
	const folder = folderPath(store, "stops");
	const { mtimeMs = 0 } = lstatSync(folder, { throwIfNoEntry: false }) ?? {};
	if (emptySince?.folder === folder && emptySince.mtimeMs === mtimeMs)
		return [];
	const names = listNames(store, folder);
	const isSettled = Math.abs(Date.now() - mtimeMs) > unsettledMs;
	emptySince =
		isSettled && names.length === 0 ? { folder, mtimeMs } : undefined;
	return names.filter((name) => name.startsWith(`${id}.`));
}
