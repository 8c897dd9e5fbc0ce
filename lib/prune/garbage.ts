/**
 * Removes what processes that died left in the store: claims of dead processes, and files that only an
 * unfinished task needs. Pending work is done first: a notice becomes due again, an `--on-end` is run.
 */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { removePromptFiles } from "../droid/exec.ts";
import { sweepSubmissions } from "../engine/submissions.ts";
import { ifExists } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { runOnEnd } from "../spawn/command.ts";
import { handOver, sweepQueue } from "../spawn/hand-over.ts";
import { removeParkedMarks } from "../spawn/parked.ts";
import { removeEntries } from "../spawn/queue.ts";
import { isLaunchPending, sweepKeys } from "../store/claims.ts";
import { sweepDueMarks } from "../store/ends.ts";
import {
	listNames,
	readFile,
	removeEmptyFolder,
	replaceFile,
	touch,
} from "../store/files.ts";
import { listInputs, removeInput } from "../store/input.ts";
import { removeDeadClaims } from "../store/locks.ts";
import {
	folderPath,
	type folders,
	onEndMark,
	recordFile,
	type Store,
	sweptMark,
	sweptSession,
	unseenFolder,
} from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import { endMessages } from "../store/sessions/messages.ts";
import { sweepNotices } from "../store/sessions/notices.ts";
import { isSessionLink } from "../store/sessions/session-index.ts";
import { idPattern } from "../task/ids.ts";
import { isFinal } from "../task/states.ts";

/** How long the files of a session without tasks are kept, in ms. */
const noteRetentionMs = 7 * 86_400_000;

/** The same for a session that goes on under a new id: it may have tasks under another id. */
const linkRetentionMs = 90 * 86_400_000;

/** How often the store is swept, in ms. */
const sweepIntervalMs = 3_600_000;

/** The most sessions, and the most names of each, that one sweep looks at. */
const maxSweptSessions = 1000;
const maxSweptNames = 2000;

/** Sweeps the store if the last sweep was more than an hour ago. */
export function sweepIfDue(store: Store): void {
	const mark = sweptMark(store);
	const last = lstatSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
	if (Math.abs(Date.now() - last) < sweepIntervalMs) return;
	rmSync(mark, { force: true });
	touch(mark);
	sweepStore(store);
}

/** Removes everything that no living process will remove. */
export function sweepStore(store: Store): void {
	for (const name of ["temporary", "launches"] as const) {
		const folder = folderPath(store, name);
		removeDeadClaims(folder, listNames(store, folder));
	}
	for (const name of listNames(store, folderPath(store, "locks"))) {
		const lock = `${folderPath(store, "locks")}/${name}`;
		removeDeadClaims(lock, listNames(store, lock));
		removeEmptyFolder(lock);
	}
	for (const session of listNames(store, folderPath(store, "notices")))
		sweepNotices(store, session);
	sweepDueMarks(store);
	sweepQueue(store);
	handOver(store, 0);
	sweepKeys(store, (id) => isFinishedOrGone(store, id));
	for (const { id, path } of listTaskNames(store, "onEnd"))
		if (hasNoRecord(store, id)) rmSync(path, { force: true });
		else runOnEnd(store, id);
	for (const folder of ["prompts", "stops", "parked"] as const)
		for (const { id, path } of listTaskNames(store, folder))
			if (isFinishedOrGone(store, id)) rmSync(path, { force: true });
	sweepSubmissions(store, (id) => isFinishedOrGone(store, id));
	for (const id of listInputs(store))
		if (idPattern.test(id) && !mayRun(store, id)) removeInput(store, id);
	for (const { id, path } of listTaskNames(store, "messages")) {
		const task = findTask(store, id);
		if (task && isFinal(task)) endMessages(store, task);
		else if (!task && hasNoRecord(store, id))
			rmSync(path, { recursive: true, force: true });
	}
	for (const { id, path } of listTaskNames(store, "progress"))
		if (!readRecordVersion(store, id)) rmSync(path, { force: true });
	for (const { path } of listTaskNames(store, "after")) {
		for (const id of listNames(store, path))
			if (idPattern.test(id) && isFinishedOrGone(store, id))
				rmSync(`${path}/${id}`, { force: true });
		removeEmptyFolder(path);
	}
	// Launcher and supervisor may both die between these files and the record, which is written later.
	const recorded = new Set(listTaskIds(store));
	const isUnrecorded = (id: string) =>
		!recorded.has(id) && hasNoRecord(store, id);
	for (const folder of ["notices", "unseen"] as const)
		for (const session of listNames(store, folderPath(store, folder)))
			removeFromSession(
				store,
				{ folder, session, most: maxSweptNames },
				isUnrecorded,
			);
	for (const session of chooseSessions(store)) {
		removeFromSession(
			store,
			{ folder: "sessions", session, most: maxSweptNames },
			isUnrecorded,
		);
		removeOldNotes(`${folderPath(store, "sessions")}/${session}`);
	}
	for (const key of listNames(store, folderPath(store, "unseen")))
		if (isOld(`${folderPath(store, "unseen")}/${key}`))
			rmSync(unseenFolder(store, key), { recursive: true, force: true });
}

/**
 * Removes all files of a launch that was not completed: it was not reported, and none of its tasks
 * started.
 */
export function removeUnlaunchedTasks(
	store: Store,
	ids: readonly string[],
): void {
	const all = new Set(ids);
	// Records first: if this process dies halfway, the records that are left have all their files, and
	// files without a record are swept later.
	for (const id of ids) {
		for (const path of [recordFile(store, id), onEndMark(store, id)])
			rmSync(path, { force: true });
		removePromptFiles(store, id);
	}
	for (const folder of ["sessions", "notices"] as const)
		for (const session of listNames(store, folderPath(store, folder)))
			removeFromSession(store, { folder, session }, (id) => all.has(id));
	removeEntries(store, "queue", all);
	for (const id of ids) removeParkedMarks(store, id);
}

// --- internal ---

/**
 * The sessions that this sweep looks at: all if they are few, else the next ones in their order, because a
 * store with 100,000 tasks may have as many sessions.
 */
function chooseSessions(store: Store): string[] {
	const all = listNames(store, folderPath(store, "sessions"));
	if (all.length <= maxSweptSessions) return all;
	const path = sweptSession(store);
	const last = ifExists(() => readFile(store, path)) ?? "";
	all.sort();
	const start = all.findIndex((each) => each > last);
	const chosen = all.slice(Math.max(0, start)).slice(0, maxSweptSessions);
	replaceFile(store, { path, text: chosen.at(-1) ?? "" });
	return chosen;
}

/** Removes tasks from the folder of a session. Of more than `most` names a part is looked at, each time another. */
function removeFromSession(
	store: Store,
	{
		folder,
		session,
		most = Number.POSITIVE_INFINITY,
	}: {
		folder: "sessions" | "notices" | "unseen";
		session: string;
		most?: number;
	},
	isMeant: (id: string) => boolean,
): void {
	const path = `${folderPath(store, folder)}/${session}`;
	if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
	const names = listNames(store, path);
	const start = Math.floor(
		Math.random() * Math.max(0, names.length - most + 1),
	);
	const meant = names.slice(start, start + most).filter((name) => {
		const [id = ""] = name.split(".");
		return idPattern.test(id) && isMeant(id);
	});
	for (const name of meant) rmSync(`${path}/${name}`, { force: true });
	// A task may be added at this moment: only an empty folder is removed.
	if (meant.length) removeEmptyFolder(path);
}

/** The names in a folder that begin with a task id. */
function listTaskNames(
	store: Store,
	folder: keyof typeof folders,
): { id: string; path: string }[] {
	return listNames(store, folderPath(store, folder)).flatMap((name) => {
		const [id = ""] = name.split(".");
		const path = `${folderPath(store, folder)}/${name}`;
		return idPattern.test(id) ? [{ id, path }] : [];
	});
}

/** Whether a task has ended, or has no record and will not get one. */
function isFinishedOrGone(store: Store, id: string): boolean {
	const task = findTask(store, id);
	return task ? isFinal(task) : hasNoRecord(store, id);
}

/** Whether a task has not ended, or its process may be alive. */
function mayRun(store: Store, id: string): boolean {
	const task = findTask(store, id);
	if (!task) return !hasNoRecord(store, id);
	return (
		!isFinal(task) ||
		(task.process !== undefined && checkLiveness(task.process) !== "gone")
	);
}

/** Whether a task has no record and will not get one. */
const hasNoRecord = (store: Store, id: string) =>
	!isLaunchPending(store, id) && readRecordVersion(store, id) === undefined;

/** Whether no name was added to a folder or removed from it for a week. */
function isOld(folder: string): boolean {
	const status = lstatSync(folder, { throwIfNoEntry: false });
	const age = Date.now() - (status?.mtimeMs ?? 0);
	return Boolean(status?.isDirectory()) && age >= noteRetentionMs;
}

/** Removes the folder of a session that has had no task for a week, or for longer if it has links. */
function removeOldNotes(folder: string): void {
	const status = lstatSync(folder, { throwIfNoEntry: false });
	const age = Date.now() - (status?.mtimeMs ?? 0);
	if (!status?.isDirectory() || age < noteRetentionMs) return;
	const names = readdirSync(folder);
	if (!names.every((name) => name.startsWith("."))) return;
	if (age < linkRetentionMs && names.some(isSessionLink)) return;
	rmSync(folder, { recursive: true, force: true });
}
