/**
 * The end of a task, or of an attempt: it is written whatever it takes, the place is free, what was
 * to follow is started, and what lives on is named.
 */
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { logFault, openStore } from "./directory.ts";
import { BgError, messageOf } from "./error.ts";
import type { Store } from "./names.ts";
import { currentDigest, readEnd, window } from "./output.ts";
import { keepOutput, outputSize } from "./outputs.ts";
import { describeProcesses } from "./process.ts";
import { lose } from "./prune.ts";
import { releaseSlot, setReady } from "./queue.ts";
import { runOnEnd } from "./spawn.ts";
import type { Stopper } from "./stopper.ts";
import { removePrompts, ringEnds, updateTask } from "./store.ts";
import {
	type End,
	endSentence,
	finish,
	isFinal,
	maxLeftBehind,
	mayRetry,
	type Task,
	timestamp,
	tryAgain,
} from "./task.ts";
import { findTree, type Snapshot, takeSnapshot } from "./tree.ts";

/** How a process ended; without code and signal, nobody could see. */
export type Exit =
	| { code: number | null; signal: string | null }
	| { error: Error };

/** How long a supervisor goes on trying to write an end, in ms: a disk may be full. */
const stubbornness = 10 * 60 * 1000;

/**
 * Writes the end: an intent's where there is one, else the process's own. Returns the task where
 * it is to be tried again instead.
 */
export async function finishUp(
	store: Store,
	task: Task,
	exit: Exit | undefined,
	stopper: Stopper,
	remains: Remains,
): Promise<Task | undefined> {
	// At a logout a task may die of the signal that is about to reach its supervisor as well.
	if (exit && "signal" in exit && exit.signal) await delay(20);
	const { id } = task;
	await stopper.finish();
	// The place is free before those who wait for it are woken.
	releaseSlot(store, task);
	const { facts, completed, error } = readEnd(store, task);
	const decide = (now: Task): Task | undefined => {
		const current = now.status === "queued" ? { ...task, stop: now.stop } : now;
		if (exit) {
			const ended = finish(current, endOf(exit, facts, error));
			if (stopper.isShutDown || !mayRetry(current, ended)) return ended;
			// Before the record says so: a supervisor may die between the two.
			keepOutput(store, id, current.attempt ?? 1);
			return tryAgain(current, ended);
		}
		if (isFinal(now)) return undefined;
		if (current.status === "queued" || !completed) return lose(store, current);
		return finish(current, { reason: "stream", at: timestamp(), facts });
	};
	const after = await persist(store, () =>
		updateTask(store, id, decide, { fallback: task }),
	);
	ringEnds(store);
	if (after?.status === "queued") {
		setReady(store, after, false);
		return after;
	}
	removePrompts(store, id);
	runOnEnd(store, id);
	await readToTheEnd(store, task);
	if (exit) await noteLeftBehind(store, id, remains);
	return undefined;
}

/** Looks for what lives on after the ends of tasks: for all that ended within a second at once. */
export class Remains {
	#next: Promise<Snapshot> | undefined;
	readonly #isBusy: () => boolean;

	constructor(isBusy: () => boolean) {
		this.#isBusy = isBusy;
	}

	look(): Promise<Snapshot> {
		this.#next ??= this.#look();
		return this.#next;
	}

	async #look(): Promise<Snapshot> {
		await delay(this.#isBusy() ? 1000 : 0);
		this.#next = undefined;
		return takeSnapshot();
	}
}

// --- internal ---

/** A stream longer than one look is counted to its end, once the end itself is written. */
async function readToTheEnd(store: Store, task: Task): Promise<void> {
	if (task.kind !== "droid" || outputSize(store, task.id) <= window) return;
	let digest = currentDigest(store, task);
	for (let offset = -1; offset !== digest.offset; ) {
		offset = digest.offset;
		await delay(0);
		digest = currentDigest(store, task);
	}
	const { progress } = digest;
	await persist(store, () =>
		updateTask(store, task.id, (now) => ({
			...now,
			progress: { ...now.progress, ...progress },
		})),
	);
}

/**
 * Names what lives on after the end. Not at once: a droid's own helpers need up to 2 s to see that
 * it is gone.
 */
async function noteLeftBehind(
	store: Store,
	id: string,
	remains: Remains,
): Promise<void> {
	const find = (snapshot: Snapshot) =>
		findTree(id, undefined, undefined, snapshot);
	if (find(await remains.look()).length === 0) return;
	await delay(3000);
	const living = find(await remains.look()).slice(0, maxLeftBehind);
	const left_behind = describeProcesses(living);
	if (left_behind.length)
		await persist(store, () =>
			updateTask(store, id, (now) => ({ ...now, left_behind })),
		);
}

function endOf(
	exit: Exit,
	facts: NonNullable<End["facts"]>,
	said: string | undefined,
): End {
	const at = timestamp();
	if ("error" in exit)
		return {
			reason: "spawn",
			at,
			error: `never started: ${messageOf(exit.error)}`,
		};
	const sentence = endSentence(exit.code, exit.signal);
	return {
		reason: "exit",
		failed: sentence !== undefined,
		at,
		...(sentence && { error: said ? `${sentence}: ${said}` : sentence }),
		facts: {
			...facts,
			...(exit.code !== null && { exit_code: exit.code }),
			...(exit.signal && { signal: exit.signal }),
		},
	};
}

/** Goes on trying until it is written: a lock may be held, a disk full, a folder missing. */
async function persist<T>(
	store: Store,
	write: () => T,
): Promise<T | undefined> {
	const deadline = performance.now() + stubbornness;
	for (let tries = 0; ; tries++) {
		if (!existsSync(store.dir)) return undefined;
		try {
			// A folder of it may be gone; that is dear to see, and rare.
			if (tries > 0) openStore({ ...store, write: true });
			return write();
		} catch (error) {
			// Deleted meanwhile: there is nothing left to write to.
			if (error instanceof BgError && error.exit === "missing")
				return undefined;
			if (performance.now() > deadline) throw error;
			if (tries === 0) continue;
			logFault(store, "supervisor", messageOf(error));
			await delay(1000);
		}
	}
}
