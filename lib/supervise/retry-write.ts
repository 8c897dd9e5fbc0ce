/**
 * Retries what a supervisor writes: for a while a lock may be held, a disk full, a folder missing or
 * read-only. Other tasks go on meanwhile.
 */
import { lstatSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { BgError, errorMessage } from "../error.ts";
import { logFault, openStore } from "../store/directory.ts";
import type { Store } from "../store/paths.ts";

/** How long a write is retried, in ms. */
const writeRetryLimitMs = 10 * 60 * 1000;

const retryPauseMs = 1000;

/** Whether the store was deleted; false if that is unknown. */
export function isDeleted({ dir }: Store): boolean {
	try {
		return !lstatSync(dir, { throwIfNoEntry: false });
	} catch {
		return false;
	}
}

/**
 * Runs a write until it succeeds. The second try follows at once, the others after a pause.
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
	for (let tries = 0; ; tries++)
		try {
			if (tries > 0) openStore({ ...store, write: true });
			return await write();
		} catch (error) {
			if (error instanceof BgError && error.exit === "missing")
				return undefined;
			if (isDeleted(store)) return undefined;
			if (performance.now() > deadline) throw error;
			if (tries === 0) continue;
			const message = errorMessage(error);
			if (message !== logged) logFault(store, "supervisor", `${id} ${message}`);
			logged = message;
			await delay(retryPauseMs);
		}
}
