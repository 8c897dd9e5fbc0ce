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

/** What `--env` gave a task; nothing if this process is not a supervisor or the variable is invalid. */
function readGivenEnvironment(id: string): NodeJS.ProcessEnv {
	try {
		return JSON.parse(process.env[taskEnvVariable] || "{}")[id];
	} catch {
		return {};
	}
}
