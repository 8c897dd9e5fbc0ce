/**
 * The check of `bg doctor` for locks that stay held. bg never breaks the lock of a process that may
 * be alive; the fix of this check does.
 */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import { quoteForShell } from "../process/self.ts";
import { listNames } from "../store/files.ts";
import { folderPath, type Store } from "../store/paths.ts";
import type { Finding } from "./finding.ts";

/** A lock held for longer than this, in ms, is stuck. A few ms are usual. */
const minStuckMs = 3000;

/** The most locks that the answer names. */
const maxNamed = 5;

/**
 * Checks that no lock is held by one holder for longer than 3 s. A holder that has exited does not
 * count: the next process that needs its lock breaks it.
 */
export async function checkLocks(store: Store | undefined): Promise<Finding> {
	const stuck = store ? await findStuckLocks(store) : [];
	if (stuck.length === 0) return { says: "none stuck" };
	const named = stuck.slice(0, maxNamed).map(({ says }) => says);
	const left = stuck.length - named.length;
	if (left > 0) named.push(`${left} more`);
	return {
		says: `stuck: ${named.join(", ")}; if the holder hangs or no longer exists:`,
		fix: stuck.map(({ fix }) => fix).join(" && "),
	};
}

// --- internal ---

/** A lock that stays held: its holder, and the command that releases it. */
type StuckLock = { says: string; fix: string };

async function findStuckLocks(store: Store): Promise<StuckLock[]> {
	const deadline = performance.now() + minStuckMs;
	let held = listHolders(store);
	while (held.length && performance.now() < deadline) {
		await delay(50);
		held = held.filter((path) => existsSync(path) && !isDead(path));
	}
	return held.map(describeLock);
}

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
		return { says: `${lock} held by the unknown file ${name}`, fix: remove };
	const { pid, machine } = holder;
	const held = `${lock} held by process ${pid}`;
	const liveness = checkLiveness(holder);
	if (liveness === "alive") return { says: held, fix: `kill -KILL ${pid}` };
	const at = liveness === "elsewhere" ? ` ${describeMachine(machine)}` : "";
	return { says: held + at, fix: remove };
}

/** Names a lock and what needs it: see lockFolder of store/paths.ts. */
function describeLockUse(lock: string): string {
	if (lock === "unique") return "unique (every launch with --unique needs it)";
	if (lock === "sessions")
		return "sessions (every session that goes on under a new id needs it)";
	if (lock.startsWith("queue,"))
		return "queue (every start on its machine needs it)";
	return lock;
}
