/**
 * Builds the session index of a folder that the old script made, in slices: unfinished tasks first, the
 * mark that the index is complete last. Several processes may build it at once: they make the same entries.
 */
import type { Store } from "../store/paths.ts";
import { findTask, listTaskIds } from "../store/records.ts";
import {
	indexSession,
	isIndexComplete,
	markIndexComplete,
	readIndexProgress,
	writeIndexProgress,
} from "../store/sessions/session-index.ts";
import { compareIds } from "../task/ids.ts";
import { isFinal } from "../task/states.ts";

/**
 * Continues the build for at most `timeoutMs` ms. Pass 0 adds unfinished tasks, because a hook may have to
 * complete them, and pass 1 finished ones.
 */
export function buildIndexSlice(store: Store, timeoutMs: number): void {
	if (isIndexComplete(store)) return;
	const deadline = performance.now() + timeoutMs;
	const ids = listTaskIds(store).reverse();
	let { pass, at } = readIndexProgress(store);
	for (; pass < 2; pass++, at = "")
		for (const id of ids) {
			if (at && compareIds(id, at) >= 0) continue;
			if (performance.now() > deadline) {
				writeIndexProgress(store, pass, at);
				return;
			}
			indexTask(store, id, pass === 1);
			at = id;
		}
	markIndexComplete(store);
}

// --- internal ---

function indexTask(store: Store, id: string, finished: boolean): void {
	const task = findTask(store, id);
	if (!task || isFinal(task) !== finished) return;
	for (const key of [task.session_id, task.droid_session_id])
		if (key) indexSession(store, key, id);
}
