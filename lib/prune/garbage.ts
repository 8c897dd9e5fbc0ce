/**
 * What the dead leave behind: names that stand for a process that is gone, and what only a running
 * task needs. What they stood for is made good first: a notice falls due again, an `--on-end` runs.
 */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { removePromptFiles } from "../droid/exec.ts";
import { runOnEnd } from "../spawn/on-end.ts";
import { removeEntries } from "../spawn/queue.ts";
import { sweepQueue } from "../spawn/slots.ts";
import { isLaunchPending, sweepKeys } from "../store/claims.ts";
import { listNames, removeEmptyFolder, touch } from "../store/files.ts";
import { removeDeadClaims } from "../store/locks.ts";
import { sweepNotices } from "../store/notices.ts";
import {
	folderPath,
	type folders,
	onEndMark,
	recordFile,
	type Store,
	sweptMark,
} from "../store/paths.ts";
import { findTask, listTaskIds, readRecordVersion } from "../store/records.ts";
import { idPattern } from "../task/ids.ts";
import { isFinal } from "../task/states.ts";

/** How long the notes of a session without tasks are kept, in ms. */
const noteRetentionMs = 7 * 86_400_000;

/** How often a launch sweeps, in ms. */
const sweepIntervalMs = 3_600_000;

/** Sweeps where nobody did for an hour. */
export function sweepIfDue(store: Store): void {
	const mark = sweptMark(store);
	const last = lstatSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
	if (Math.abs(Date.now() - last) < sweepIntervalMs) return;
	rmSync(mark, { force: true });
	touch(mark);
	sweepStore(store);
}

/** Removes what nobody else will ever remove. */
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
	sweepQueue(store);
	sweepKeys(store, (id) => isFinishedOrGone(store, id));
	for (const { id, path } of listTaskNames(store, "onEnd"))
		if (hasNoRecord(store, id)) rmSync(path, { force: true });
		else runOnEnd(store, id);
	for (const { id, path } of listTaskNames(store, "prompts"))
		if (isFinishedOrGone(store, id)) rmSync(path, { force: true });
	for (const { id, path } of listTaskNames(store, "stops"))
		if (isFinishedOrGone(store, id)) rmSync(path, { force: true });
	for (const { id, path } of listTaskNames(store, "progress"))
		if (!readRecordVersion(store, id)) rmSync(path, { force: true });
	// Launcher and supervisor may both die before the record that these names came before.
	const recorded = new Set(listTaskIds(store));
	removeFromSessions(
		store,
		(id) => !recorded.has(id) && hasNoRecord(store, id),
	);
	for (const key of listNames(store, folderPath(store, "sessions")))
		removeOldNotes(`${folderPath(store, "sessions")}/${key}`);
}

/**
 * Takes a launch back that was not made as a whole: nobody was told of it, and none of its tasks
 * started. What is there of each, from its place in the queue to its record, goes.
 */
export function removeUnlaunchedTasks(
	store: Store,
	ids: readonly string[],
): void {
	const all = new Set(ids);
	// Records first: one that is left, because this dies halfway, still has all its names, and names
	// without a record are swept.
	for (const id of ids) {
		for (const path of [recordFile(store, id), onEndMark(store, id)])
			rmSync(path, { force: true });
		removePromptFiles(store, id);
	}
	removeFromSessions(store, (id) => all.has(id));
	removeEntries(store, all);
}

// --- internal ---

/** Takes tasks out of every session's folders. */
function removeFromSessions(
	store: Store,
	isMeant: (id: string) => boolean,
): void {
	for (const folder of ["sessions", "notices"] as const)
		for (const key of listNames(store, folderPath(store, folder))) {
			const path = `${folderPath(store, folder)}/${key}`;
			if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) continue;
			const names = listNames(store, path);
			const meant = names.filter((name) => {
				const [id = ""] = name.split(".");
				return idPattern.test(id) && isMeant(id);
			});
			for (const name of meant) rmSync(`${path}/${name}`, { force: true });
			// Its last task may be launched at this moment.
			if (meant.length) removeEmptyFolder(path);
		}
}

/** What stands for tasks in a folder: names that begin with an id. */
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

/** Over, or never launched: its record comes a moment after its files. */
function isFinishedOrGone(store: Store, id: string): boolean {
	const task = findTask(store, id);
	return task ? isFinal(task) : hasNoRecord(store, id);
}

/** Whether there is no record, and none to come. */
const hasNoRecord = (store: Store, id: string) =>
	!isLaunchPending(store, id) && readRecordVersion(store, id) === undefined;

/** What is noted of a session that has had no task for long goes. */
function removeOldNotes(folder: string): void {
	const status = lstatSync(folder, { throwIfNoEntry: false });
	if (!status?.isDirectory() || Date.now() - status.mtimeMs < noteRetentionMs)
		return;
	if (readdirSync(folder).every((name) => name.startsWith(".")))
		rmSync(folder, { recursive: true, force: true });
}
