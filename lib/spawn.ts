/**
 * Starting processes: a detached supervisor, and the command of a task. Nothing goes through a
 * shell, and nothing of the folder bg is called in takes effect: a supervisor starts in `/`. It
 * holds none of its launcher's descriptors, and a task has its launcher's environment and limits.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
	closeSync,
	constants,
	fstatSync,
	openSync,
	readdirSync,
	readFileSync,
	statSync,
} from "node:fs";
import { join } from "node:path";
import { logFault } from "./directory.ts";
import { errorMessage, refused } from "./error.ts";
import type { Store } from "./names.ts";
import { openOutput } from "./outputs.ts";
import { identifyProcess } from "./process.ts";
import { buildSelfCommand, findExecutable, findOnPath } from "./program.ts";
import { findTask, takeOnEndMark } from "./store.ts";
import {
	attemptVariable,
	type Identity,
	isFinal,
	supervisorVariable,
	type Task,
	taskVariable,
} from "./task.ts";

/** Variables of one launch that must not reach the tasks of another, or a task's hooks. */
const launcherOnlyVariables = ["BG_SESSION_ID", "BG_STOP", "CLAUDE_ENV_FILE"];

/** Carries `--env` to the supervisor; like all of an environment it is never written to disk. */
const taskEnvVariable = "BG_TASK_ENV";

/**
 * Keep Bun's collector and its allocator from waking an idle supervisor several times a second;
 * other runtimes ignore them. The values are ours: a task does not get them, and where its launcher
 * has such a variable itself, that one stays.
 */
const quietVariables = {
	BUN_GC_TIMER_DISABLE: "bg",
	MIMALLOC_PURGE_DELAY: "-01",
} as const;

export type SupervisorOptions = {
	store: Store;
	ids: readonly string[];
	/** `--env` of each task that has one. */
	env?: Record<string, Record<string, string>>;
	/** Look after processes whose supervisor is gone. */
	adopt?: boolean;
};

/**
 * Starts a supervisor that outlives its launcher: in a session of its own, with none of the
 * launcher's descriptors, and the launcher's environment, umask, limits and cgroup.
 * @throws BgError where the system has no process left to give.
 */
export function startSupervisor({
	store,
	ids,
	env = {},
	adopt = false,
}: SupervisorOptions): Identity {
	const [program, ...args] = buildSelfCommand();
	const limit = readParentFileLimit();
	if (adopt) args.push("supervise", "--adopt", ...ids);
	else if (limit) args.push("supervise", `--open-files=${limit}`, ...ids);
	else args.push("supervise", ...ids);
	const environment: NodeJS.ProcessEnv = {
		...quietVariables,
		...process.env,
		BG_DIR: store.dir,
		[supervisorVariable]: String(process.pid),
		[taskEnvVariable]: JSON.stringify(env),
	};
	delete environment[taskVariable];
	try {
		const child = spawn(program, args, {
			cwd: "/",
			env: environment,
			stdio: openNullDevices(),
			detached: true,
		});
		// A failure arrives here too; without a pid there is nothing to identify.
		child.on("error", () => {});
		if (!child.pid)
			throw new Error(`no process or no descriptor left for ${program}`);
		child.unref();
		const identity = identifyProcess(child.pid);
		if (!identity) throw new Error(`${program} ended at once`);
		return identity;
	} catch (error) {
		throw refused(
			`unable to start a supervisor: ${errorMessage(error)} (nothing was launched)`,
		);
	}
}

/** The environment of a task: its launcher's, and what tells its tools where they are. */
function buildTaskEnvironment(task: Task, store: Store): NodeJS.ProcessEnv {
	const env: NodeJS.ProcessEnv = { ...process.env };
	for (const name of [
		...launcherOnlyVariables,
		supervisorVariable,
		taskEnvVariable,
	] as const)
		delete env[name];
	for (const [name, value] of Object.entries(quietVariables))
		if (env[name] === value) delete env[name];
	return {
		...env,
		...readGivenEnvironment(task.id),
		[taskVariable]: task.id,
		[attemptVariable]: String(task.attempt ?? 1),
		BG_DEPTH: String(task.depth ?? 1),
		BG_DIR: store.dir,
	};
}

/**
 * Starts a task's process in a session of its own, its output appended to `.out` by the process
 * itself, so that no death of ours can lose any.
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
	try {
		if (task.stdin) input = openStdin(task.stdin);
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
 * Runs what a launch wants to be run once its task is over (`--on-end`): whoever takes its mark away
 * runs it, so it is run once, also where the task was cancelled or found lost.
 */
export function runOnEnd(store: Store, id: string): void {
	const task = findTask(store, id);
	if (!task?.on_end || !isFinal(task)) return;
	const [name = "", ...args] = task.on_end;
	const env: NodeJS.ProcessEnv = {
		...buildTaskEnvironment(task, store),
		BG_ENDED_ID: id,
		BG_ENDED_STATUS: task.status,
	};
	delete env[taskVariable];
	const fail = (error: unknown) =>
		logFault(store, "supervisor", `${id} --on-end: ${errorMessage(error)}`);
	try {
		if (!takeOnEndMark(store, id)) return;
		const cwd = task.cwd ?? "/";
		const program = findExecutable(name, cwd, env.PATH);
		const child = spawn(program, args, {
			cwd,
			env,
			stdio: "ignore",
			detached: true,
		});
		child.on("error", fail);
		child.unref();
	} catch (error) {
		fail(error);
	}
}

/**
 * Gives the soft limit of open files back, which Bun, Deno and Node raise as they start: a task
 * shall have its launcher's.
 */
export function lowerFileLimit(limit: string): void {
	const prlimit = findOnPath("prlimit");
	if (!prlimit || !/^\d+$/.test(limit)) return;
	spawnSync(prlimit, ["--pid", String(process.pid), `--nofile=${limit}:`]);
}

// --- internal ---

/** What `--env` gave a task; nothing where this is no supervisor, whatever stands there. */
function readGivenEnvironment(id: string): NodeJS.ProcessEnv {
	try {
		return JSON.parse(process.env[taskEnvVariable] || "{}")[id];
	} catch {
		return {};
	}
}

/** Opens what a task reads: a file or a device, never a pipe that would be waited for. */
function openStdin(path: string): number {
	const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
	const fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	const status = fstatSync(fd);
	if (status.isFile() || status.isCharacterDevice()) return fd;
	closeSync(fd);
	throw new Error(`${path} is neither a file nor a device`);
}

/**
 * The descriptors of a supervisor: /dev/null wherever its launcher has one that is not closed by
 * exec, for Deno hands them all on, and Node those past 16. Neither can close a descriptor that it
 * did not open, but both can put another in its place, one of its own in each. See proc(5), fdinfo.
 */
function openNullDevices(): ("ignore" | number)[] {
	const stdio: ("ignore" | number)[] = ["ignore", "ignore", "ignore"];
	const folder = "/proc/self/fdinfo";
	if (!statSync(folder, { throwIfNoEntry: false })) return stdio;
	for (const name of readdirSync(folder)) {
		const fd = Number(name);
		if (fd < 3 || !isInherited(join(folder, name))) continue;
		while (stdio.length < fd) stdio.push("ignore");
		stdio[fd] = openSync("/dev/null", "r+");
	}
	return stdio;
}

function isInherited(info: string): boolean {
	try {
		const flags = /^flags:\s*([0-7]+)/m.exec(readFileSync(info, "utf8"))?.[1];
		const closeOnExec = 0o2000000;
		return !(Number.parseInt(flags ?? "", 8) & closeOnExec);
	} catch {
		// The descriptor that read the folder is gone by now.
		return false;
	}
}

/**
 * The soft limit of open files that our launcher has, where it is lower than ours: this runtime
 * has raised ours to the hard limit, which both must then share.
 */
function readParentFileLimit(): string | undefined {
	const [ownLimits, parentLimits] = ["self", String(process.ppid)].map(
		(process) => {
			try {
				return /^Max open files\s+(\d+)\s+(\d+)/m.exec(
					readFileSync(`/proc/${process}/limits`, "utf8"),
				);
			} catch {
				return undefined;
			}
		},
	);
	if (!ownLimits || !parentLimits || ownLimits[2] !== parentLimits[2])
		return undefined;
	return Number(parentLimits[1]) < Number(ownLimits[1])
		? parentLimits[1]
		: undefined;
}
