/**
 * Locks. A lock is a folder that holds one file, named after its holder. It is taken by renaming a
 * prepared folder onto it (ENOTEMPTY: held), given back by unlinking one's own file, and broken by
 * unlinking the file of a dead holder, which can never hurt anybody else's.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { errorCode, errorMessage, refused } from "../error.ts";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import { sleepSync } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import {
	assertWritable,
	discard,
	listNames,
	removeEmptyFolder,
	removeFile,
	touch,
	uniqueHolderName,
} from "./files.ts";
import { folderPath, lockFolder, type Store } from "./paths.ts";

/**
 * Does something while nobody else may: change a task's record, or what all share.
 * @param id of a task, or what is shared.
 * @param patience how long to wait for the lock, in ms.
 * @throws BgError (refused) naming the holder where it is not to be had.
 */
export function withLock<T>(
	store: Store,
	id: string,
	timeoutMs: number,
	action: () => T,
): T {
	assertWritable(store);
	const lock = lockFolder(store, id);
	const holder = uniqueHolderName();
	acquireLock(store, lock, holder, timeoutMs);
	try {
		return action();
	} finally {
		release(lock, holder);
	}
}

/**
 * Whose claims these files are, and the way out: only a person may know that another machine is gone
 * for good.
 */
export function describeHolders(paths: readonly string[]): string {
	const stuck: string[] = [];
	const holders = paths.map((path) => {
		const name = path.slice(path.lastIndexOf("/") + 1);
		const holder = parseClaimName(name);
		const isLocal = holder && checkLiveness(holder) !== "elsewhere";
		if (!isLocal) stuck.push(path);
		if (!holder) return `the unknown file ${name}`;
		const where = isLocal ? "" : ` ${describeMachine(holder.machine)}`;
		return `process ${holder.pid}${where}`;
	});
	const hint = stuck.length
		? `if that is gone for good: rm -r ${stuck.map(quoteForShell).join(" ")}`
		: "try again";
	return `${holders.join(", ") || "nobody any more"} (${hint})`;
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
		removeFile(file);
		unreleased.delete(lock);
		// Only an empty folder goes: whoever took the lock meanwhile keeps it.
		removeEmptyFolder(lock);
	} catch {
		unreleased.set(lock, holder);
		setTimeout(() => releaseAgain(lock), releaseRetryMs).unref();
	}
}

function releaseAgain(lock: string): void {
	const holder = unreleased.get(lock);
	if (holder) release(lock, holder);
}

function acquireLock(
	store: Store,
	lock: string,
	holder: string,
	timeoutMs: number,
): void {
	releaseAgain(lock);
	const prepared = `${folderPath(store, "temporary")}/${holder}`;
	try {
		mkdirSync(prepared, { mode: 0o700 });
		touch(`${prepared}/${holder}`);
	} catch (error) {
		removePrepared(prepared, holder);
		throw refused(`unable to lock ${lock}: ${errorMessage(error)}`);
	}
	const deadline = performance.now() + timeoutMs;
	for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
		try {
			renameSync(prepared, lock);
			return;
		} catch (error) {
			const code = errorCode(error);
			const isHeld = code === "ENOTEMPTY" || code === "EEXIST";
			if (!isHeld || performance.now() > deadline) {
				removePrepared(prepared, holder);
				throw refused(
					isHeld
						? `unable to lock ${lock}: held by ${describeHolders(listNames(store, lock).map((name) => `${lock}/${name}`))}`
						: `unable to lock ${lock}: ${errorMessage(error)}`,
				);
			}
		}
		if (!breakDeadLock(store, lock)) sleepSync(pause);
	}
}

/** Under a read-only mount even this fails (EROFS): the error that led here matters more. */
function removePrepared(folder: string, holder: string): void {
	discard(`${folder}/${holder}`);
	removeEmptyFolder(folder);
}

/** Frees a lock of its dead holders; true where there was one. */
function breakDeadLock(store: Store, lock: string): boolean {
	let broken = false;
	for (const name of listNames(store, lock)) {
		const holder = parseClaimName(name);
		if (!holder || checkLiveness(holder) !== "gone") continue;
		rmSync(`${lock}/${name}`, { force: true });
		broken = true;
	}
	return broken;
}
