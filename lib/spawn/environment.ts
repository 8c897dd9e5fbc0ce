/**
 * The environment of a task: its launcher's, without what is bg's own, with what identifies the task.
 */
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	attemptVariable,
	supervisorVariable,
	taskVariable,
} from "../task/variables.ts";

/** Variables of one launch that must not reach the tasks of another, or a task's hooks. */
const launcherOnlyVariables = ["BG_SESSION_ID", "BG_STOP", "CLAUDE_ENV_FILE"];

/** Carries `--env` to the supervisor; like all of an environment it is never written to disk. */
export const taskEnvVariable = "BG_TASK_ENV";

/**
 * Keep Bun's collector and its allocator from waking an idle supervisor several times a second;
 * other runtimes ignore them. The values are ours: a task does not get them, and where its launcher
 * has such a variable itself, that one stays.
 */
export const quietVariables = {
	BUN_GC_TIMER_DISABLE: "bg",
	MIMALLOC_PURGE_DELAY: "-01",
} as const;

/** The environment of a task: its launcher's, and what tells its tools where they are. */
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

/** What `--env` gave a task; nothing where this is no supervisor, whatever stands there. */
function readGivenEnvironment(id: string): NodeJS.ProcessEnv {
	try {
		return JSON.parse(process.env[taskEnvVariable] || "{}")[id];
	} catch {
		return {};
	}
}
