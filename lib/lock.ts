/**
 * Locks. A lock is a folder that holds one file, named after its holder. It is taken by renaming a
 * prepared folder onto it (ENOTEMPTY: held), given back by unlinking one's own file, and broken by
 * unlinking the file of a dead holder, which can never hurt anybody else's.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { BgError, codeOf, messageOf } from "./error.ts";
import {
	checkWritable,
	namesIn,
	ownName,
	removeEmpty,
	sleepSync,
	takeFile,
	touch,
} from "./files.ts";
import { describeMachine } from "./machine.ts";
import { inStore, lockFolder, type Store } from "./names.ts";
import { liveness, parseHolder } from "./process.ts";
import { quoteForShell } from "./self.ts";

/**
 * Does something while nobody else may: change a task's record, or what all share.
 * @param id of a task, or what is shared.
 * @param patience how long to wait for the lock, in ms.
 * @throws BgError (refused) naming the holder where it is not to be had.
 */
export function withLock<T>(
	store: Store,
	id: string,
	patience: number,
	act: () => T,
): T {
	checkWritable(store);
	const lock = lockFolder(store, id);
	const holder = ownName();
	takeLock(store, lock, holder, patience);
	try {
		return act();
	} finally {
		release(lock, holder);
	}
}

/**
 * Whose claims these files are, and the way out: only a person may know that another machine is gone
 * for good.
 */
export function describeHold(paths: readonly string[]): string {
	const stuck: string[] = [];
	const holders = paths.map((path) => {
		const name = path.slice(path.lastIndexOf("/") + 1);
		const holder = parseHolder(name);
		const isHere = holder && liveness(holder) !== "elsewhere";
		if (!isHere) stuck.push(path);
		if (!holder) return `the unknown file ${name}`;
		const where = isHere ? "" : ` ${describeMachine(holder.machine)}`;
		return `process ${holder.pid}${where}`;
	});
	const wayOut = stuck.length
		? `if that is gone for good: rm -r ${stuck.map(quoteForShell).join(" ")}`
		: "try again";
	return `${holders.join(", ") || "nobody any more"} (${wayOut})`;
}

// --- internal ---

/** How long after a failed release it is tried again, in ms. */
const releaseRetryMs = 500;

/** Locks that this process holds because their release failed. */
const unreleased = new Map<string, string>();

/**
 * Gives a lock back. If that fails, what was done under the lock is done all the same: the release
 * is tried again for as long as this process lives, and after that the lock is a dead holder's.
 */
function release(lock: string, holder: string): void {
	const file = `${lock}/${holder}`;
	try {
		takeFile(file);
		unreleased.delete(lock);
		// Only an empty folder goes: whoever took the lock meanwhile keeps it.
		removeEmpty(lock);
	} catch {
		unreleased.set(lock, holder);
		setTimeout(() => releaseAgain(lock), releaseRetryMs).unref();
	}
}

function releaseAgain(lock: string): void {
	const holder = unreleased.get(lock);
	if (holder) release(lock, holder);
}

function takeLock(
	store: Store,
	lock: string,
	holder: string,
	patience: number,
): void {
	releaseAgain(lock);
	const prepared = `${inStore(store, "temporary")}/${holder}`;
	try {
		mkdirSync(prepared, { mode: 0o700 });
		touch(`${prepared}/${holder}`);
	} catch (error) {
		rmSync(prepared, { recursive: true, force: true });
		throw new BgError("refused", `unable to lock ${lock}: ${messageOf(error)}`);
	}
	const deadline = performance.now() + patience;
	for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
		try {
			renameSync(prepared, lock);
			return;
		} catch (error) {
			const code = codeOf(error);
			const held = code === "ENOTEMPTY" || code === "EEXIST";
			if (!held || performance.now() > deadline) {
				rmSync(prepared, { recursive: true, force: true });
				throw new BgError(
					"refused",
					held
						? `unable to lock ${lock}: held by ${describeHold(namesIn(store, lock).map((name) => `${lock}/${name}`))}`
						: `unable to lock ${lock}: ${messageOf(error)}`,
				);
			}
		}
		if (!breakDeadLock(store, lock)) sleepSync(pause);
	}
}

/** Frees a lock of its dead holders; true where there was one. */
function breakDeadLock(store: Store, lock: string): boolean {
	let broken = false;
	for (const name of namesIn(store, lock)) {
		const holder = parseHolder(name);
		if (!holder || liveness(holder) !== "gone") continue;
		rmSync(`${lock}/${name}`, { force: true });
		broken = true;
	}
	return broken;
}
