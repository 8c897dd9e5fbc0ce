/** Locks that stay held. bg never breaks the lock of a process that may be alive; a person can. */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import { quoteForShell } from "../process/self.ts";
import { listNames } from "../store/files.ts";
import { folderPath, type Store } from "../store/paths.ts";

/** A lock that stays held: by which process, and the command that frees it. */
export type StuckLock = { says: string; fix: string };

/** How long a lock must be held to be stuck, in ms. Usual are a few ms. */
const minStuckMs = 3000;

/**
 * Finds locks that one holder keeps for longer than 3 s. A holder that has exited does not count: the
 * next process that needs its lock breaks it.
 */
export async function findStuckLocks(store: Store): Promise<StuckLock[]> {
	const deadline = performance.now() + minStuckMs;
	let held = listHolders(store);
	while (held.length && performance.now() < deadline) {
		await delay(50);
		held = held.filter((path) => existsSync(path) && !isDead(path));
	}
	return held.map(describeLock);
}

// --- internal ---

function listHolders(store: Store): string[] {
	const locks = folderPath(store, "locks");
	return listNames(store, locks)
		.map((lock) => `${locks}/${lock}`)
		.flatMap((lock) => listNames(store, lock).map((name) => `${lock}/${name}`))
		.filter((path) => !isDead(path));
}

function isDead(path: string): boolean {
	const holder = parseClaimName(basename(path));
	return holder !== undefined && checkLiveness(holder) === "gone";
}

function describeLock(path: string): StuckLock {
	const name = basename(path);
	const lock = describeLockUse(basename(dirname(path)));
	const remove = `rm -r ${quoteForShell(path)}`;
	const holder = parseClaimName(name);
	if (!holder)
		return { says: `${lock} by the unknown file ${name}`, fix: remove };
	const { pid, machine } = holder;
	const where = checkLiveness(holder);
	if (where === "alive")
		return { says: `${lock} by process ${pid}`, fix: `kill -KILL ${pid}` };
	const at = where === "elsewhere" ? ` ${describeMachine(machine)}` : "";
	return { says: `${lock} by process ${pid}${at}`, fix: remove };
}

/** A lock by what needs it: see lockFolder of store/paths.ts. */
function describeLockUse(lock: string): string {
	if (lock === "unique") return "unique (every launch with --unique needs it)";
	if (lock.startsWith("queue,"))
		return "queue (every start on its machine needs it)";
	return lock;
}
