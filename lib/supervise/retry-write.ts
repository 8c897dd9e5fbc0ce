/**
 * Retries what a supervisor writes: for a while a lock may be held, a disk full, a folder missing or
 * read-only. Other tasks go on meanwhile.
 */
import { lstatSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { BgError, errorMessage } from "../error.ts";
import { logFault, openStore } from "../store/directory.ts";
import { LockHeldError } from "../store/locks.ts";
import type { Store } from "../store/paths.ts";
import { type UpdateOptions, updateTaskAsync } from "../store/records.ts";
import type { Stop, Task } from "../task/schema.ts";
import { requestStop } from "../task/states.ts";

/** How long a write is retried, in ms. */
const writeRetryLimitMs = 10 * 60 * 1000;

const retryPauseMs = 1000;

/** The pause after a lock stayed held, in ms. */
const lockPauseMs = 20;

/** How long the first signal of a stop waits for the lock of the task's record, in ms. */
const intentTimeoutMs = 200;

/** Opens the store. A fault is retried for 10 min: without a supervisor its tasks would never start. */
export async function openStoreAtLast(): Promise<Store> {
	const deadline = performance.now() + writeRetryLimitMs;
	for (let tries = 1; ; tries++)
		try {
			return openStore({ write: true });
		} catch (error) {
			if (performance.now() > deadline) throw error;
			if (tries > 1) await delay(retryPauseMs);
		}
}

/** Whether the store was deleted; false if that is unknown. */
export function isDeleted({ dir }: Store): boolean {
	try {
		return !lstatSync(dir, { throwIfNoEntry: false });
	} catch {
		return false;
	}
}

/**
 * Runs a write until it succeeds. The second try follows at once, the others after a pause. A lock that is
 * held is no fault: it is not logged, and the next try follows soon.
 * @param write changes a record by updateTaskAsync only: it must not block. The first try begins before
 * this function returns its promise.
 * @returns what it returned; undefined if the task's record or the whole store was deleted.
 * @throws the last error after 10 min.
 */
export async function retryWrite<T>(
	store: Store,
	id: string,
	write: () => T | Promise<T>,
): Promise<T | undefined> {
	const deadline = performance.now() + writeRetryLimitMs;
	let logged = "";
	for (let tries = 0; ; )
		try {
			if (tries > 0) openStore({ ...store, write: true });
			return await write();
		} catch (error) {
			if (error instanceof BgError && error.exit === "missing")
				return undefined;
			if (isDeleted(store)) return undefined;
			if (performance.now() > deadline) throw error;
			if (error instanceof LockHeldError) {
				await delay(lockPauseMs);
				continue;
			}
			if (tries++ === 0) continue;
			const message = errorMessage(error);
			if (message !== logged) logFault(store, "supervisor", `${id} ${message}`);
			logged = message;
			await delay(retryPauseMs);
		}
}

/** A stop that is being recorded. Neither promise is rejected. */
export type StopRecord = {
	/** The first try is over: the stop must not wait longer. */
	tried: Promise<void>;
	/** The record has the stop, or is gone, or could not be written for 10 min. */
	recorded: Promise<void>;
};

/**
 * Records why a task is stopped: at once if the record can be written, else as soon as possible. The first
 * try takes a short time at most, and none if the output floods the disk.
 * @param isOther whether a record is that of another supervisor, which goes on: it is not changed.
 */
export function recordStop(
	store: Store,
	id: string,
	{ stop, isOther }: { stop: Stop; isOther: (task: Task) => boolean },
): StopRecord {
	const record = async (options: UpdateOptions) => {
		await updateTaskAsync(
			store,
			id,
			(now) => (isOther(now) ? undefined : requestStop(now, stop)),
			options,
		);
	};
	const isFlood = stop.reason === "output-limit";
	const first = record({ timeoutMs: isFlood ? 0 : intentTimeoutMs });
	return {
		tried: first.catch(() => {}),
		recorded: first
			.catch(() => retryWrite(store, id, () => record({})))
			.catch((error) =>
				logFault(store, "supervisor", `${id} ${errorMessage(error)}`),
			),
	};
}
