/**
 * The detached half: waits for its launch's record, runs the task, records its end, and leaves.
 *
 * Signals to it, and intents in the record, are the stopper's; it is asked to look once a second as
 * well, for whoever wrote an intent may have died before the signal. A supervisor that took over
 * from a dead one has no child to wait for, and looks after its process once a second.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { logFault, openStore } from "./directory.ts";
import { BgError, messageOf } from "./error.ts";
import { promptFile, type Store } from "./names.ts";
import { currentDigest, readEnd, window } from "./output.ts";
import {
	describeProcesses,
	identify,
	identifyChild,
	liveness,
} from "./process.ts";
import { lose } from "./prune.ts";
import { indexSession } from "./sessions.ts";
import { lowerFileLimit, startCommand } from "./spawn.ts";
import { Stopper } from "./stopper.ts";
import { outputSize, readTask, removePrompts, updateTask } from "./store.ts";
import {
	type End,
	endSentence,
	finish,
	isFinal,
	start,
	type Task,
	timestamp,
} from "./task.ts";
import { findTree, supervisorVariable } from "./tree.ts";

/** How often to look without a signal, in ms. */
const slowLook = 1000;

/** How long a supervisor goes on trying to write an end, in ms: a disk may be full. */
const stubbornness = 10 * 60 * 1000;

/** `supervise [--adopt] [--open-files=N] <id>`: not a verb for people. */
export async function supervise(argv: readonly string[]): Promise<void> {
	const id = argv.at(-1) ?? "";
	const limit = argv.find((each) => each.startsWith("--open-files="));
	if (limit) lowerFileLimit(limit.slice("--open-files=".length));
	const store = openStore({ write: true });
	try {
		if (argv.includes("--adopt")) await watchOrphan(store, id);
		else await runTask(store, id);
	} catch (error) {
		logFault(
			store,
			"supervisor",
			`${id} ${error instanceof Error ? error.stack : error}`,
		);
		throw error;
	}
}

/** How a process ended; without code and signal, nobody could see. */
type Exit = { code: number | null; signal: string | null } | { error: Error };

async function runTask(store: Store, id: string): Promise<void> {
	const task = await awaitRecord(store, id);
	if (!task) return removePrompts(store, id);
	const stopper = new Stopper(store, task);
	let child: ChildProcess | undefined;
	let exit: Promise<Exit> | undefined;
	let running = task;
	try {
		updateTask(store, id, (now) => {
			if (isFinal(now) || now.stop) return undefined;
			child = startCommand(now, argvOf(store, now), store);
			exit = exitOf(child);
			if (!child.pid) return undefined;
			running = start(now, identifyChild(child.pid), timestamp()) ?? now;
			stopper.root = running.process;
			return running;
		});
	} catch (error) {
		// The process runs, only its record could not be written: that is tried again at its end.
		if (!child) exit = Promise.resolve({ error: error as Error });
		else logFault(store, "supervisor", `${id} ${messageOf(error)}`);
	}
	if (!exit) return finishUp(store, running, undefined, stopper);
	const learned = new AbortController();
	const learning = learnSession(store, running, learned.signal);
	const tick = setInterval(() => stopper.look(), slowLook);
	const end = await exit;
	clearInterval(tick);
	learned.abort();
	await learning;
	await finishUp(store, running, end, stopper);
}

/** Looks after a process that another supervisor started. */
async function watchOrphan(store: Store, id: string): Promise<void> {
	const task = await awaitRecord(store, id);
	const root = task?.process;
	if (!task || !root) return;
	const stopper = new Stopper(store, task);
	stopper.root = root;
	while (liveness(root) === "alive") {
		stopper.look();
		await delay(slowLook);
	}
	await finishUp(store, task, undefined, stopper);
}

/** Writes the end: an intent's where there is one, else the process's own. */
async function finishUp(
	store: Store,
	task: Task,
	exit: Exit | undefined,
	stopper: Stopper,
): Promise<void> {
	// At a logout a task may die of the signal that is about to reach its supervisor as well.
	if (exit && "signal" in exit && exit.signal) await delay(20);
	const { id } = task;
	await stopper.finish();
	const { facts, completed, error } = readEnd(store, task);
	await persist(store, () =>
		updateTask(
			store,
			id,
			(now) => {
				const current =
					now.status === "queued" ? { ...task, stop: now.stop } : now;
				if (exit) return finish(current, endOf(exit, facts, error));
				if (isFinal(now)) return undefined;
				if (current.status === "queued" || !completed)
					return lose(store, current);
				return finish(current, { reason: "stream", at: timestamp(), facts });
			},
			{ fallback: task },
		),
	);
	removePrompts(store, id);
	await readToTheEnd(store, task);
	if (findTree(id).length) await noteLeftBehind(store, id);
}

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
async function noteLeftBehind(store: Store, id: string): Promise<void> {
	await delay(3000);
	const left_behind = describeProcesses(findTree(id));
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

// --- internal ---

/** The record follows the start of its supervisor; where the launcher died first, it never does. */
async function awaitRecord(
	store: Store,
	id: string,
): Promise<Task | undefined> {
	const launcher = identify(Number(process.env[supervisorVariable]) || 0);
	for (;;) {
		const launching = launcher && liveness(launcher) === "alive";
		try {
			const task = readTask(store, id);
			if (task.supervisor?.pid === process.pid) return task;
		} catch (error) {
			if (!(error instanceof BgError) || error.exit !== "missing") throw error;
		}
		if (!launching) return undefined;
		await delay(3);
	}
}

function argvOf(store: Store, task: Task): string[] {
	const command = task.command ?? [];
	if (task.kind !== "droid") return command;
	return task.via === "argv"
		? [...command, "--", task.prompt ?? ""]
		: [...command, "-f", promptFile(store, task.id)];
}

function exitOf(child: ChildProcess): Promise<Exit> {
	return new Promise((resolve) => {
		child.once("error", (error) => resolve({ error }));
		child.once("exit", (code, signal) => resolve({ code, signal }));
	});
}

/** Reads a droid's stream until it names its session, and notes that in record and index. */
async function learnSession(
	store: Store,
	task: Task,
	signal: AbortSignal,
): Promise<void> {
	if (task.kind !== "droid") return;
	for (let looks = 0; !signal.aborted; looks++) {
		try {
			const { sessionId } = currentDigest(store, task);
			if (sessionId) {
				indexSession(store, sessionId, task.id);
				updateTask(store, task.id, (now) => ({
					...now,
					droid_session_id: sessionId,
				}));
				return;
			}
		} catch (error) {
			if (looks === 0)
				logFault(store, "supervisor", `${task.id} ${messageOf(error)}`);
		}
		await delay(looks < 100 ? 100 : 1000, undefined, { signal }).catch(
			() => {},
		);
	}
}

/** Goes on trying until it is written: a lock may be held, a disk full, a folder missing. */
async function persist(store: Store, write: () => void): Promise<void> {
	const deadline = performance.now() + stubbornness;
	for (;;) {
		if (!existsSync(store.dir)) return;
		try {
			openStore({ ...store, write: true });
			return write();
		} catch (error) {
			if (performance.now() > deadline) throw error;
			logFault(store, "supervisor", messageOf(error));
			await delay(1000);
		}
	}
}
