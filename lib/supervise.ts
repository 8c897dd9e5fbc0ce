/**
 * The detached half: waits for the records of its launch, runs each task in its turn, records its
 * end, and leaves once all are over.
 *
 * What stops a task before its own end is the stopper's. A supervisor that took over from a dead
 * one has no child to wait for, and looks after its process once a second.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { logFault, openStore } from "./directory.ts";
import { type Exit, finishUp, Remains } from "./ending.ts";
import { messageOf } from "./error.ts";
import { promptFile, recordFile, type Store } from "./names.ts";
import { currentDigest } from "./output.ts";
import { toLine } from "./print.ts";
import {
	identify,
	identifyChild,
	isAlive,
	liveness,
	lookSignal,
} from "./process.ts";
import { readLimits, releaseSlot, setReady } from "./queue.ts";
import { isDeleted, retryWrite } from "./retry.ts";
import { indexSession } from "./sessions.ts";
import { lowerFileLimit, startCommand } from "./spawn.ts";
import { findStop } from "./stop-requests.ts";
import { Stopper } from "./stopper.ts";
import { findReadable, recordVersion, ringEnds, updateTask } from "./store.ts";
import { sweepSometimes, withdrawTasks } from "./sweep.ts";
import { UnknownError } from "./system.ts";
import {
	type Identity,
	isFinal,
	start,
	supervisorVariable,
	type Task,
	timestamp,
} from "./task.ts";
import { Turns } from "./turns.ts";

const shutdownSignals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Signals that are caught and change nothing. A launcher may ignore SIGCHLD, and then the kernel
 * keeps no exit code; a write past `ulimit -f` raises SIGXFSZ, which would end the supervisor.
 */
const harmlessSignals = ["SIGCHLD", "SIGXFSZ"] as const;

/** How often to look after a process that is no child of ours, in ms. */
const slowLook = 1000;

/** `supervise [--adopt] [--open-files=N] <ids…>`: not a verb for people. */
export async function supervise(argv: readonly string[]): Promise<void> {
	const ids = argv.filter((each) => !each.startsWith("--"));
	const limit = argv.find((each) => each.startsWith("--open-files="));
	if (limit) lowerFileLimit(limit.slice("--open-files=".length));
	for (const name of harmlessSignals) process.on(name, () => {});
	const store = openStore({ write: true });
	try {
		// What is no id is refused here: a failed read is tried again.
		for (const id of ids) recordFile(store, id);
		if (argv.includes("--adopt")) await watchOrphan(store, ids[0] ?? "");
		else await serve(store, ids);
	} catch (error) {
		noteFault(store, ids[0] ?? "", error);
		throw error;
	}
}

/** Runs the tasks of one launch, each in its turn, until all are over. */
async function serve(store: Store, ids: readonly string[]): Promise<void> {
	const tasks = await awaitRecords(store, ids);
	const turns = new Turns(store, readLimits());
	const stoppers = new Map(
		tasks.map((task) => [task.id, new Stopper(store, task)]),
	);
	const remains = new Remains(() => stoppers.size > 1);
	listen(stoppers, turns);
	await Promise.all(
		tasks.map(async (task) => {
			const stopper = stoppers.get(task.id) as Stopper;
			let next: Task | undefined = task;
			try {
				while (next) next = await runTask(store, next, turns, stopper, remains);
			} catch (error) {
				// The others go on.
				noteFault(store, task.id, error);
			}
			stoppers.delete(task.id);
		}),
	);
	sweepSometimes(store);
}

/** Signals: one asks to look at the records, the others to stop all tasks. */
function listen(stoppers: ReadonlyMap<string, Stopper>, turns?: Turns): void {
	for (const name of shutdownSignals)
		process.on(name, () => {
			for (const stopper of stoppers.values()) stopper.shutDown(name);
			turns?.look(true);
		});
	process.on(lookSignal, () => {
		for (const stopper of stoppers.values()) stopper.look();
		turns?.look(true);
	});
}

/** Waits for the task's turn, and runs it. Returns it once more where it is to be tried again. */
async function runTask(
	store: Store,
	task: Task,
	turns: Turns,
	stopper: Stopper,
	remains: Remains,
): Promise<Task | undefined> {
	const { id } = task;
	const hasPlace = await turns.wait(task);
	// Deleted while it waited: it is not brought back.
	if (!hasPlace && !recordVersion(store, id)) return undefined;
	const started = hasPlace ? startTask(store, task) : "ended";
	if (started === "held") {
		await requeue(store, task);
		return task;
	}
	if (started === "ended")
		return finishUp(store, task, undefined, stopper, remains);
	const { child, exit } = started;
	let { running } = started;
	stopper.begin(running, child);
	const learned = new AbortController();
	const learning = learnSession(store, running, learned.signal);
	if (child?.pid && !started.isRecorded) {
		const { pid } = child;
		void retryWrite(store, id, () => {
			const { process = identifyChild(pid), started_at = timestamp() } =
				running;
			running = { ...running, process, pid, started_at };
			stopper.root = process;
			updateTask(store, id, (now) => start(now, process, started_at));
		}).catch((error) => noteFault(store, id, error));
	}
	const end = await exit;
	learned.abort();
	await learning;
	return finishUp(store, running, end, stopper, remains);
}

type Started = {
	/** None if it could not be started; then `exit` says why. */
	child?: ChildProcess;
	exit: Promise<Exit>;
	running: Task;
	/** Whether the record says that it runs. */
	isRecorded: boolean;
};

/**
 * Starts a task's process and records that, both under the lock of its record. Instead, the task may
 * have ended, or be asked to stop, or be paused at the last moment, or its lock be held: then it
 * waits for its turn once more.
 */
function startTask(store: Store, task: Task): Started | "held" | "ended" {
	const { id } = task;
	let started: Started | undefined;
	let isHeld = false;
	let isDecided = false;
	try {
		updateTask(store, id, (now) => {
			isDecided = true;
			isHeld = now.paused_at !== undefined;
			if (isHeld || isFinal(now) || now.stop || findStop(store, id))
				return undefined;
			const child = startCommand(now, argvOf(store, now), store);
			started = { child, exit: exitOf(child), running: now, isRecorded: false };
			if (!child.pid) return undefined;
			const identity = identifyChild(child.pid);
			started.running = start(now, identity, timestamp()) ?? now;
			return started.running;
		});
		if (started) started.isRecorded = true;
	} catch (error) {
		// Nothing was started: the lock is held, or the record cannot be read.
		if (!isDecided) isHeld = true;
		else
			started ??= {
				exit: Promise.resolve({ error: error as Error }),
				running: task,
				isRecorded: false,
			};
		if (isHeld || started?.child)
			logFault(store, "supervisor", `${id} ${messageOf(error)}`);
	}
	return isHeld ? "held" : (started ?? "ended");
}

/** Gives the place back, and waits for the turn once more. */
async function requeue(store: Store, task: Task): Promise<void> {
	await retryWrite(store, task.id, () => releaseSlot(store, task));
	await retryWrite(store, task.id, () => setReady(store, task, false));
	ringEnds(store);
	await delay(100);
}

/** Looks after a process that another supervisor started. */
async function watchOrphan(store: Store, id: string): Promise<void> {
	const [task] = await awaitRecords(store, [id], adoptPatience);
	const root = task?.process;
	if (!task || !root) return;
	const stopper = new Stopper(store, task);
	listen(new Map([[id, stopper]]));
	stopper.begin(task);
	while (liveness(root) !== "gone") await delay(slowLook);
	await finishUp(store, task, undefined, stopper, new Remains(() => false));
}

// --- internal ---

function noteFault(store: Store, id: string, error: unknown): void {
	const stack = error instanceof Error ? error.stack : error;
	logFault(store, "supervisor", toLine(`${id} ${stack}`, 1000));
}

/**
 * How long who adopts a task may take to write that down, in ms. Where it cannot, its next try
 * starts another supervisor.
 */
const adoptPatience = 5000;

/**
 * The records follow the start of their supervisor, all of a launch or none: where the launcher
 * died before the last one, those that are there are taken away again.
 */
async function awaitRecords(
	store: Store,
	ids: readonly string[],
	patience = Number.POSITIVE_INFINITY,
): Promise<Task[]> {
	const deadline = performance.now() + patience;
	const isLaunching = launcherWatch(Number(process.env[supervisorVariable]));
	const tasks = new Map<string, Task>();
	const read = (): Task[] | undefined => {
		const mayCome = isLaunching();
		// The last one is written last.
		for (const id of ids.toReversed()) {
			if (tasks.has(id)) continue;
			const task = readOurs(store, id);
			if (!task) break;
			tasks.set(id, task);
		}
		if (tasks.size === ids.length)
			return ids.map((id) => tasks.get(id) as Task);
		if (mayCome) return performance.now() > deadline ? [] : undefined;
		// An orphan's record is there, and names another supervisor: it stays.
		const isNew = (id: string) =>
			readOurs(store, id) || !recordVersion(store, id);
		withdrawTasks(store, ids.filter(isNew));
		return [];
	};
	for (;;) {
		const found = await retryWrite(store, ids[0] ?? "", read);
		if (found) return found;
		if (isDeleted(store)) return [];
		await delay(3);
	}
}

/** Whether a launcher may still write records. If that cannot be told, it may. */
function launcherWatch(pid: number): () => boolean {
	let launcher: Identity | undefined;
	return () => {
		try {
			launcher ??= identify(pid || 0);
			return launcher !== undefined && isAlive(launcher);
		} catch (error) {
			if (error instanceof UnknownError) return true;
			throw error;
		}
	};
}

/** A record that names this process as its supervisor; undefined where it is not there yet. */
function readOurs(store: Store, id: string): Task | undefined {
	const task = findReadable(store, id);
	return task?.supervisor?.pid === process.pid ? task : undefined;
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
