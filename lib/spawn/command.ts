/** Starts the process of a task: never through a shell, with its launcher's environment and limits. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { findExecutable } from "../process/executables.ts";
import { openOutput } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
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

// --- internal ---

/** Opens a task's standard input: a file or a device, never a pipe, which might never end. */
function openStdin(path: string): number {
	const { O_RDONLY, O_NONBLOCK, O_NOCTTY } = constants;
	const fd = openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	const status = fstatSync(fd);
	if (status.isFile() || status.isCharacterDevice()) return fd;
	closeSync(fd);
	throw new Error(`${path} is neither a file nor a device`);
}
