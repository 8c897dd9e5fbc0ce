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
} from "../store/session-index.ts";
import { compareIds } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** Unfinished tasks first, because a hook may have to complete them. */
const passes: ((task: Task) => boolean)[] = [
	(task) => !isFinal(task),
	(task) => isFinal(task),
];

/** Continues the build for at most `timeoutMs` ms. */
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
	const task = findTask(store, id);
	if (!task || !isInPass?.(task)) return;
	for (const key of [task.session_id, task.droid_session_id])
		if (key) indexSession(store, key, id);
}
