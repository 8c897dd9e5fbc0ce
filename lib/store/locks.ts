/**
 * Locks. A lock is a folder that holds one file, named after its holder. A process takes it by renaming
 * a prepared folder onto it (ENOTEMPTY: held), releases it by unlinking its own file, and breaks it by
 * unlinking the file of a dead holder. Each name belongs to one holder, so breaking a lock cannot remove
 * the claim of a live one.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { errorCode, errorMessage, refused } from "../error.ts";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import { sleepSync } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import { assertWritable } from "./directory.ts";
import {
	discard,
	listNames,
	removeEmptyFolder,
	removeFile,
	touch,
	uniqueHolderName,
} from "./files.ts";
import { folderPath, lockFolder, type Store } from "./paths.ts";

/**
 * Runs an action under a lock.
 * @param lock `name`: a task's id or a shared lock (store/paths.ts). `timeoutMs`: how long to wait for it.
 * @throws BgError (refused) that names the holder if the lock stays held.
 */
export function withLock<T>(
	store: Store,
	{ name, timeoutMs }: { name: string; timeoutMs: number },
	action: () => T,
): T {
	assertWritable(store);
	const claim = { lock: lockFolder(store, name), holder: uniqueHolderName() };
	acquireLock(store, claim, timeoutMs);
	try {
		return action();
	} finally {
		release(claim);
	}
}

/**
 * Names the holders of claims (paths of files) and says what to do. Only a person can know that another
 * machine is gone for good.
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
	return `${holders.join(", ") || "a process that has just released it"} (${hint})`;
}

/**
 * Removes the claims in a folder whose processes are gone.
 * @returns whether there were any.
 */
export function removeDeadClaims(
	folder: string,
	names: readonly string[],
): boolean {
	let isAnyRemoved = false;
	for (const name of names) {
		const holder = parseClaimName(name);
		if (!holder || checkLiveness(holder) !== "gone") continue;
		rmSync(`${folder}/${name}`, { recursive: true, force: true });
		isAnyRemoved = true;
	}
	return isAnyRemoved;
}

// --- internal ---

/** A lock's folder and the name of this process's file in it. */
type Claim = { lock: string; holder: string };

/** The delay between attempts of a release that failed, in ms. */
const releaseRetryMs = 500;

/** Locks whose release failed, with their holders. */
const unreleased = new Map<string, string>();

/**
 * Releases a lock. A failure does not undo what was done under the lock: the release is retried as long
 * as this process lives. After that, the lock has a dead holder and can be broken.
 */
function release({ lock, holder }: Claim): void {
	try {
		removeFile(`${lock}/${holder}`);
		unreleased.delete(lock);
		// If another process has taken the lock meanwhile, its folder is not empty and stays.
		removeEmptyFolder(lock);
	} catch {
		unreleased.set(lock, holder);
		setTimeout(() => releaseAgain(lock), releaseRetryMs).unref();
	}
}

function releaseAgain(lock: string): void {
	const holder = unreleased.get(lock);
	if (holder) release({ lock, holder });
}

function acquireLock(
	store: Store,
	{ lock, holder }: Claim,
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
		if (!removeDeadClaims(lock, listNames(store, lock))) sleepSync(pause);
	}
}

/** Under a read-only mount even this fails (EROFS): the error that led here matters more. */
function removePrepared(folder: string, holder: string): void {
	discard(`${folder}/${holder}`);
	removeEmptyFolder(folder);
}
