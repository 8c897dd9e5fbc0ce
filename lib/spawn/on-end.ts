/**
 * Runs the command of `--on-end` once. A mark says that it is pending; the process that removes the mark
 * runs it.
 */
import { spawn } from "node:child_process";
import { errorMessage, wrapWriteErrors } from "../error.ts";
import { findExecutable } from "../process/executables.ts";
import { logFault } from "../store/directory.ts";
import { removeFile, touch } from "../store/files.ts";
import { onEndMark, type Store } from "../store/paths.ts";
import { findTask } from "../store/records.ts";
import { isFinal } from "../task/states.ts";
import { taskVariable } from "../task/variables.ts";
import { buildTaskEnvironment } from "./environment.ts";

/** Runs the `--on-end` of a final task, if it has one that is pending. A failure is logged. */
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

/** Marks a task's `--on-end` as pending. @throws BgError (refused) if that cannot be written. */
export function createOnEndMark(store: Store, id: string): void {
	wrapWriteErrors(onEndMark(store, id), () => touch(onEndMark(store, id)));
}

/** Removes the mark; true for only one caller. */
export function takeOnEndMark(store: Store, id: string): boolean {
	return removeFile(onEndMark(store, id));
}
