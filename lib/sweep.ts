/**
 * What the dead leave behind: names that stand for a process that is gone, and what only a running
 * task needs. What they stood for is made good first: a notice falls due again, an `--on-end` runs.
 */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { namesIn, removeEmpty, removeOfTheDead, touch } from "./files.ts";
import { isBeingLaunched } from "./launching.ts";
import {
	type folders,
	inStore,
	onEndMark,
	recordFile,
	type Store,
	sweptMark,
} from "./names.ts";
import { sweepNotices } from "./notices.ts";
import { idPattern } from "./patterns.ts";
import { sweepQueue, withdrawEntries } from "./queue.ts";
import { runOnEnd } from "./spawn.ts";
import { findTask, listIds, recordVersion, removePrompts } from "./store.ts";
import { isFinal } from "./task.ts";
import { sweepKeys } from "./unique.ts";

/** How long the notes of a session without tasks are kept, in ms. */
const keepNotes = 7 * 86_400_000;

/** How often a launch sweeps, in ms. */
const sweepEvery = 3_600_000;

/** Sweeps where nobody did for an hour. */
export function sweepSometimes(store: Store): void {
	const mark = sweptMark(store);
	const last = lstatSync(mark, { throwIfNoEntry: false })?.mtimeMs ?? 0;
	if (Math.abs(Date.now() - last) < sweepEvery) return;
	rmSync(mark, { force: true });
	touch(mark);
	sweepStore(store);
}

/** Removes what nobody else will ever remove. */
export function sweepStore(store: Store): void {
	for (const name of ["temporary", "launches"] as const) {
		const folder = inStore(store, name);
		removeOfTheDead(folder, namesIn(store, folder));
	}
	for (const name of namesIn(store, inStore(store, "locks"))) {
		const lock = `${inStore(store, "locks")}/${name}`;
		removeOfTheDead(lock, namesIn(store, lock));
		removeEmpty(lock);
	}
	for (const session of namesIn(store, inStore(store, "notices")))
		sweepNotices(store, session);
	sweepQueue(store);
	sweepKeys(store, (id) => isOver(store, id));
	for (const { id, path } of namesOfTasks(store, "onEnd"))
		if (isForgotten(store, id)) rmSync(path, { force: true });
		else runOnEnd(store, id);
	for (const { id, path } of namesOfTasks(store, "prompts"))
		if (isOver(store, id)) rmSync(path, { force: true });
	for (const { id, path } of namesOfTasks(store, "stops"))
		if (isOver(store, id)) rmSync(path, { force: true });
	for (const { id, path } of namesOfTasks(store, "progress"))
		if (!recordVersion(store, id)) rmSync(path, { force: true });
	// Launcher and supervisor may both die before the record that these names came before.
	const recorded = new Set(listIds(store));
	forgetTasks(store, (id) => !recorded.has(id) && isForgotten(store, id));
	for (const key of namesIn(store, inStore(store, "sessions")))
		forgetNotes(`${inStore(store, "sessions")}/${key}`);
}

/**
 * Takes a launch back that was not made as a whole: nobody was told of it, and none of its tasks
 * started. What is there of each, from its place in the queue to its record, goes.
 */
export function withdrawTasks(store: Store, ids: readonly string[]): void {
	const all = new Set(ids);
	// Records first: one that is left, because this dies halfway, still has all its names, and names
	// without a record are swept.
	for (const id of ids) {
		for (const path of [recordFile(store, id), onEndMark(store, id)])
			rmSync(path, { force: true });
		removePrompts(store, id);
	}
	forgetTasks(store, (id) => all.has(id));
	withdrawEntries(store, all);
}

// --- internal ---

/** Takes tasks out of every session's folders. */
function forgetTasks(store: Store, isMeant: (id: string) => boolean): void {
	for (const folder of ["sessions", "notices"] as const)
		for (const key of namesIn(store, inStore(store, folder))) {
			const path = `${inStore(store, folder)}/${key}`;
			if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory()) continue;
			const names = namesIn(store, path);
			const meant = names.filter((name) => {
				const [id = ""] = name.split(".");
				return idPattern.test(id) && isMeant(id);
			});
			for (const name of meant) rmSync(`${path}/${name}`, { force: true });
			// Its last task may be launched at this moment.
			if (meant.length) removeEmpty(path);
		}
}

/** What stands for tasks in a folder: names that begin with an id. */
function namesOfTasks(
	store: Store,
	folder: keyof typeof folders,
): { id: string; path: string }[] {
	return namesIn(store, inStore(store, folder)).flatMap((name) => {
		const [id = ""] = name.split(".");
		const path = `${inStore(store, folder)}/${name}`;
		return idPattern.test(id) ? [{ id, path }] : [];
	});
}

/** Over, or never launched: its record comes a moment after its files. */
function isOver(store: Store, id: string): boolean {
	const task = findTask(store, id);
	return task ? isFinal(task) : isForgotten(store, id);
}

/** Whether there is no record, and none to come. */
const isForgotten = (store: Store, id: string) =>
	!isBeingLaunched(store, id) && recordVersion(store, id) === undefined;

/** What is noted of a session that has had no task for long goes. */
function forgetNotes(folder: string): void {
	const status = lstatSync(folder, { throwIfNoEntry: false });
	if (!status?.isDirectory() || Date.now() - status.mtimeMs < keepNotes) return;
	if (readdirSync(folder).every((name) => name.startsWith(".")))
		rmSync(folder, { recursive: true, force: true });
}
