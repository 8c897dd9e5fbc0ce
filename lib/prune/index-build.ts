/**
 * Builds the session index over a folder that the old script made: a slice at a time, unfinished
 * tasks first, and the mark that says "whole" last. Two at once do no harm: entries are the same.
 */
import type { Store } from "../store/paths.ts";
import { listTaskIds, readTask } from "../store/records.ts";
import {
	indexSession,
	isIndexComplete,
	markIndexComplete,
	readIndexProgress,
	writeIndexProgress,
} from "../store/session-index.ts";
import { compareIds } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** First the unfinished, for those a hook may have to complete; then the rest. */
const passes: ((task: Task) => boolean)[] = [
	(task) => !isFinal(task),
	(task) => isFinal(task),
];

/** Goes on building for at most `patience` ms. */
export function buildIndexSlice(store: Store, timeoutMs: number): void {
	if (isIndexComplete(store)) return;
	const deadline = performance.now() + timeoutMs;
	const ids = listTaskIds(store).reverse();
	const begin = readIndexProgress(store);
	for (let pass = begin.pass; pass < passes.length; pass++) {
		const from = pass === begin.pass ? begin.at : "";
		let last = from;
		for (const id of ids) {
			if (from && compareIds(id, from) >= 0) continue;
			if (performance.now() > deadline) {
				writeIndexProgress(store, pass, last);
				return;
			}
			indexTask(store, id, passes[pass]);
			last = id;
		}
	}
	markIndexComplete(store);
}

// --- internal ---

function indexTask(
	store: Store,
	id: string,
	isInPass: ((task: Task) => boolean) | undefined,
): void {
	let task: Task;
	try {
		task = readTask(store, id);
	} catch {
		return;
	}
	if (!isInPass?.(task)) return;
	for (const key of [task.session_id, task.droid_session_id])
		if (key) indexSession(store, key, id);
}
