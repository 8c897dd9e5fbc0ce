/** Plans a launch: checks all input, writes and starts nothing. */

import { findDefinition, findDroid } from "../../droid/definitions/find.ts";
import { buildExecCommand, maxArgvPromptBytes } from "../../droid/exec.ts";
import { refused, usage } from "../../error.ts";
import { writePrivateFile } from "../../store/files.ts";
import { keptInput } from "../../store/input.ts";
import {
	promptFile,
	type Store,
	stdinFile,
	storeDir,
	systemPromptFile,
} from "../../store/paths.ts";
import { createSessionId, createTaskId } from "../../task/ids.ts";
import { type Autonomy, autonomies, type Task } from "../../task/schema.ts";
import { readParentAutonomy } from "../autonomy.ts";
import { parseTokensFlag } from "../schedule.ts";
import {
	checkCommand,
	checkCommonOptions,
	checkDroidName,
	checkModel,
	checkWorktree,
	type DroidOptions,
	type LaunchOptions,
	parseEnvPairs,
	readGivenStdin,
	readPrompt,
} from "./options.ts";

/** A launch that was checked and of which nothing is written yet. */
export type LaunchPlan = {
	task: Task;
	env: Record<string, string>;
	warnings: string[];
	/** Writes the files that only the task reads. */
	writeFiles: (store: Store) => void;
};

export type LaunchResult = {
	task: Task;
	warnings: string[];
	/** Whether the task existed before and nothing was launched (`--unique`). */
	existing?: boolean;
	/** Why it cannot start now, if the queue is paused. */
	waitsFor?: string;
};

/**
 * Plans the launch of a droid.
 * @throws BgError: usage for invalid options, refused if they are not allowed or droid is not found.
 */
export function planDroid(options: DroidOptions): LaunchPlan {
	if (options.stdin === keptInput)
		throw usage(
			"--stdin keep is for a command (bg run): a droid gets bg send without it",
		);
	const base = checkCommonOptions(options);
	const droid = checkDroidName(options.droid);
	const warnings: string[] = [];
	const autonomy = limitAutonomy(options.autonomy, warnings);
	const settings = {
		autonomy,
		model: checkModel(options.model),
		worktree: checkWorktree(options.worktree),
	};
	const max_tokens = parseTokensFlag(options.maxTokens);
	const definition = findDefinition(droid, base.cwd, warnings);
	const prompt = readPrompt(options);
	const program = findDroid();
	const id = createTaskId();
	const isShort = Buffer.byteLength(prompt) <= maxArgvPromptBytes;
	const asFile = options.promptPath !== undefined || !isShort;
	const via = options.private ? "private" : asFile ? "file" : "argv";
	const systemPrompt = definition.body;
	const task: Task = {
		...base,
		id,
		session_id: createSessionId(id),
		kind: "droid",
		prompt: options.private ? undefined : prompt,
		agent: droid,
		...settings,
		command: buildExecCommand({
			...settings,
			program,
			definition,
			systemPromptFile:
				systemPrompt && systemPromptFile({ dir: storeDir() }, id),
			session: options.session,
		}),
		via,
		concurrency_key: droid,
		max_tokens,
	};
	const env = parseEnvPairs(options.env ?? []);
	const writeStdin = takeStdin(options, task);
	const writeFiles = (store: Store) => {
		writeStdin(store);
		if (via !== "argv") writePrivateFile(promptFile(store, id), prompt);
		if (systemPrompt)
			writePrivateFile(systemPromptFile(store, id), systemPrompt);
	};
	return { task, env, warnings, writeFiles };
}

/** Plans the launch of a command. @throws BgError: usage or refused, as planDroid. */
export function planCommand(
	options: LaunchOptions & { command: readonly string[] },
): LaunchPlan {
	const base = checkCommonOptions(options);
	const command = checkCommand(options.command);
	const autonomy = readParentAutonomy();
	if (autonomy === "low")
		throw refused(
			"run is refused under autonomy low: launch a droid (bg launch), or ask for more autonomy",
		);
	const id = createTaskId();
	const session_id = createSessionId(id);
	const task: Task = {
		...base,
		id,
		session_id,
		kind: "command",
		autonomy,
		command,
	};
	const env = parseEnvPairs(options.env ?? []);
	return { task, env, warnings: [], writeFiles: takeStdin(options, task) };
}

// --- internal ---

/** Reads what `--stdin -` gives a task, after all else was checked. Returns what writes it to the task's file. */
function takeStdin(options: LaunchOptions, task: Task): (store: Store) => void {
	const bytes = readGivenStdin(options);
	if (!bytes) return () => {};
	task.stdin = stdinFile({ dir: storeDir() }, task.id);
	return (store) => writePrivateFile(stdinFile(store, task.id), bytes);
}

/** The level that was asked for, at most that of the task this launch comes from. */
function limitAutonomy(
	given: string | undefined,
	warnings: string[],
): Autonomy {
	const asked = autonomies.find((level) => level === (given ?? "medium"));
	if (!asked)
		throw usage(
			`${JSON.stringify(given)} is not an autonomy level: ${autonomies.join(", ")}`,
		);
	const cap = readParentAutonomy();
	if (!cap || autonomies.indexOf(asked) <= autonomies.indexOf(cap))
		return asked;
	if (given)
		warnings.push(`autonomy is ${cap}: at most that of the launching task`);
	return cap;
}
