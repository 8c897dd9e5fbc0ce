/**
 * Locks. A lock is a folder that holds one file, named after its holder. A process takes it by renaming
 * a prepared folder onto it (ENOTEMPTY: held), releases it by unlinking its own file, and breaks it by
 * unlinking the file of a dead holder. Each name belongs to one holder, so breaking a lock cannot remove
 * the claim of a live one.
 *
 * A supervisor releases a lock by renaming the folder back: it is prepared for the next lock. It does so only while
 * its own file is in the folder.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { BgError, errorCode, errorMessage, refused } from "../error.ts";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { describeMachine } from "../process/machine.ts";
import { sleep, sleepSync } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import type { Identity } from "../task/schema.ts";
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

/** A lock stays held by a process that is alive, or may be. Nothing was done. */
export class LockHeldError extends BgError {
	constructor(message: string) {
		super("refused", message);
	}
}

/** A lock to take. `name`: a task's id or a shared lock (store/paths.ts). */
type LockRequest = {
	name: string;
	/** How long to wait for it, in ms. With 0, the lock is only tried. */
	timeoutMs: number;
};

/**
 * Runs an action under a lock. While it waits for the lock, this thread is blocked.
 * @throws LockHeldError that names the holder if the lock stays held; BgError (refused) if it cannot be
 * taken for another reason.
 */
export function withLock<T>(
	store: Store,
	{ name, timeoutMs }: LockRequest,
	action: () => T,
): T {
	const claim = prepareClaim(store, name);
	const deadline = performance.now() + timeoutMs;
	for (let pause = 1; !tryAcquire(store, claim); pause *= 2) {
		if (performance.now() >= deadline) throw abandonClaim(store, claim);
		sleepSync(Math.min(pause, 20));
	}
	try {
		return action();
	} finally {
		release(claim);
	}
}

/**
 * Runs an action under one lock after the other. A lock that is held is left out. The claim is moved from lock to
 * lock by one rename each, which releases the one and takes the other: making a claim for each would take most of
 * the time of a short action.
 * @param action gets the name of its lock; false ends the run.
 * @throws BgError (refused) if a lock cannot be taken for another reason than being held.
 */
export function withEachLock(
	store: Store,
	names: Iterable<string>,
	action: (name: string) => boolean,
): void {
	let claim: Claim | undefined;
	try {
		for (const name of names) {
			claim ??= prepareClaim(store, name);
			claim.lock = lockFolder(store, name);
			if (!tryAcquire(store, claim)) continue;
			claim.prepared = claim.lock;
			if (!action(name)) return;
		}
	} finally {
		if (claim) release({ ...claim, lock: claim.prepared });
	}
}

/**
 * Like withLock, but other work of this process goes on while it waits. If the lock is free, the action has
 * begun when this function returns its promise, and has run if it is synchronous.
 */
export async function withLockAsync<T>(
	store: Store,
	{ name, timeoutMs }: LockRequest,
	action: () => T | Promise<T>,
): Promise<T> {
	const claim = reuseClaim(store, name) ?? prepareClaim(store, name);
	const deadline = performance.now() + timeoutMs;
	for (let pause = 1; !tryAcquire(store, claim); pause *= 2) {
		const left = deadline - performance.now();
		if (left <= 0) throw abandonClaim(store, claim);
		await sleep(Math.min(pause, 50, left));
	}
	try {
		const result = action();
		// Without a promise, the lock is released at once: this process may need it before it waits again.
		return result instanceof Promise ? await result : result;
	} finally {
		if (!keepClaim(claim)) release(claim);
	}
}

/**
 * Keeps the claims of `withLockAsync` for the next locks of this process: one rename takes a lock, and one releases it.
 * Making a folder for each would take longer than most actions under a lock.
 * @returns a function that ends this and removes the claims that are kept.
 */
export function keepClaims(): () => void {
	isKeeping = true;
	return () => {
		isKeeping = false;
		for (const claim of kept.splice(0)) removePrepared(claim);
	};
}

/** The processes that hold a lock of the store. */
export const listLockHolders = (store: Store): Identity[] =>
	listNames(store, folderPath(store, "locks"))
		.flatMap((name) => listNames(store, lockFolder(store, name)))
		.flatMap((name) => parseClaimName(name) ?? []);

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

/** A lock's folder, the name of this process's file in it, and the folder that is renamed onto it. */
type Claim = { lock: string; holder: string; prepared: string };

/** The delay between attempts of a release that failed, in ms. */
const releaseRetryMs = 500;

/** Claims whose release failed, by lock. */
const unreleased = new Map<string, Claim>();

/**
 * Releases a lock. A failure does not undo what was done under the lock: the release is retried as long
 * as this process lives. After that, the lock has a dead holder and can be broken.
 */
function release(claim: Claim): void {
	const { lock, holder } = claim;
	try {
		removeFile(`${lock}/${holder}`);
		unreleased.delete(lock);
		// If another process has taken the lock meanwhile, its folder is not empty and stays.
		removeEmptyFolder(lock);
	} catch {
		unreleased.set(lock, claim);
		setTimeout(() => releaseAgain(lock), releaseRetryMs).unref();
	}
}

function releaseAgain(lock: string): void {
	const claim = unreleased.get(lock);
	if (claim) release(claim);
}

let isKeeping = false;

/** The claims that hold no lock at present, and the most of them. */
const kept: Claim[] = [];
const maxKept = 16;

/** Releases a lock and keeps its claim. Returns false if the lock has to be released otherwise. */
function keepClaim(claim: Claim): boolean {
	const { lock, holder, prepared } = claim;
	if (!isKeeping || kept.length >= maxKept) return false;
	try {
		// If the lock was broken, the folder belongs to its next holder.
		if (!existsSync(`${lock}/${holder}`)) return false;
		renameSync(lock, prepared);
	} catch {
		return false;
	}
	unreleased.delete(lock);
	kept.push(claim);
	return true;
}

/** A claim for a lock that holds none at present; undefined if there is none in this store. */
function reuseClaim(store: Store, name: string): Claim | undefined {
	const claim = kept.pop();
	const folder = folderPath(store, "temporary");
	// It is missing if the store was deleted meanwhile.
	if (!claim || !existsSync(`${folder}/${claim.holder}/${claim.holder}`))
		return undefined;
	return { ...claim, lock: lockFolder(store, name) };
}

/** Prepares the folder that becomes the lock. */
function prepareClaim(store: Store, name: string): Claim {
	assertWritable(store);
	const holder = uniqueHolderName();
	const prepared = `${folderPath(store, "temporary")}/${holder}`;
	const claim = { lock: lockFolder(store, name), holder, prepared };
	try {
		mkdirSync(prepared, { mode: 0o700 });
		touch(`${prepared}/${holder}`);
	} catch (error) {
		throw failClaim(claim, error);
	}
	return claim;
}

/**
 * Takes a lock that is free or whose holder is gone. Returns false if it is held.
 * @throws BgError (refused) if it cannot be taken; then the claim is removed.
 */
function tryAcquire(store: Store, claim: Claim): boolean {
	const { lock, prepared } = claim;
	try {
		releaseAgain(lock);
		do {
			try {
				renameSync(prepared, lock);
				return true;
			} catch (error) {
				const code = errorCode(error);
				if (code !== "ENOTEMPTY" && code !== "EEXIST") throw error;
			}
		} while (removeDeadClaims(lock, listNames(store, lock)));
		return false;
	} catch (error) {
		throw failClaim(claim, error);
	}
}

/** Removes a claim that waited in vain. Returns the error that names the lock's holder. */
function abandonClaim(store: Store, claim: Claim): LockHeldError {
	const { lock } = claim;
	removePrepared(claim);
	const holders = listNames(store, lock).map((name) => `${lock}/${name}`);
	return new LockHeldError(
		`unable to lock ${lock}: held by ${describeHolders(holders)}`,
	);
}

/** Removes a claim that failed. Returns the error that says why. */
function failClaim(claim: Claim, cause: unknown): BgError {
	removePrepared(claim);
	return refused(`unable to lock ${claim.lock}: ${errorMessage(cause)}`);
}

/** Under a read-only mount even this fails (EROFS): the error that led here matters more. */
function removePrepared({ prepared, holder }: Claim): void {
	discard(`${prepared}/${holder}`);
	removeEmptyFolder(prepared);
}
