/**
 * The detached half of bg: a supervisor. It waits for the records of its launch, runs each task when it
 * has a slot, records its end, and exits after all have ended. The monitor stops tasks before their own
 * end.
 *
 * A supervisor that replaces a dead one has no child to wait for: it polls the process once a second.
 */
import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { buildArgv } from "../droid/exec.ts";
import { readUsageBefore } from "../droid/task-output.ts";
import { loadEngine } from "../engine/engine.ts";
import type { StopCause } from "../engine/types.ts";
import { errorMessage } from "../error.ts";
import { toLine } from "../print/text.ts";
import { checkLiveness, identifyChild } from "../process/identity.ts";
import { waitForHolds } from "../process/runtime.ts";
import {
	raiseSignal,
	shutdownSignals,
	wakeSignal,
} from "../process/signals.ts";
import { archiveIfDue } from "../prune/archive.ts";
import { sweepIfDue } from "../prune/garbage.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { startCommand, waitForOnEnds } from "../spawn/command.ts";
import { restoreEnvironment } from "../spawn/environment.ts";
import { removeParkedMarks } from "../spawn/parked.ts";
import { isHeldAtFirst, releaseSlot, setRunnable } from "../spawn/queue.ts";
import { lowerFileLimit } from "../spawn/supervisor.ts";
import { WaitingTasks } from "../spawn/waiting.ts";
import { logFault, openStore } from "../store/directory.ts";
import { notifyTogether, notifyWaiters } from "../store/ends.ts";
import { keepClaims, LockHeldError } from "../store/locks.ts";
import { recordFile, type Store } from "../store/paths.ts";
import { readRecordVersion, updateTaskAsync } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import {
	computeRetryDelayMs,
	isFinal,
	markRunning,
	timestamp,
} from "../task/states.ts";
import { recordDroidSession } from "./droid-session.ts";
import {
	concludeTask,
	type ProcessExit,
	type TaskContext,
	type Turns,
} from "./finish.ts";
import { JobTurns, jobPollMs, takeJobTask } from "./launch/job.ts";
import { JobInput } from "./launch/job-input.ts";
import { waitForRecords } from "./launch/records.ts";
import { LeftoverScanner } from "./leftovers.ts";
import { Monitor } from "./monitor.ts";
import { openStoreAtLast, retryWrite } from "./retry-write.ts";

/**
 * Signals that are caught and change nothing. A launcher may ignore SIGCHLD, and then the kernel
 * keeps no exit code; a write past `ulimit -f` raises SIGXFSZ, which would end the supervisor.
 */
const harmlessSignals = ["SIGCHLD", "SIGXFSZ"] as const;

/** How long the start of a task waits for the lock of its record, in ms. Its slot is taken meanwhile. */
const startTimeoutMs = 500;

/** The signals to end that came before there was a task to stop. */
const earlySignals = new Set<NodeJS.Signals>();

/** How often to poll a process that is not a child of this supervisor, in ms. */
const pollIntervalMs = 1000;

/**
 * Runs `supervise [--adopt] [--open-files=N] <ids…> [--parked] [--signal=NAME]`, or in a job of an engine
 * `supervise --job <launch>`, which only bg itself calls. `--parked`: this process was a shell until now, which may have got a signal to end.
 * `--on-end-exited=N`: only logs that the `--on-end` of a task failed.
 * @throws Error after it was logged.
 */
export async function supervise(argv: readonly string[]): Promise<void> {
	const ids = argv.filter((each) => !each.startsWith("--"));
	const limit = argv.find((each) => each.startsWith("--open-files="));
	for (const name of harmlessSignals) process.on(name, () => {});
	for (const name of shutdownSignals) {
		process.on(name, () => earlySignals.add(name));
		if (argv.includes(`--signal=${name}`)) earlySignals.add(name);
	}
	const failed = argv.find((each) => each.startsWith("--on-end-exited="));
	if (failed) {
		const [, code = ""] = failed.split("=");
		const fault = `${ids[0]} --on-end: exited ${code}`;
		logFault(openStore({ write: true }), "supervisor", toLine(fault));
		return;
	}
	if (limit) lowerFileLimit(limit.slice("--open-files=".length));
	if (argv.includes("--parked")) restoreEnvironment();
	const store = await openStoreAtLast();
	const removeClaims = keepClaims();
	const notifyRest = notifyTogether();
	try {
		// An invalid id is refused here: a failed read would be retried.
		for (const id of ids) recordFile(store, id);
		if (argv.includes("--parked")) removeParkedMarks(store, ids[0] ?? "");
		if (argv.includes("--job")) await superviseJob(store, ids[0] ?? "");
		else if (argv.includes("--adopt"))
			await superviseOrphan(store, ids[0] ?? "");
		else await superviseLaunch(store, ids, argv);
	} catch (error) {
		logSupervisorFault(store, ids[0] ?? "", error);
		throw error;
	} finally {
		removeClaims();
		notifyRest();
		await waitForHolds();
	}
}

/** Runs the tasks of one launch until all have ended. */
async function superviseLaunch(
	store: Store,
	ids: readonly string[],
	argv: readonly string[],
): Promise<void> {
	const tasks = await waitForRecords(store, ids);
	const waiting = waitingTasks(store);
	const monitors = new Map(
		tasks.map((task) => [
			task.id,
			new Monitor(store, task, { onPoll: () => waiting.checkBeat() }),
		]),
	);
	const scanner = new LeftoverScanner(() => monitors.size > 1);
	handleSignals(monitors, waiting);
	await Promise.all(
		tasks.map(async (task) => {
			const monitor = monitors.get(task.id) as Monitor;
			const context = { store, monitor, scanner, waiting, turns: waiting };
			// While it was a shell, others may have changed its queue entry.
			const isRunnable = !isHeldAtFirst(task) && !argv.includes("--parked");
			await runAttempts(context, task, isRunnable);
			monitors.delete(task.id);
			if (monitors.size) archiveIfDue(store, { isBusy: true });
		}),
	);
	sweepIfDue(store);
	archiveIfDue(store);
}

/** Runs the task of a job of an engine. */
async function superviseJob(store: Store, launch: string): Promise<void> {
	const engine = await loadEngine(store);
	const own = engine.here();
	if (!own) throw new Error("supervise --job runs inside of a job only");
	const isStopping = () => earlySignals.size > 0;
	const job = { own, launch };
	const task = await takeJobTask(store, engine, job, isStopping);
	if (!task) return;
	const { id } = task;
	const waiting = waitingTasks(store);
	const input = new JobInput(store, task);
	const monitor = new Monitor(store, task, {
		lookMs: jobPollMs,
		onLook: () => input.deliver(),
	});
	const turns = new JobTurns(store, (now) => monitor.checkReplaced(now));
	const scanner = new LeftoverScanner(() => false);
	handleSignals(new Map([[id, monitor]]), turns, () => engine.whyStopped(own));
	await runAttempts({ store, monitor, scanner, waiting, turns }, task, true);
	sweepIfDue(store);
	archiveIfDue(store);
	await waitForOnEnds();
}

/** Runs a task until no attempt follows. A fault is logged: the other tasks go on. */
async function runAttempts(
	context: TaskContext,
	task: Task,
	isRunnable: boolean,
): Promise<void> {
	let next: Task | undefined = task;
	let options = { isRunnable, pauseMs: 0 };
	try {
		while (next) {
			const { attempt } = next;
			next = await runTask(context, next, options);
			const isRetry = next && next.attempt !== attempt;
			const pauseMs = isRetry ? computeRetryDelayMs(next?.attempt ?? 1) : 0;
			options = { isRunnable: false, pauseMs };
		}
	} catch (error) {
		logSupervisorFault(context.store, task.id, error);
	}
}

/** Handles signals: one asks to poll the records, the others to stop all tasks. */
function handleSignals(
	monitors: ReadonlyMap<string, Monitor>,
	turns: Turns,
	whyStopped?: () => StopCause,
): void {
	let cause: StopCause | undefined;
	for (const name of shutdownSignals)
		process.on(name, () => {
			cause ??= whyStopped?.();
			const recorded = [...monitors.values()].map((monitor) =>
				monitor.shutDown(name, cause),
			);
			turns.wake();
			// Those whose records could not be written at once are recorded later.
			void Promise.all(recorded).then(() => turns.wake());
		});
	process.on(wakeSignal, () => {
		for (const monitor of monitors.values()) monitor.look();
		turns.wake();
	});
	for (const name of earlySignals) raiseSignal(name);
}

/** Waits for a slot and runs the task. Returns it if it is to be run again. */
async function runTask(
	context: TaskContext,
	task: Task,
	options: { isRunnable: boolean; pauseMs: number },
): Promise<Task | undefined> {
	const { store, monitor, turns } = context;
	const { id } = task;
	const hasSlot = await turns.wait(task, {
		...options,
		getStop: () => monitor.requestedStop,
	});
	// A record that was deleted while the task waited, or that another job has taken, is not written again.
	if (!hasSlot && (monitor.isReplaced || !readRecordVersion(store, id)))
		return undefined;
	const started = hasSlot ? await startProcess(context, task) : "ended";
	if (started === "held") {
		await requeue(context, task);
		return task;
	}
	if (started === "ended") return concludeTask(context, task);
	const { child, exit } = started;
	let { running } = started;
	monitor.start(running, started);
	const abort = new AbortController();
	const recording = recordDroidSession(store, running, abort.signal);
	if (child?.pid && !started.isRecorded) {
		const { pid } = child;
		void retryWrite(store, id, async () => {
			const { process = identifyChild(pid), started_at = timestamp() } =
				running;
			running = { ...running, process, pid, started_at };
			monitor.root = process;
			await updateTaskAsync(store, id, (now) =>
				// Meanwhile this attempt may have ended, and the next one may wait.
				now.attempt === running.attempt
					? markRunning(now, process, started_at)
					: undefined,
			);
		}).catch((error) => logSupervisorFault(store, id, error));
	}
	const end = await exit;
	abort.abort();
	await recording;
	return concludeTask(context, running, end);
}

type Started = {
	/** Absent if it could not be started; then `exit` says why. */
	child?: ChildProcess;
	exit: Promise<ProcessExit>;
	running: Task;
	/** Whether the record says that it runs. */
	isRecorded: boolean;
	/** The version of that record. */
	version?: string | undefined;
};

/**
 * Starts a task's process and records that, both under the lock of its record. A stop that was requested
 * before prevents the start, recorded or not; one that comes later finds the process.
 * @returns "ended" if the task has ended or is to be stopped; "held" if it is paused or its record cannot
 * be locked: then it waits for a slot again.
 */
async function startProcess(
	{ store, monitor }: TaskContext,
	task: Task,
): Promise<Started | "held" | "ended"> {
	const { id } = task;
	let started: Started | undefined;
	let mustRequeue = false;
	let isDecided = false;
	try {
		const start = (now: Task): Task | undefined => {
			isDecided = true;
			if (monitor.checkReplaced(now)) return undefined;
			mustRequeue = now.paused_at !== undefined;
			if (mustRequeue || isFinal(now) || now.stop || monitor.requestedStop)
				return undefined;
			const usage_before = readUsageBefore(store, now);
			const ready = usage_before ? { ...now, usage_before } : now;
			const child = startCommand(ready, buildArgv(store, ready), store);
			started = {
				child,
				exit: waitForExit(child),
				running: ready,
				isRecorded: false,
			};
			if (!child.pid) return undefined;
			const identity = identifyChild(child.pid);
			started.running = markRunning(ready, identity, timestamp()) ?? ready;
			return started.running;
		};
		// Read under the lock: it is that of the record as it was written here.
		const onWritten = () => {
			if (started) started.version = readRecordVersion(store, id);
		};
		const options = { timeoutMs: startTimeoutMs, onWritten };
		await updateTaskAsync(store, id, start, options);
		if (started) started.isRecorded = true;
	} catch (error) {
		// Nothing was started: the lock is held or the record cannot be read.
		if (!isDecided) mustRequeue = true;
		else
			started ??= {
				exit: Promise.resolve({ error: error as Error }),
				running: task,
				isRecorded: false,
			};
		const isFault = !(error instanceof LockHeldError);
		if (isFault && (mustRequeue || started?.child))
			logFault(store, "supervisor", `${id} ${errorMessage(error)}`);
	}
	return mustRequeue ? "held" : (started ?? "ended");
}

/** Frees the slot and puts the task back into the queue. */
async function requeue(
	{ store, waiting }: TaskContext,
	task: Task,
): Promise<void> {
	const retry = (write: () => void | Promise<void>) =>
		retryWrite(store, task.id, write);
	if (!task.engine) {
		await retry(() => releaseSlot(store, task));
		await retry(() => setRunnable(store, task, false, waiting.limits));
		await retry(() => waiting.settle());
	}
	notifyWaiters(store);
	await delay(100);
}

/** Watches a process that another supervisor started. */
async function superviseOrphan(store: Store, id: string): Promise<void> {
	const [task] = await waitForRecords(store, [id], adoptTimeoutMs);
	const root = task?.process;
	if (!task || !root) return;
	const waiting = waitingTasks(store);
	const monitor = new Monitor(store, task, {
		onPoll: () => waiting.checkBeat(),
	});
	handleSignals(new Map([[id, monitor]]), waiting);
	monitor.start(task);
	while (checkLiveness(root) !== "gone") await delay(pollIntervalMs);
	const scanner = new LeftoverScanner(() => false);
	const context = { store, monitor, scanner, waiting, turns: waiting };
	await concludeTask(context, task);
	archiveIfDue(store);
}

// --- internal ---

const waitingTasks = (store: Store) =>
	new WaitingTasks(store, (_, task, options) =>
		reconcileTask(store, task, { timeoutMs: 0, ...options }),
	);

function logSupervisorFault(store: Store, id: string, error: unknown): void {
	const stack = error instanceof Error ? error.stack : error;
	logFault(store, "supervisor", toLine(`${id} ${stack}`, 1000));
}

/**
 * How long the process that adopts a task may take to record its new supervisor, in ms. If it fails, its
 * next try starts another supervisor.
 */
const adoptTimeoutMs = 5000;

function waitForExit(child: ChildProcess): Promise<ProcessExit> {
	const startedAt = performance.now();
	return new Promise((resolve) => {
		child.once("error", (error) => resolve({ error }));
		child.once("exit", (code, signal) => resolve({ code, signal, startedAt }));
	});
}
