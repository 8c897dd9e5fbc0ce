/**
 * Claims of launches. A launch leaves names on disk before its records (queue entries, keys, prompts).
 * Until its last record exists, a file named after the launching process lists its ids, and nothing of
 * them is removed as garbage. A dead launcher's file counts for nothing.
 *
 * A unique key (`--unique`) belongs to the unfinished task that was launched last with it. Keys are
 * decided under one lock, held for the decision alone: a launch waits outside of it for another launch
 * that has a key and is still under way.
 */
import { rmSync } from "node:fs";
import { errorCode, refused } from "../error.ts";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { sleepSync } from "../process/runtime.ts";
import { idPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import {
	discard,
	listNames,
	readFile,
	replaceFile,
	uniqueHolderName,
	writePrivateFile,
} from "./files.ts";
import { describeHolders, withLock } from "./locks.ts";
import { folderPath, type Store, uniqueFile } from "./paths.ts";
import { findReadableTask } from "./records.ts";

/** Does all of a launch that makes names of these ids. */
export function withPendingLaunch<T>(
	store: Store,
	ids: readonly string[],
	action: () => T,
): T {
	const claim = `${folderPath(store, "launches")}/${uniqueHolderName()}`;
	try {
		writePrivateFile(claim, ids.join("\n"));
		return action();
	} finally {
		// If this fails, a sweep removes it once this process has exited.
		discard(claim);
	}
}

/**
 * The file of the launch that a task without a record belongs to. Ask before the record is looked
 * for: it may come in between.
 */
function findPendingLaunch(store: Store, id: string): string | undefined {
	const folder = folderPath(store, "launches");
	const name = listNames(store, folder).find((each) => {
		const launcher = parseClaimName(each);
		if (!launcher || checkLiveness(launcher) === "gone") return false;
		try {
			return readFile(store, `${folder}/${each}`).split("\n").includes(id);
		} catch (error) {
			if (errorCode(error) === "ENOENT") return false;
			throw error;
		}
	});
	return name && `${folder}/${name}`;
}

/** Whether a task that has no record may be about to get one. */
export const isLaunchPending = (store: Store, id: string) =>
	findPendingLaunch(store, id) !== undefined;

export function writeKeyHolder(store: Store, key: string, id: string): void {
	replaceFile(store, keyFile(store, key), id, false);
}

export function readKeyHolder(store: Store, key: string): string | undefined {
	return readId(store, keyFile(store, key));
}

/** Removes the keys of tasks that are over: such a key is free, whatever its file says. */
export function sweepKeys(store: Store, isOver: (id: string) => boolean): void {
	const files = listNames(store, folderPath(store, "unique")).map((hash) =>
		uniqueFile(store, hash),
	);
	if (files.length === 0) return;
	withLock(store, "unique", keyLockTimeoutMs, () => {
		for (const file of files) {
			const id = readId(store, file);
			if (!id || isOver(id)) rmSync(file, { force: true });
		}
	});
}

/**
 * Takes the keys of tasks that are about to be launched, all of them at once.
 * @param reconcile brings a task that holds a key up to date.
 * @returns for each task itself, or the one to answer with.
 * @throws BgError (refused) naming the launcher that a key is not to be had from, or the record that
 * cannot be read: it may be of a task that is not over.
 */
export function claimUniqueKeys(
	store: Store,
	tasks: readonly Task[],
	reconcile: (store: Store, task: Task) => Task,
): Task[] {
	const deadline = performance.now() + keyLockTimeoutMs;
	for (;;) {
		const claimed = withLock(store, "unique", keyLockTimeoutMs, () => {
			const holders = tasks.map((task) =>
				findKeyHolder(store, task, tasks, reconcile),
			);
			const launch = holders.find((each) => typeof each === "string");
			if (launch !== undefined) return launch;
			for (const [index, { unique_key, id }] of tasks.entries())
				if (unique_key && !holders[index])
					writeKeyHolder(store, unique_key, id);
			return tasks.map((task, index) => (holders[index] as Task) ?? task);
		});
		if (typeof claimed !== "string") return claimed;
		if (performance.now() > deadline)
			throw refused(
				`a task with the same --unique is being launched by ${describeHolders([claimed])}`,
			);
		sleepSync(10);
	}
}

// --- internal ---

/** How long to wait for who launches with a key, in ms. */
const keyLockTimeoutMs = 5000;

function readId(store: Store, file: string): string | undefined {
	try {
		const id = readFile(store, file);
		return idPattern.test(id) ? id : undefined;
	} catch (error) {
		if (errorCode(error) === "ENOENT") return undefined;
		throw error;
	}
}

/** A key is any text; a name on disk is not. (node:crypto is dear, and few launches have a key.) */
function keyFile(store: Store, key: string): string {
	const { createHash } = process.getBuiltinModule("node:crypto");
	return uniqueFile(store, createHash("sha256").update(key).digest("hex"));
}

/**
 * The unfinished task that has another one's key: of those before it in the same launch, else of the
 * store. Of one whose record is still to come, the file of its launch.
 */
function findKeyHolder(
	store: Store,
	task: Task,
	launched: readonly Task[],
	reconcile: (store: Store, task: Task) => Task,
): Task | string | undefined {
	const key = task.unique_key;
	if (key === undefined) return undefined;
	const firstWithKey = launched.find(({ unique_key }) => unique_key === key);
	const id = readKeyHolder(store, key);
	// Asked before the record is read: it may come in between.
	const launch = id && findPendingLaunch(store, id);
	const found = id ? findReadableTask(store, id) : undefined;
	const holder = found && reconcile(store, found);
	if (holder && !isFinal(holder)) return holder;
	if (!found && launch) return launch;
	return firstWithKey === task ? undefined : firstWithKey;
}
