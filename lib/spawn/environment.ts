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

// --- internal ---

/** Holds the variables that a shell would change, as JSON. */
const carriedVariable = "BG_PARKED_ENV";

/** One variable holds at most 128 KiB. */
const maxCarriedBytes = 120_000;

/** Variables that some shell sets, changes or obeys, or that the system removes for a shell. */
const shellVariables =
	/^(BG_PARKED.*|BASH.*|DYLD_.*|EPOCH.*|KSH.*|MAIL.*|OPT(ARG|ERR|IND)|PS\d|(OLD)?PWD|E?[UG]ID|S?RANDOM|COLUMNS|COPROC|DIRSTACK|ENV|FUNCNAME|GROUPS|HIST.*|HOSTNAME|HOSTTYPE|IFS|LINENO|LINES|MACHTYPE|OSTYPE|POSIXLY_CORRECT|PPID|SECONDS|SHELLOPTS|SHLVL|_)$/;

/** What `--env` gave a task; nothing if this process is not a supervisor or the variable is invalid. */
function readGivenEnvironment(id: string): NodeJS.ProcessEnv {
	try {
		return JSON.parse(process.env[taskEnvVariable] || "{}")[id];
	} catch {
		return {};
	}
}
