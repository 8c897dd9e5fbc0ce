/** The environment of a task: its launcher's, without bg's own variables, with those that identify it. */
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	attemptVariable,
	supervisorVariable,
	taskVariable,
} from "../task/variables.ts";

/** Variables of the launcher that a task must not get: they belong to its session. */
const launcherOnlyVariables = ["BG_SESSION_ID", "BG_STOP", "CLAUDE_ENV_FILE"];

/** Passes `--env` to the supervisor. Environments are never written to disk. */
export const taskEnvVariable = "BG_TASK_ENV";

/**
 * Keep Bun's garbage collector and allocator from waking an idle supervisor several times a second; other
 * runtimes ignore them. A task does not get these values; if its launcher has such a variable itself, that
 * value stays.
 */
export const quietVariables = {
	BUN_GC_TIMER_DISABLE: "bg",
	MIMALLOC_PURGE_DELAY: "-01",
} as const;

/** Up to how many tasks a supervisor compiles nothing, and up to how many it optimizes nothing. */
const [maxInterpreted, maxUnoptimized] = [20, 1000];

/** The odd spellings of a "no" and of a number mark values as ours. */
const [ourNo, ourThreads] = ["nO", "016"];

/**
 * How the runtime of a supervisor works, by how many tasks it has. As above, a task does not get these values.
 *
 * Without compiled code Bun takes 1.5 MB less, and for a single task also less time; optimized code saves the time
 * that it takes after about 1000 tasks. Of many ends, 16 are made durable at once by Bun and Node, not one a core: on a
 * disk with a journal that takes a fifth of the time.
 */
export const runtimeVariables = (tasks: number): NodeJS.ProcessEnv => ({
	...(tasks <= maxInterpreted && { BUN_JSC_useJIT: ourNo }),
	...(tasks <= maxUnoptimized && { BUN_JSC_useDFGJIT: ourNo }),
	...(tasks > maxInterpreted && { UV_THREADPOOL_SIZE: ourThreads }),
});

/**
 * Splits the environment of a supervisor, so that it passes through a shell unchanged: variables that a
 * shell drops or changes travel inside one of their own.
 * @returns undefined if those are too long for one variable.
 */
export function splitEnvironment(
	env: NodeJS.ProcessEnv,
): NodeJS.ProcessEnv | undefined {
	const entries = Object.entries(env);
	const isPlain = ([name]: [string, unknown]) =>
		/^[A-Za-z_]\w*$/.test(name) && !shellVariables.test(name);
	const carried = JSON.stringify(
		Object.fromEntries(entries.filter((each) => !isPlain(each))),
	);
	if (Buffer.byteLength(carried) > maxCarriedBytes) return undefined;
	return {
		...Object.fromEntries(entries.filter(isPlain)),
		[carriedVariable]: carried,
	};
}

/** Restores the environment of this supervisor, which was a shell before. */
export function restoreEnvironment(): void {
	const carried = JSON.parse(process.env[carriedVariable] ?? "{}");
	for (const name of Object.keys(process.env))
		if (shellVariables.test(name)) delete process.env[name];
	Object.assign(process.env, carried);
}

/** Builds the environment of a task, or of its `--on-end`. */
export function buildTaskEnvironment(
	task: Task,
	store: Store,
): NodeJS.ProcessEnv {
	inherited ??= readInheritedEnvironment();
	given ??= readGivenEnvironments();
	return {
		...inherited,
		...given[task.id],
		[taskVariable]: task.id,
		[attemptVariable]: String(task.attempt ?? 1),
		BG_DEPTH: String(task.depth ?? 1),
		BG_DIR: store.dir,
	};
}

// --- internal ---

/** Holds the variables that a shell would change, as JSON. */
const carriedVariable = "BG_PARKED_ENV";

/** One variable holds at most 128 KiB. */
const maxCarriedBytes = 120_000;

/** Variables that some shell sets, changes or obeys, or that the system removes for a shell. */
const shellVariables =
	/^(BG_PARKED.*|BASH.*|DYLD_.*|EPOCH.*|KSH.*|MAIL.*|OPT(ARG|ERR|IND)|PS\d|(OLD)?PWD|E?[UG]ID|S?RANDOM|COLUMNS|COPROC|DIRSTACK|ENV|FUNCNAME|GROUPS|HIST.*|HOSTNAME|HOSTTYPE|IFS|LINENO|LINES|MACHTYPE|OSTYPE|POSIXLY_CORRECT|PPID|SECONDS|SHELLOPTS|SHLVL|_)$/;

/** What all tasks of this process get, and what `--env` gave each. Neither changes once a task has started. */
let inherited: NodeJS.ProcessEnv | undefined;
let given: Record<string, NodeJS.ProcessEnv> | undefined;

/** The environment of this process without bg's own variables. */
function readInheritedEnvironment(): NodeJS.ProcessEnv {
	const env: NodeJS.ProcessEnv = { ...process.env };
	for (const name of [
		...launcherOnlyVariables,
		supervisorVariable,
		taskEnvVariable,
	] as const)
		delete env[name];
	for (const own of [
		quietVariables,
		runtimeVariables(1),
		runtimeVariables(maxInterpreted + 1),
	])
		for (const [name, value] of Object.entries(own))
			if (env[name] === value) delete env[name];
	return env;
}

/** What `--env` gave the tasks; nothing if this process is not a supervisor or the variable is invalid. */
function readGivenEnvironments(): Record<string, NodeJS.ProcessEnv> {
	try {
		return JSON.parse(process.env[taskEnvVariable] || "{}") ?? {};
	} catch {
		return {};
	}
}
