/** Waits for the records of a launch, which are written after its supervisor has started. */
import { setTimeout as delay } from "node:timers/promises";
import { identifyProcess, isAlive } from "../process/identity.ts";
import { UnknownError } from "../process/system.ts";
import { removeUnlaunchedTasks } from "../prune/garbage.ts";
import type { Store } from "../store/paths.ts";
import { findReadableTask, readRecordVersion } from "../store/records.ts";
import type { Identity, Task } from "../task/schema.ts";
import { supervisorVariable } from "../task/variables.ts";
import { isDeleted, retryWrite } from "./retry-write.ts";

/**
 * The records follow the start of their supervisor, all of a launch or none: where the launcher
 * died before the last one, those that are there are taken away again.
 */
export async function waitForRecords(
	store: Store,
	ids: readonly string[],
	timeoutMs = Number.POSITIVE_INFINITY,
): Promise<Task[]> {
	const deadline = performance.now() + timeoutMs;
	const isLaunching = launcherWatch(Number(process.env[supervisorVariable]));
	const tasks = new Map<string, Task>();
	const read = (): Task[] | undefined => {
		const mayCome = isLaunching();
		// The last one is written last.
		for (const id of ids.toReversed()) {
			if (tasks.has(id)) continue;
			const task = readOwnTask(store, id);
			if (!task) break;
			tasks.set(id, task);
		}
		if (tasks.size === ids.length)
			return ids.map((id) => tasks.get(id) as Task);
		if (mayCome) return performance.now() > deadline ? [] : undefined;
		// An orphan's record is there, and names another supervisor: it stays.
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

/** Whether a launcher may still write records. If that cannot be told, it may. */
function launcherWatch(pid: number): () => boolean {
	let launcher: Identity | undefined;
	return () => {
		try {
			launcher ??= identifyProcess(pid || 0);
			return launcher !== undefined && isAlive(launcher);
		} catch (error) {
			if (error instanceof UnknownError) return true;
			throw error;
		}
	};
}

/** A record that names this process as its supervisor; undefined where it is not there yet. */
function readOwnTask(store: Store, id: string): Task | undefined {
	const task = findReadableTask(store, id);
	return task?.supervisor?.pid === process.pid ? task : undefined;
}
