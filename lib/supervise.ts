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
import { concludeTask, LeftoverScanner, type ProcessExit } from "./ending.ts";
import { errorMessage } from "./error.ts";
import { promptFile, recordFile, type Store } from "./names.ts";
import { readCurrentDigest } from "./output.ts";
import { toLine } from "./print.ts";
import {
	checkLiveness,
	identifyChild,
	identifyProcess,
	isAlive,
	wakeSignal,
} from "./process.ts";
import { reconcileTask } from "./prune.ts";
import { readLimits, releaseSlot, setRunnable } from "./queue.ts";
import { isDeleted, retryWrite } from "./retry.ts";
import { indexSession } from "./sessions.ts";
import { lowerFileLimit, startCommand } from "./spawn.ts";
import { findStop } from "./stop-requests.ts";
import { Monitor } from "./stopper.ts";
import {
	findReadableTask,
	notifyWaiters,
	readRecordVersion,
	updateTask,
} from "./store.ts";
import { removeUnlaunchedTasks, sweepIfDue } from "./sweep.ts";
import { UnknownError } from "./system.ts";
import {
	type Identity,
	isFinal,
	markRunning,
	supervisorVariable,
	type Task,
	timestamp,
} from "./task.ts";
import { WaitingTasks } from "./turns.ts";

const shutdownSignals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/**
 * Signals that are caught and change nothing. A launcher may ignore SIGCHLD, and then the kernel
 * keeps no exit code; a write past `ulimit -f` raises SIGXFSZ, which would end the supervisor.
 */
const harmlessSignals = ["SIGCHLD", "SIGXFSZ"] as const;

/** How often to look after a process that is no child of ours, in ms. */
const pollIntervalMs = 1000;

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
		if (argv.includes("--adopt")) await superviseOrphan(store, ids[0] ?? "");
		else await superviseLaunch(store, ids);
	} catch (error) {
		logSupervisorFault(store, ids[0] ?? "", error);
		throw error;
	}
}

/** Runs the tasks of one launch, each in its turn, until all are over. */
async function superviseLaunch(
	store: Store,
	ids: readonly string[],
): Promise<void> {
	const tasks = await waitForRecords(store, ids);
	const waiting = new WaitingTasks(store, readLimits(), reconcileTask);
	const monitors = new Map(
		tasks.map((task) => [task.id, new Monitor(store, task)]),
	);
	const scanner = new LeftoverScanner(() => monitors.size > 1);
	handleSignals(monitors, waiting);
	await Promise.all(
		tasks.map(async (task) => {
			const monitor = monitors.get(task.id) as Monitor;
			let next: Task | undefined = task;
			try {
				while (next)
					next = await runTask(store, next, waiting, monitor, scanner);
			} catch (error) {
				// The others go on.
				logSupervisorFault(store, task.id, error);
			}
			monitors.delete(task.id);
		}),
	);
	sweepIfDue(store);
}

/** Signals: one asks to look at the records, the others to stop all tasks. */
function handleSignals(
	monitors: ReadonlyMap<string, Monitor>,
	waiting?: WaitingTasks,
): void {
	for (const name of shutdownSignals)
		process.on(name, () => {
			for (const monitor of monitors.values()) monitor.shutDown(name);
			waiting?.poll(true);
		});
	process.on(wakeSignal, () => {
		for (const monitor of monitors.values()) monitor.poll();
		waiting?.poll(true);
	});
}

/** Waits for the task's turn, and runs it. Returns it once more where it is to be tried again. */
async function runTask(
	store: Store,
	task: Task,
	waiting: WaitingTasks,
	monitor: Monitor,
	scanner: LeftoverScanner,
): Promise<Task | undefined> {
	const { id } = task;
	const hasSlot = await waiting.wait(task);
	// Deleted while it waited: it is not brought back.
	if (!hasSlot && !readRecordVersion(store, id)) return undefined;
	const started = hasSlot ? startProcess(store, task) : "ended";
	if (started === "held") {
		await requeue(store, task);
		return task;
	}
	if (started === "ended")
		return concludeTask(store, task, undefined, monitor, scanner);
	const { child, exit } = started;
	let { running } = started;
	monitor.start(running, child);
	const abort = new AbortController();
	const recording = recordDroidSession(store, running, abort.signal);
	if (child?.pid && !started.isRecorded) {
		const { pid } = child;
		void retryWrite(store, id, () => {
			const { process = identifyChild(pid), started_at = timestamp() } =
				running;
			running = { ...running, process, pid, started_at };
			monitor.root = process;
			updateTask(store, id, (now) => markRunning(now, process, started_at));
		}).catch((error) => logSupervisorFault(store, id, error));
	}
	const end = await exit;
	abort.abort();
	await recording;
	return concludeTask(store, running, end, monitor, scanner);
}

type Started = {
	/** None if it could not be started; then `exit` says why. */
	child?: ChildProcess;
	exit: Promise<ProcessExit>;
	running: Task;
	/** Whether the record says that it runs. */
	isRecorded: boolean;
};

/**
 * Starts a task's process and records that, both under the lock of its record. Instead, the task may
 * have ended, or be asked to stop, or be paused at the last moment, or its lock be held: then it
 * waits for its turn once more.
 */
function startProcess(store: Store, task: Task): Started | "held" | "ended" {
	const { id } = task;
	let started: Started | undefined;
	let mustRequeue = false;
	let isDecided = false;
	try {
		updateTask(store, id, (now) => {
			isDecided = true;
			mustRequeue = now.paused_at !== undefined;
			if (mustRequeue || isFinal(now) || now.stop || findStop(store, id))
				return undefined;
			const child = startCommand(now, buildArgv(store, now), store);
			started = {
				child,
				exit: waitForExit(child),
				running: now,
				isRecorded: false,
			};
			if (!child.pid) return undefined;
			const identity = identifyChild(child.pid);
			started.running = markRunning(now, identity, timestamp()) ?? now;
			return started.running;
		});
		if (started) started.isRecorded = true;
	} catch (error) {
		// Nothing was started: the lock is held, or the record cannot be read.
		if (!isDecided) mustRequeue = true;
		else
			started ??= {
				exit: Promise.resolve({ error: error as Error }),
				running: task,
				isRecorded: false,
			};
		if (mustRequeue || started?.child)
			logFault(store, "supervisor", `${id} ${errorMessage(error)}`);
	}
	return mustRequeue ? "held" : (started ?? "ended");
}

/** Gives the place back, and waits for the turn once more. */
async function requeue(store: Store, task: Task): Promise<void> {
	await retryWrite(store, task.id, () => releaseSlot(store, task));
	await retryWrite(store, task.id, () => setRunnable(store, task, false));
	notifyWaiters(store);
	await delay(100);
}

/** Looks after a process that another supervisor started. */
async function superviseOrphan(store: Store, id: string): Promise<void> {
	const [task] = await waitForRecords(store, [id], adoptTimeoutMs);
	const root = task?.process;
	if (!task || !root) return;
	const monitor = new Monitor(store, task);
	handleSignals(new Map([[id, monitor]]));
	monitor.start(task);
	while (checkLiveness(root) !== "gone") await delay(pollIntervalMs);
	await concludeTask(
		store,
		task,
		undefined,
		monitor,
		new LeftoverScanner(() => false),
	);
}

// --- internal ---

function logSupervisorFault(store: Store, id: string, error: unknown): void {
	const stack = error instanceof Error ? error.stack : error;
	logFault(store, "supervisor", toLine(`${id} ${stack}`, 1000));
}

/**
 * How long who adopts a task may take to write that down, in ms. Where it cannot, its next try
 * starts another supervisor.
 */
const adoptTimeoutMs = 5000;

/**
 * The records follow the start of their supervisor, all of a launch or none: where the launcher
 * died before the last one, those that are there are taken away again.
 */
async function waitForRecords(
	store: Store,
	ids: readonly string[],
	timeoutMs = Number.POSITIVE_INFINITY,
): Promise<Task[]> {
	const deadline = performance.now() + timeoutMs;
	const isLaunching = launcherWatch(Number(process.env[supervisorVariable]));
	const tasks = new Map<string, Task>();
	const read = (): Task[] | undefined => {
		const mayCome = isLaunching();
		// The last one is written last.
		for (const id of ids.toReversed()) {
			if (tasks.has(id)) continue;
			const task = readOwnTask(store, id);
			if (!task) break;
			tasks.set(id, task);
		}
		if (tasks.size === ids.length)
			return ids.map((id) => tasks.get(id) as Task);
		if (mayCome) return performance.now() > deadline ? [] : undefined;
		// An orphan's record is there, and names another supervisor: it stays.
		const isNew = (id: string) =>
			readOwnTask(store, id) || !readRecordVersion(store, id);
		removeUnlaunchedTasks(store, ids.filter(isNew));
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
			launcher ??= identifyProcess(pid || 0);
			return launcher !== undefined && isAlive(launcher);
		} catch (error) {
			if (error instanceof UnknownError) return true;
			throw error;
		}
	};
}

/** A record that names this process as its supervisor; undefined where it is not there yet. */
function readOwnTask(store: Store, id: string): Task | undefined {
	const task = findReadableTask(store, id);
	return task?.supervisor?.pid === process.pid ? task : undefined;
}

function buildArgv(store: Store, task: Task): string[] {
	const command = task.command ?? [];
	if (task.kind !== "droid") return command;
	return task.via === "argv"
		? [...command, "--", task.prompt ?? ""]
		: [...command, "-f", promptFile(store, task.id)];
}

function waitForExit(child: ChildProcess): Promise<ProcessExit> {
	return new Promise((resolve) => {
		child.once("error", (error) => resolve({ error }));
		child.once("exit", (code, signal) => resolve({ code, signal }));
	});
}

/** Reads a droid's stream until it names its session, and notes that in record and index. */
async function recordDroidSession(
	store: Store,
	task: Task,
	signal: AbortSignal,
): Promise<void> {
	if (task.kind !== "droid") return;
	for (let polls = 0; !signal.aborted; polls++) {
		try {
			const { sessionId } = readCurrentDigest(store, task);
			if (sessionId) {
				indexSession(store, sessionId, task.id);
				updateTask(store, task.id, (now) => ({
					...now,
					droid_session_id: sessionId,
				}));
				return;
			}
		} catch (error) {
			if (polls === 0)
				logFault(store, "supervisor", `${task.id} ${errorMessage(error)}`);
		}
		await delay(polls < 100 ? 100 : 1000, undefined, { signal }).catch(
			() => {},
		);
	}
}
