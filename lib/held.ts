/** Locks that stay held. bg never breaks the lock of a process that may be alive; a person can. */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { namesIn } from "./files.ts";
import { describeMachine } from "./machine.ts";
import { inStore, type Store } from "./names.ts";
import { liveness, parseHolder } from "./process.ts";
import { quoteForShell } from "./self.ts";

/** A lock that stays held: by which process, and the command that frees it. */
export type StuckLock = { says: string; mend: string };

/** How long a lock must be held to be stuck, in ms. Usual are a few ms. */
const longHold = 3000;

/**
 * Finds locks that one holder keeps for longer than 3 s. A holder that has exited does not count: the
 * next process that needs its lock breaks it.
 */
export async function findStuckLocks(store: Store): Promise<StuckLock[]> {
	const deadline = performance.now() + longHold;
	let held = listHolders(store);
	while (held.length && performance.now() < deadline) {
		await delay(50);
		held = held.filter((path) => existsSync(path) && !isDead(path));
	}
	return held.map(describeLock);
}

// --- internal ---

function listHolders(store: Store): string[] {
	const locks = inStore(store, "locks");
	return namesIn(store, locks)
		.map((lock) => `${locks}/${lock}`)
		.flatMap((lock) => namesIn(store, lock).map((name) => `${lock}/${name}`))
		.filter((path) => !isDead(path));
}

function isDead(path: string): boolean {
	const holder = parseHolder(basename(path));
	return holder !== undefined && liveness(holder) === "gone";
}

function describeLock(path: string): StuckLock {
	const name = basename(path);
	const lock = describeUse(basename(dirname(path)));
	const remove = `rm -r ${quoteForShell(path)}`;
	const holder = parseHolder(name);
	if (!holder)
		return { says: `${lock} by the unknown file ${name}`, mend: remove };
	const { pid, machine } = holder;
	const where = liveness(holder);
	if (where === "alive")
		return { says: `${lock} by process ${pid}`, mend: `kill -KILL ${pid}` };
	const at = where === "elsewhere" ? ` ${describeMachine(machine)}` : "";
	return { says: `${lock} by process ${pid}${at}`, mend: remove };
}

/** A lock by what needs it: see lockFolder of names.ts. */
function describeUse(lock: string): string {
	if (lock === "unique") return "unique (every launch with --unique needs it)";
	if (lock.startsWith("queue,"))
		return "queue (every start on its machine needs it)";
	return lock;
}
