/**
 * A launch: everything is checked, then a supervisor is started, then the records are written. Where
 * anything fails, nothing was launched and nothing recorded: a supervisor whose records do not all
 * come takes those that are there away again, and leaves.
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
	allowedAutonomy,
	checkedCommand,
	checkedDroid,
	checkedModel,
	checkedWorktree,
	commandAutonomy,
	commonFields,
	type DroidOptions,
	type LaunchOptions,
	parseEnv,
	promptOf,
} from "./check.ts";
import { openStore } from "./directory.ts";
import {
	type Definition,
	execCommand,
	maxArgvPrompt,
	parseDefinition,
} from "./droid.ts";
import { BgError, codeOf, messageOf } from "./error.ts";
import { discard, writePrivate } from "./files.ts";
import { claimKeys } from "./keys.ts";
import { whileLaunching } from "./launching.ts";
import {
	homeFolder,
	promptFile,
	type Store,
	storeDir,
	systemPromptFile,
} from "./names.ts";
import { definitionFolders, findDroid } from "./program.ts";
import { enqueue, readLimits, withdrawEntry } from "./queue.ts";
import { checkLaunchSize } from "./record.ts";
import { indexSlice } from "./reindex.ts";
import { checkNotAbove } from "./schedule.ts";
import { startSupervisor } from "./spawn.ts";
import { createTask, markOnEnd } from "./store.ts";
import { newTaskId, type Task } from "./task.ts";

export type Launched = {
	task: Task;
	warnings: string[];
	/** It was there already: nothing was launched (`--unique`). */
	existing?: boolean;
};

/** A launch that was checked: nothing of it is written yet. */
export type Plan = {
	task: Task;
	env: Record<string, string>;
	warnings: string[];
	/** Writes what only droid reads. */
	writeFiles: (store: Store) => void;
};

const maxDefinition = 1024 * 1024;

/** The most that `--env` may hold in one launch, in bytes: it travels in one variable. */
const maxEnvironment = 120_000;

/**
 * Checks the launch of a droid.
 * @throws BgError: usage for what cannot be, refused where the machine will not.
 */
export function planDroid(options: DroidOptions): Plan {
	const base = commonFields(options);
	const droid = checkedDroid(options.droid);
	const warnings: string[] = [];
	const autonomy = allowedAutonomy(options.autonomy, warnings);
	const model = checkedModel(options.model);
	const worktree = checkedWorktree(options.worktree);
	const prompt = promptOf(options);
	const program = findDroid();
	const definition = findDefinition(droid, base.cwd, warnings);
	const id = newTaskId();
	const byFile =
		options.private ||
		options.promptPath !== undefined ||
		Buffer.byteLength(prompt) > maxArgvPrompt;
	const systemPrompt = definition?.body;
	const task: Task = {
		...base,
		id,
		kind: "droid",
		...(!options.private && { prompt }),
		agent: droid,
		autonomy,
		...(model && { model }),
		...(worktree !== undefined && { worktree }),
		command: execCommand({
			program,
			autonomy,
			model,
			definition,
			systemPromptFile:
				systemPrompt && systemPromptFile({ dir: storeDir() }, id),
			session: options.session,
			worktree,
		}),
		via: options.private ? "private" : byFile ? "file" : "argv",
		concurrency_key: droid,
	};
	const writeFiles = (store: Store) => {
		if (byFile) writePrivate(promptFile(store, id), prompt);
		if (systemPrompt) writePrivate(systemPromptFile(store, id), systemPrompt);
	};
	return { task, env: parseEnv(options.env ?? []), warnings, writeFiles };
}

/** Checks the launch of a command. @throws BgError as planDroid does. */
export function planCommand(
	options: LaunchOptions & { command: readonly string[] },
): Plan {
	const base = commonFields(options);
	const command = checkedCommand(options.command);
	const cap = commandAutonomy();
	const task: Task = {
		...base,
		id: newTaskId(),
		kind: "command",
		...(cap && { autonomy: cap }),
		command,
	};
	const env = parseEnv(options.env ?? []);
	return { task, env, warnings: [], writeFiles: () => {} };
}

/**
 * Launches what was planned, all of it or nothing. A plan whose key another task has is answered
 * with that task.
 * @throws BgError (refused) where the machine will not.
 */
export function launchPlans(plans: readonly Plan[]): Launched[] {
	for (const { task } of plans) checkLaunchSize(task);
	const store = openStore({ write: true });
	indexSlice(store, Number.POSITIVE_INFINITY);
	const ids = plans.map(({ task }) => task.id);
	return whileLaunching(store, ids, () => {
		if (!plans.some(({ task }) => task.unique_key)) return begin(store, plans);
		const answers = claimKeys(
			store,
			plans.map(({ task }) => task),
		);
		const fresh = plans.filter(({ task }, index) => answers[index] === task);
		const answered = new Map(
			plans.map(({ task }, index) => [task.id, answers[index]?.id ?? task.id]),
		);
		for (const { task } of fresh)
			if (task.after) {
				task.after = task.after.map((id) => answered.get(id) ?? id);
				checkNotAbove(store, "after", task.after);
			}
		const launched = new Map(
			begin(store, fresh).map((each) => [each.task.id, each]),
		);
		return answers.map((answer, index) => {
			const own = launched.get(plans[index]?.task.id ?? "");
			const { task } = launched.get(answer.id) ?? { task: answer };
			return own ?? { task, warnings: [], existing: true };
		});
	});
}

// --- internal ---

/** The act behind all: places in the queue, the supervisor, files, records. */
function begin(store: Store, plans: readonly Plan[]): Launched[] {
	if (plans.length === 0) return [];
	const tasks = plans.map(({ task }) => task);
	const ids = tasks.map(({ id }) => id);
	const env = environmentsOf(plans);
	enqueue(store, tasks, readLimits());
	try {
		// The supervisor first: where a launcher dies halfway, it clears away what was written.
		const supervisor = startSupervisor({ store, ids, env });
		return plans.map(({ task, warnings, writeFiles }) => {
			writeFiles(store);
			const launched = { ...task, supervisor };
			if (task.on_end) markOnEnd(store, task.id);
			createTask(store, launched);
			return { task: launched, warnings };
		});
	} catch (error) {
		for (const task of tasks) {
			withdrawEntry(store, task);
			for (const file of [promptFile, systemPromptFile])
				discard(file(store, task.id));
		}
		throw error;
	}
}

function environmentsOf(
	plans: readonly Plan[],
): Record<string, Record<string, string>> {
	const given = plans.filter(({ env }) => Object.keys(env).length > 0);
	const all = Object.fromEntries(given.map(({ task, env }) => [task.id, env]));
	if (Buffer.byteLength(JSON.stringify(all)) > maxEnvironment)
		throw new BgError(
			"usage",
			`--env holds more than ${maxEnvironment} bytes: use a file`,
		);
	return all;
}

function findDefinition(
	droid: string,
	cwd: string,
	warnings: string[],
): Definition | undefined {
	for (const folder of definitionFolders(cwd, homeFolder())) {
		const path = join(folder, `${droid}.md`);
		try {
			const status = statSync(path, { throwIfNoEntry: false });
			if (!status) continue;
			if (!status.isFile() || status.size > maxDefinition)
				throw new Error("not a file of at most 1 MiB");
			const definition = parseDefinition(readFileSync(path, "utf8"));
			for (const each of definition.warnings)
				warnings.push(`droid "${droid}": ${each} (${path})`);
			return definition;
		} catch (error) {
			if (codeOf(error) === "ENOTDIR") continue;
			warnings.push(
				`droid "${droid}": unable to read ${path}: ${messageOf(error)}`,
			);
			return undefined;
		}
	}
	warnings.push(
		`no definition of droid "${droid}" (.factory/droids/${droid}.md): it runs as a plain droid`,
	);
	return undefined;
}
