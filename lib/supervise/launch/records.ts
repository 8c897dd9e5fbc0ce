/** Waits for the records of a launch, which are written after its supervisor has started. */
import { setTimeout as delay } from "node:timers/promises";
import { isAlive, parseClaimName } from "../../process/identity.ts";
import { UnknownError } from "../../process/system.ts";
import { removeUnlaunchedTasks } from "../../prune/garbage.ts";
import type { Store } from "../../store/paths.ts";
import { findReadableTask, readRecordVersion } from "../../store/records.ts";
import type { Identity, Task } from "../../task/schema.ts";
import { supervisorVariable } from "../../task/variables.ts";
import { isDeleted, retryWrite } from "../retry-write.ts";

/**
 * Waits for the records of a launch, all or none: if the launcher died before it wrote the last one,
 * those that it wrote are removed.
 * @param timeoutMs in ms.
 * @returns the tasks in the order of `ids`; none if the launch was removed or the time is up.
 */
export async function waitForRecords(
	store: Store,
	ids: readonly string[],
	timeoutMs = Number.POSITIVE_INFINITY,
): Promise<Task[]> {
	const deadline = performance.now() + timeoutMs;
	const isLaunching = launcherWatch(
		parseClaimName(process.env[supervisorVariable] ?? ""),
	);
	const tasks = new Map<string, Task>();
	const read = (): Task[] | undefined => {
		const mayCome = isLaunching();
		// The last record is written last: if it is missing, the others need not be read.
		for (const id of ids.toReversed()) {
			if (tasks.has(id)) continue;
			const task = readOwnTask(store, id);
			if (!task) break;
			tasks.set(id, task);
		}
		if (tasks.size === ids.length)
			return ids.map((id) => tasks.get(id) as Task);
		if (mayCome) return performance.now() > deadline ? [] : undefined;
		// The record of an adopted task names another supervisor: it stays.
		const isNew = (id: string) =>
			readOwnTask(store, id) || !readRecordVersion(store, id);
		removeUnlaunchedTasks(store, ids.filter(isNew));
		return [];
	};
	for (;;) {
		const found = await retryWrite(store, ids[0] ?? "", read);
		if (found) return found;
		if (isDeleted(store)) return [];
		await delay(3);
	}
}

// --- internal ---

/** Whether the launcher may still write records; true if that is unknown. */
function launcherWatch(launcher: Identity | undefined): () => boolean {
	return () => {
		try {
			return launcher !== undefined && isAlive(launcher);
		} catch (error) {
			if (error instanceof UnknownError) return true;
			throw error;
		}
	};
}

/** A record that names this process as its supervisor; undefined if there is none yet. */
function readOwnTask(store: Store, id: string): Task | undefined {
	const task = findReadableTask(store, id);
	return task?.supervisor?.pid === process.pid ? task : undefined;
}
