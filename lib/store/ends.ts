/**
 * Stop requests, end events, and which sessions get the notice of an end: also those that continue the
 * session of the task, and its forks.
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
import {
	dueMark,
	endFile,
	folderPath,
	handoverFile,
	noticeFolder,
	type Store,
} from "./paths.ts";
import {
	isAnyDue,
	isDue,
	isKnownSession,
	listHandovers,
	listNotices,
	markSessionDue,
} from "./sessions/notices.ts";
import {
	findNext,
	listForks,
	listSuccessors,
	readSessionNote,
} from "./sessions/session-index.ts";

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
	if (window?.isOpen) {
		window.missed = store;
		return;
	}
	const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
	try {
		touch(temporary);
		renameSync(temporary, endFile(store, endCount++));
	} catch {
		// Waiting processes also poll once a second.
		discard(temporary);
	}
	if (!window) return;
	window.isOpen = true;
	window.timer = setTimeout(notifyMissed, togetherMs);
}

/**
 * From now on this process notifies at most once in 5 ms: the first time at once, then for all ends of that time.
 * @returns a function that ends this and notifies of what is left.
 */
export function notifyTogether(): () => void {
	window = { isOpen: false };
	return () => {
		notifyMissed();
		clearTimeout(window?.timer);
		window = undefined;
	};
}

/**
 * Makes the notice of an ended task due: in its session, in the one that continues it or, if that has
 * ended, in a caller's, and in every fork. An entry moves only to a session that is visited later.
 */
export function markNoticeDue(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	const seen = new Set<string>();
	const owners: string[] = [];
	const reached = [session];
	for (const at of reached) {
		if (!isKnownSession(at) || seen.has(at)) continue;
		seen.add(at);
		const entry = `${noticeFolder(store, at)}/${id}`;
		const isHandedOver = (owner: string) =>
			existsSync(handoverFile(store, at, owner));
		if (moveFile(entry, `${entry}.due`)) {
			markSessionDue(store, at);
			owners.push(at);
		} else if (owners.some(isHandedOver)) markSessionDue(store, at);
		const caller = readSessionNote(store, at, "caller");
		reached.push(findNext(store, at), caller, ...listForks(store, at));
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

/**
 * Copies the entries of a session, also of those on their way to it or already moved on, to its fork.
 * Call it with the fork recorded: what becomes due from then on becomes due in the fork as well.
 * @param hasEnded Whether the task of an awaited entry that disappeared meanwhile has ended.
 */
export function copyNotices(
	store: Store,
	{ from, to }: { from: string; to: string },
	hasEnded: (id: string) => boolean,
): void {
	const folder = noticeFolder(store, to);
	const found = listReachable(store, from, to);
	const known = new Set(listNotices(store, to).map(({ id }) => id));
	for (const [id, isEnded] of found)
		if (!known.has(id)) createIn(store, folder, isEnded ? `${id}.due` : id);
	const later = listReachable(store, from, to);
	for (const [id, wasEnded] of found)
		if (!wasEnded && (later.get(id) ?? hasEnded(id)))
			moveFile(`${folder}/${id}`, `${folder}/${id}.due`);
	if (isAnyDue(store, to)) markSessionDue(store, to);
}

/** Removes the marks of sessions that go on under a new id, and marks the newest session instead. */
export function sweepDueMarks(store: Store): void {
	for (const session of listNames(store, folderPath(store, "due")))
		if (isKnownSession(session) && findNext(store, session))
			markSessionDue(store, session);
}

/** A step by which a session continues another one; killed between two steps, it is done again. */
export type Continuation = {
	step: "compact" | "compress" | "fork" | "revive";
	other: string;
};

/** Records a continuation that is about to be made. The next hook of the session finds it. */
export function planContinuation(
	store: Store,
	session: string,
	{ step, other }: Continuation,
): void {
	createIn(store, noticeFolder(store, session), `.${step}.${other}`);
	touch(dueMark(store, session));
}

/** Lists the continuations that are not complete. */
export function listContinuations(
	store: Store,
	session: string,
): Continuation[] {
	return listNames(store, noticeFolder(store, session)).flatMap(
		(name): Continuation[] => {
			const [, step, other] =
				/^\.(compact|compress|fork|revive)\.(.+)$/.exec(name) ?? [];
			if (!step || !isKnownSession(other) || other === session) return [];
			return [{ step: step as Continuation["step"], other }];
		},
	);
}

/** Removes a continuation that is complete. */
export function endContinuation(
	store: Store,
	session: string,
	{ step, other }: Continuation,
): void {
	const name = `.${step}.${other}`;
	rmSync(`${noticeFolder(store, session)}/${name}`, { force: true });
}

// --- internal ---

/** How long ends are told together, in ms. */
const togetherMs = 5;

/** While it is open, nothing is notified; `missed`: for which store something should have been. */
let window:
	| { isOpen: boolean; timer?: NodeJS.Timeout; missed?: Store | undefined }
	| undefined;

function notifyMissed(): void {
	if (!window) return;
	clearTimeout(window.timer);
	const { missed } = window;
	Object.assign(window, { isOpen: false, missed: undefined });
	if (missed) notifyWaiters(missed);
}

/**
 * The tasks with an entry in a session, in one that is handed over to it, or in one that continues it,
 * without `to`; each with whether it has ended. In the order in which entries move: none is missed.
 */
function listReachable(
	store: Store,
	session: string,
	to: string,
): Map<string, boolean> {
	const found = new Map<string, boolean>();
	const seen = new Set([to]);
	const visit = (at: string) => {
		if (seen.has(at)) return;
		seen.add(at);
		for (const each of listHandovers(store, at)) visit(each);
		for (const notice of listNotices(store, at))
			found.set(notice.id, found.get(notice.id) || isDue(notice));
	};
	for (const at of listSuccessors(store, session)) visit(at);
	return found;
}

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

/**
 * How long after its last change a folder is read again at each call, in ms: file times are that coarse. Where they
 * have a fraction of a second they come from the kernel's tick, which is 10 ms at most.
 */
const unsettledMs = { whole: 3000, fraction: 100 };

/** The time of the last change of a folder that was found empty then. */
let emptySince: { folder: string; mtimeMs: number } | undefined;

/** Lists the stop requests for a task. A supervisor asks often, and nearly always there are none. */
function listStops(store: Store, id: string): string[] {
	const folder = folderPath(store, "stops");
	const { mtimeMs = 0 } = lstatSync(folder, { throwIfNoEntry: false }) ?? {};
	if (emptySince?.folder === folder && emptySince.mtimeMs === mtimeMs)
		return [];
	const names = listNames(store, folder);
	const coarse = mtimeMs % 1000 === 0 ? "whole" : "fraction";
	const isSettled = Math.abs(Date.now() - mtimeMs) > unsettledMs[coarse];
	emptySince =
		isSettled && names.length === 0 ? { folder, mtimeMs } : undefined;
	return names.filter((name) => name.startsWith(`${id}.`));
}
