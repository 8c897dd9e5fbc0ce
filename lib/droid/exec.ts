/** The argv of `droid exec`, and the files of a prompt that is not given in argv. */
import { rmSync } from "node:fs";
import {
	environmentFile,
	promptFile,
	type Store,
	stdinFile,
	systemPromptFile,
} from "../store/paths.ts";
import type { Autonomy, Task } from "../task/schema.ts";
import type { DroidDefinition } from "./definitions/definition.ts";

/** The longest prompt given in argv, in bytes: one string of argv may hold 128 KiB on Linux. */
export const maxArgvPromptBytes = 64 * 1024;

export type ExecOptions = {
	program: string;
	autonomy: Autonomy;
	model?: string;
	definition?: DroidDefinition;
	systemPromptFile?: string;
	/** A session to continue, or with `fork` to copy and continue. */
	session?: { id: string; fork: boolean } | undefined;
	/** The name of a git worktree to run in; "" to let droid choose it. */
	worktree?: string;
};

/** Builds the argv of `droid exec` up to the prompt. */
export function buildExecCommand(options: ExecOptions): string[] {
	const { program, autonomy, model, definition, session, worktree } = options;
	const command = [program, "exec"];
	// First, because its value is optional: the next word must be a flag.
	if (worktree !== undefined) command.push("-w");
	if (worktree) command.push(worktree);
	const flags = {
		"--auto": autonomy,
		"-o": "stream-json",
		"-m": model ?? definition?.model,
		"-r": definition?.reasoningEffort,
		"--only-tools": definition?.tools?.join(","),
		"--append-system-prompt-file": options.systemPromptFile,
		[session?.fork ? "--fork" : "-s"]: session?.id,
	};
	for (const [flag, value] of Object.entries(flags))
		if (value) command.push(flag, value);
	return command;
}

/** The model that a droid's task names, by its launch or its definition; undefined if none does. */
export function findModel({ kind, model, command = [] }: Task) {
	if (kind !== "droid" || model) return model;
	const at = command.indexOf("-m", command.indexOf("--auto"));
	return at < 0 ? undefined : command[at + 1];
}

/** Builds the argv of a task's process. */
export function buildArgv(store: Store, task: Task): string[] {
	const command = task.command ?? [];
	if (task.kind !== "droid") return command;
	return task.via === "argv"
		? [...command, "--", task.prompt ?? ""]
		: [...command, "-f", promptFile(store, task.id)];
}

/** Removes the files that an ended task read: its prompts, its `--env` and its standard input. */
export function removePromptFiles(store: Store, id: string): void {
	for (const path of [
		promptFile(store, id),
		systemPromptFile(store, id),
		stdinFile(store, id),
		environmentFile(store, id),
	])
		rmSync(path, { force: true });
}
