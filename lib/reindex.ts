/**
 * Builds the session index over a folder that the old script made: a slice at a time, unfinished
 * tasks first, and the mark that says "whole" last. Two at once do no harm: entries are the same.
 */
import type { Store } from "./names.ts";
import {
	indexSession,
	isIndexWhole,
	markIndexWhole,
	noteIndexing,
	readIndexing,
} from "./sessions.ts";
import { listIds, readTask } from "./store.ts";
import { compareIds, isFinal, type Task } from "./task.ts";

/** First the unfinished, for those a hook may have to complete; then the rest. */
const passes: ((task: Task) => boolean)[] = [
	(task) => !isFinal(task),
	(task) => isFinal(task),
];

/** Goes on building for at most `patience` ms. */
export function indexSlice(store: Store, patience: number): void {
	if (isIndexWhole(store)) return;
	const deadline = performance.now() + patience;
	const ids = listIds(store).reverse();
	const begin = readIndexing(store);
	for (let pass = begin.pass; pass < passes.length; pass++) {
		const from = pass === begin.pass ? begin.at : "";
		let last = from;
		for (const id of ids) {
			if (from && compareIds(id, from) >= 0) continue;
			if (performance.now() > deadline) {
				noteIndexing(store, pass, last);
				return;
			}
			indexTask(store, id, passes[pass]);
			last = id;
		}
	}
	markIndexWhole(store);
}

// --- internal ---

function indexTask(
	store: Store,
	id: string,
	wanted: ((task: Task) => boolean) | undefined,
): void {
	let task: Task;
	try {
		task = readTask(store, id);
	} catch {
		return;
	}
	if (!wanted?.(task)) return;
	for (const key of [task.session_id, task.droid_session_id])
		if (key) indexSession(store, key, id);
}
