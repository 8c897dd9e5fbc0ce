/**
 * Claims of launches. A launch creates names on disk before its records (queue entries, keys, prompts).
 * Until its last record exists, a file named after the launching process lists its ids, and their names
 * are not removed as garbage. The file of a dead launcher counts for nothing.
 *
 * A unique key (`--unique`) belongs to the unfinished task that was launched last with it. Keys are
 * decided under one lock, which is held only for the decision: a launch waits outside of it for another
 * launch that holds a key and is still pending.
 */
import { rmSync } from "node:fs";
import { ifExists, refused } from "../error.ts";
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
import { findReadableTask, readRecordVersion } from "./records.ts";

/**
 * Runs the part of a launch that creates names for these ids.
 * @param action gets the name of the launch's claim, which is there until its result, or the promise of it, is there.
 */
export function withPendingLaunch<T>(
	store: Store,
	ids: readonly string[],
	action: (name: string) => T,
): T {
	const name = uniqueHolderName();
	const claim = `${folderPath(store, "launches")}/${name}`;
	// If this fails, a sweep removes it once this process has exited.
	const end = () => discard(claim);
	let result: T;
	try {
		writePrivateFile(claim, ids.join("\n"));
		result = action(name);
	} catch (error) {
		end();
		throw error;
	}
	if (result instanceof Promise) return result.finally(end) as T;
	end();
	return result;
}

/**
 * Changes the ids of a pending launch to those that it writes records of.
 * @param name of the launch's claim.
 */
export function narrowPendingLaunch(
	store: Store,
	name: string,
	ids: readonly string[],
): void {
	const path = `${folderPath(store, "launches")}/${name}`;
	replaceFile(store, { path, text: ids.join("\n") });
}

/** A launch whose claim is there. */
type Launch = { path: string; ids: string[]; isGone: boolean };

/**
 * Finds the launch of a task by its claim. Call it before the record is read, which may be written in between.
 */
function findLaunch(store: Store, id: string): Launch | undefined {
	const folder = folderPath(store, "launches");
	for (const name of listNames(store, folder)) {
		const launcher = parseClaimName(name);
		if (!launcher) continue;
		const path = `${folder}/${name}`;
		const ids = ifExists(() => readFile(store, path))?.split("\n") ?? [];
		const isGone = () => checkLiveness(launcher) === "gone";
		if (ids.includes(id)) return { path, ids, isGone: isGone() };
	}
	return undefined;
}

/** Whether the record of a task may be about to be written. */
export const isLaunchPending = (store: Store, id: string) =>
	findLaunch(store, id)?.isGone === false;

/** Gives a unique key to a task. */
export function writeKeyHolder(store: Store, key: string, id: string): void {
	replaceFile(store, { path: keyFile(store, key), text: id });
}

/** The task that has a unique key, finished or not; undefined if none has it. */
export function readKeyHolder(store: Store, key: string): string | undefined {
	return readId(store, keyFile(store, key));
}

/** Removes the keys of ended tasks: such a key is free. */
export function sweepKeys(
	store: Store,
	hasEnded: (id: string) => boolean,
): void {
	const files = listNames(store, folderPath(store, "unique")).map((hash) =>
		uniqueFile(store, hash),
	);
	if (files.length === 0) return;
	withLock(store, keyLock, () => {
		for (const file of files) {
			const id = readId(store, file);
			if (!id || hasEnded(id)) rmSync(file, { force: true });
		}
	});
}

/**
 * Claims the unique keys of tasks that are about to be launched, all at once.
 * @param reconcile Brings the task that holds a key up to date.
 * @returns for each task either itself or the unfinished task that has its key.
 * @throws BgError (refused) if another launch with the key stays pending, or if the record of the task
 * that has the key cannot be read.
 */
export function claimUniqueKeys(
	store: Store,
	tasks: readonly Task[],
	reconcile: (store: Store, task: Task) => Task,
): Task[] {
	const deadline = performance.now() + keyLock.timeoutMs;
	for (;;) {
		const claimed = withLock(store, keyLock, () => {
			const answers = tasks.map((task) => {
				const { unique_key: key } = task;
				if (key === undefined) return task;
				const first = tasks.find(({ unique_key }) => unique_key === key);
				return findKeyHolder(store, key, reconcile) ?? first ?? task;
			});
			const launch = answers.find((each) => typeof each === "string");
			if (launch !== undefined) return launch;
			for (const [index, task] of tasks.entries())
				if (task.unique_key && answers[index] === task)
					writeKeyHolder(store, task.unique_key, task.id);
			return answers as Task[];
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

/** The lock of all keys, and how long to wait for it and for another launch, in ms. */
const keyLock = { name: "unique", timeoutMs: 5000 };

function readId(store: Store, file: string): string | undefined {
	const id = ifExists(() => readFile(store, file));
	return id !== undefined && idPattern.test(id) ? id : undefined;
}

/** The file of a key, named after its hash: a key may be any text. (node:crypto is slow to load.) */
function keyFile(store: Store, key: string): string {
	const { createHash } = process.getBuiltinModule("node:crypto");
	return uniqueFile(store, createHash("sha256").update(key).digest("hex"));
}

/** The unfinished task in the store that has a key, or the path of the pending launch of it. */
function findKeyHolder(
	store: Store,
	key: string,
	reconcile: (store: Store, task: Task) => Task,
): Task | string | undefined {
	const id = readKeyHolder(store, key);
	if (id === undefined) return undefined;
	// The last record is written last. Without it, a launch whose process is gone is undone as a whole.
	const launch = findLaunch(store, id);
	const last = launch?.ids.at(-1) ?? id;
	if (launch && readRecordVersion(store, last) === undefined)
		return launch.isGone ? undefined : launch.path;
	const found = findReadableTask(store, id);
	if (!found) return undefined;
	const holder = reconcile(store, found);
	return isFinal(holder) ? undefined : holder;
}
