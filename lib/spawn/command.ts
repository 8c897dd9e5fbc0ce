/**
 * Starts the process of a task, and after its end its `--on-end` command, with the
 * environment of this process, which is its launcher's if this is its supervisor.
 *
 * A mark says that an `--on-end` is pending; the process that removes the mark runs it.
 */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import {
	errorCode,
	errorMessage,
	isMachineFault,
	wrapWriteErrors,
} from "../error.ts";
import { toLine } from "../print/text.ts";
import {
	buildSelfCommand,
	findExecutable,
	findOnPath,
	isExecutable,
} from "../process/executables.ts";
import { identifyChild } from "../process/identity.ts";
import { holdExit } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import { sendSignal } from "../process/signals.ts";
import { unlessUnknown } from "../process/system.ts";
import { logFault } from "../store/directory.ts";
import { removeFile, retryChange, touch } from "../store/files.ts";
import {
	endInput,
	keptInput,
	openInputEnds,
	prepareInput,
} from "../store/input.ts";
import { openOutput } from "../store/output-files.ts";
import { onEndMark, type Store } from "../store/paths.ts";
import { findTask } from "../store/records.ts";
import type { Identity, Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { taskVariable } from "../task/variables.ts";
import { buildTaskEnvironment } from "./environment.ts";

/**
 * Starts a task's process in a session of its own. The process itself appends to `.out`, so no output is
 * lost if its supervisor dies.
 * @throws Error naming what is missing, before anything runs.
 */
export function startCommand(
	task: Task,
	argv: readonly string[],
	store: Store,
): ChildProcess {
	const env = buildTaskEnvironment(task, store);
	const cwd = task.cwd ?? "/";
	if (!statSync(cwd, { throwIfNoEntry: false })?.isDirectory())
		throw new Error(`no folder ${cwd}`);
	const program = findExecutable(argv[0] ?? "", cwd, env.PATH);
	const output = openOutput(store, task.id);
	let input: number | undefined;
	const { spawn } = process.getBuiltinModule("node:child_process");
	try {
		if (task.stdin === keptInput) input = openKeptInput(store, task.id);
		else if (task.stdin) input = openStdin(task.stdin);
		return spawn(program, argv.slice(1), {
			argv0: argv[0],
			cwd,
			env,
			stdio: [input ?? "ignore", output, output],
			detached: true,
		});
	} finally {
		closeSync(output);
		if (input !== undefined) closeSync(input);
	}
}

/**
 * Whether the error of a spawn is that of a process that was started: Bun kills it if there is no descriptor to watch
 * it by. It may have run for an instant.
 */
export const isKilledAtStart = (error: unknown) =>
	/\bpidfd_open\b/.test(errorMessage(error));

/** The keepers of inputs that this process started (store/input.ts), by task. */
const keepers = new Map<string, Identity>();

/** Ends the input of a task whose process is gone, if it was kept open. */
export function endKeptInput(store: Store, { id, stdin }: Task): void {
	if (stdin !== keptInput) return;
	// If the store was deleted, nothing else reaches the keeper.
	const keeper = keepers.get(id);
	keepers.delete(id);
	if (keeper) sendSignal(keeper, "SIGKILL");
	endInput(store, id);
}

/**
 * Runs the `--on-end` of a final task, if it has one that is pending. A failure is logged, also one that comes after
 * this process is gone. It gets no text of the task, only its id and its status.
 */
export function runOnEnd(store: Store, id: string): void {
	const task = findTask(store, id);
	if (!task?.on_end || !isFinal(task)) return;
	try {
		if (retryChange(() => takeOnEndMark(store, id)))
			startOnEnd(store, task, onEndTries);
	} catch (error) {
		logOnEndFault(store, id, error);
	}
}

/** Waits for each `--on-end` that this process started: the end of a job is the end of all that it started. */
export async function waitForOnEnds(): Promise<void> {
	for (const child of onEnds) {
		child.ref();
		await once(child, "exit").catch(() => {});
	}
}

/** Marks a task's `--on-end` as pending. @throws BgError (refused) if that cannot be written. */
export function createOnEndMark(store: Store, id: string): void {
	wrapWriteErrors(onEndMark(store, id), () => touch(onEndMark(store, id)));
}

/** Removes the mark; true for only one caller. */
export function takeOnEndMark(store: Store, id: string): boolean {
	return removeFile(onEndMark(store, id));
}

// --- internal ---

/** Each `--on-end` that this process started and that runs. */
const onEnds = new Set<ChildProcess>();

/** How often an `--on-end` is tried for which the system has too little left at the moment. */
const onEndTries = 3;

const isTransient = (error: unknown) =>
	(isMachineFault(error) || /^(EAGAIN|EINTR)$/.test(errorCode(error) ?? "")) &&
	!isKilledAtStart(error);

/** @param tries how often it is tried in all. */
function startOnEnd(store: Store, task: Task, tries: number): void {
	const { id, on_end = [], status, cwd = "/" } = task;
	const [name = "", ...args] = on_end;
	const env: NodeJS.ProcessEnv = {
		...buildTaskEnvironment(task, store),
		BG_ENDED_ID: id,
		BG_ENDED_STATUS: status,
	};
	delete env[taskVariable];
	const fail = (error: unknown) => {
		if (isTransient(error) && tries > 1) startOnEnd(store, task, tries - 1);
		else logOnEndFault(store, id, error);
	};
	const { spawn } = process.getBuiltinModule("node:child_process");
	try {
		const program = findExecutable(name, cwd, env.PATH);
		const child = spawn(...reportFailure(id, program, args), {
			cwd,
			env,
			stdio: "ignore",
			detached: true,
		});
		child.on("error", fail);
		// A failed start is reported after the code that runs now: this process must not exit before.
		holdExit(setImmediate());
		child.unref();
		onEnds.add(child);
		child.once("exit", () => onEnds.delete(child));
		child.once("error", () => onEnds.delete(child));
	} catch (error) {
		fail(error);
	}
}

const logOnEndFault = (store: Store, id: string, error: unknown) =>
	logFault(store, "supervisor", `${id} --on-end: ${errorMessage(error)}`);

const shell = "/bin/sh";

/**
 * The argv that runs a program as a child of a shell, which calls bg if the program fails: this process may be gone by
 * then. Without a shell, the program itself.
 */
function reportFailure(
	id: string,
	program: string,
	args: readonly string[],
): [string, string[]] {
	if (!isExecutable(shell)) return [program, [...args]];
	const report = buildSelfCommand().map(quoteForShell).join(" ");
	const script = `"$@" || { set -- "$?"; cd /; exec ${report} supervise --on-end-exited="$1" ${id}; }`;
	return [shell, ["-c", script, `bg: --on-end of ${id}`, program, ...args]];
}

/** Opens a task's standard input: a file or a device, never a pipe, which might never end. */
function openStdin(path: string): number {
	const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
	const fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	const status = fstatSync(fd);
	if (status.isFile() || status.isCharacterDevice()) return fd;
	closeSync(fd);
	throw new Error(`${path} is neither a file nor a device`);
}

/** Makes the input of a task that can be sent to, and starts its keeper. Returns the end for the task. */
function openKeptInput(store: Store, id: string): number {
	const paths = prepareInput(store, id);
	const program = findOnPath("mkfifo");
	if (!program) throw new Error("no mkfifo on PATH, for --stdin keep");
	const { spawn, spawnSync } = process.getBuiltinModule("node:child_process");
	const { status, stderr } = spawnSync(program, ["-m", "600", ...paths]);
	if (status !== 0) throw new Error(`mkfifo: ${toLine(String(stderr), 200)}`);
	const { task, written, end } = openInputEnds(store, id);
	try {
		const keeper = spawn(shell, ["-c", "read line", `bg: input of ${id}`], {
			cwd: "/",
			env: { BG_DIR: store.dir },
			stdio: [end, written, "ignore"],
			detached: true,
		});
		keeper.on("error", () => {});
		keeper.unref();
		if (!keeper.pid)
			throw new Error("no process left for the keeper of its input");
		const { pid } = keeper;
		const identity = unlessUnknown(() => identifyChild(pid));
		if (identity) keepers.set(id, identity);
		return task;
	} catch (error) {
		closeSync(task);
		endInput(store, id);
		throw error;
	} finally {
		closeSync(written);
		closeSync(end);
	}
}
