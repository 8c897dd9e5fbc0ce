/** The argv of `droid exec`, and the files of a prompt that is not given in argv. */
import { rmSync } from "node:fs";
import { promptFile, type Store, systemPromptFile } from "../store/paths.ts";
import type { Autonomy, Task } from "../task/schema.ts";
import type { DroidDefinition } from "./definition.ts";

/** The longest prompt given in argv, in bytes: one string of argv may hold 128 KiB on Linux. */
export const maxArgvPromptBytes = 64 * 1024;

export type ExecOptions = {
	program: string;
	autonomy: Autonomy;
	model?: string | undefined;
	definition?: DroidDefinition | undefined;
	systemPromptFile?: string | undefined;
	/** A session to continue, or with `fork` to copy and continue. */
	session?: { id: string; fork: boolean } | undefined;
	/** The name of a git worktree to run in; "" to let droid choose it. */
	worktree?: string | undefined;
};

/** Builds the argv of `droid exec` up to the prompt. */
export function buildExecCommand({
	program,
	autonomy,
	model,
	definition,
	systemPromptFile,
	session,
	worktree,
}: ExecOptions): string[] {
	const command = [program, "exec"];
	// First, because its value is optional: the next word must be a flag.
	if (worktree !== undefined) command.push("-w");
	if (worktree) command.push(worktree);
	command.push("--auto", autonomy, "-o", "stream-json");
	const add = (flag: string, value: string | undefined) => {
		if (value) command.push(flag, value);
	};
	add("-m", model ?? definition?.model);
	add("-r", definition?.reasoningEffort);
	add("--only-tools", definition?.tools?.join(","));
	add("--append-system-prompt-file", systemPromptFile);
	if (session) add(session.fork ? "--fork" : "-s", session.id);
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

/** Removes the prompt files of an ended task. */
export function removePromptFiles(store: Store, id: string): void {
	for (const path of [promptFile(store, id), systemPromptFile(store, id)])
		rmSync(path, { force: true });
}
