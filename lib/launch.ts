/**
 * A launch: everything is checked, then a supervisor is started, then the records are written. Where
 * anything fails, nothing was launched and nothing recorded: a supervisor whose records do not all
 * come takes those that are there away again, and leaves.
 */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import {
	checkCommand,
	checkCommandAutonomy,
	checkCommonOptions,
	checkDroidName,
	checkModel,
	checkWorktree,
	type DroidOptions,
	type LaunchOptions,
	limitAutonomy,
	parseEnvPairs,
	readPrompt,
} from "./check.ts";
import { openStore } from "./directory.ts";
import {
	buildExecCommand,
	type DroidDefinition,
	maxArgvPromptBytes,
	parseDefinition,
} from "./droid.ts";
import { errorCode, errorMessage, usage } from "./error.ts";
import { discard, writePrivateFile } from "./files.ts";
import { claimUniqueKeys } from "./keys.ts";
import { withPendingLaunch } from "./launching.ts";
import {
	homeFolder,
	promptFile,
	type Store,
	storeDir,
	systemPromptFile,
} from "./names.ts";
import { findDroid, listDefinitionFolders } from "./program.ts";
import { reconcileTask } from "./prune.ts";
import { enqueue, readLimits, withdrawEntry } from "./queue.ts";
import { checkLaunchSize } from "./record.ts";
import { buildIndexSlice } from "./reindex.ts";
import { assertNotAncestor } from "./schedule.ts";
import { startSupervisor } from "./spawn.ts";
import { createOnEndMark, createTask } from "./store.ts";
import { createTaskId, type Task } from "./task.ts";

export type LaunchResult = {
	task: Task;
	warnings: string[];
	/** It was there already: nothing was launched (`--unique`). */
	existing?: boolean;
};

/** A launch that was checked: nothing of it is written yet. */
export type LaunchPlan = {
	task: Task;
	env: Record<string, string>;
	warnings: string[];
	/** Writes what only droid reads. */
	writeFiles: (store: Store) => void;
};

const maxDefinitionBytes = 1024 * 1024;

/** The most that `--env` may hold in one launch, in bytes: it travels in one variable. */
const maxEnvironmentBytes = 120_000;

/**
 * Checks the launch of a droid.
 * @throws BgError: usage for what cannot be, refused where the machine will not.
 */
export function planDroid(options: DroidOptions): LaunchPlan {
	const base = checkCommonOptions(options);
	const droid = checkDroidName(options.droid);
	const warnings: string[] = [];
	const autonomy = limitAutonomy(options.autonomy, warnings);
	const model = checkModel(options.model);
	const worktree = checkWorktree(options.worktree);
	const prompt = readPrompt(options);
	const program = findDroid();
	const definition = findDefinition(droid, base.cwd, warnings);
	const id = createTaskId();
	const byFile =
		options.private ||
		options.promptPath !== undefined ||
		Buffer.byteLength(prompt) > maxArgvPromptBytes;
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
		command: buildExecCommand({
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
		if (byFile) writePrivateFile(promptFile(store, id), prompt);
		if (systemPrompt)
			writePrivateFile(systemPromptFile(store, id), systemPrompt);
	};
	return { task, env: parseEnvPairs(options.env ?? []), warnings, writeFiles };
}

/** Checks the launch of a command. @throws BgError as planDroid does. */
export function planCommand(
	options: LaunchOptions & { command: readonly string[] },
): LaunchPlan {
	const base = checkCommonOptions(options);
	const command = checkCommand(options.command);
	const cap = checkCommandAutonomy();
	const task: Task = {
		...base,
		id: createTaskId(),
		kind: "command",
		...(cap && { autonomy: cap }),
		command,
	};
	const env = parseEnvPairs(options.env ?? []);
	return { task, env, warnings: [], writeFiles: () => {} };
}

/**
 * Launches what was planned, all of it or nothing. A plan whose key another task has is answered
 * with that task.
 * @throws BgError (refused) where the machine will not.
 */
export function launchPlans(plans: readonly LaunchPlan[]): LaunchResult[] {
	for (const { task } of plans) checkLaunchSize(task);
	const store = openStore({ write: true });
	buildIndexSlice(store, Number.POSITIVE_INFINITY);
	const ids = plans.map(({ task }) => task.id);
	return withPendingLaunch(store, ids, () => {
		if (!plans.some(({ task }) => task.unique_key))
			return startPlans(store, plans);
		const claimed = claimUniqueKeys(
			store,
			plans.map(({ task }) => task),
			reconcileTask,
		);
		const fresh = plans.filter(({ task }, index) => claimed[index] === task);
		const claimedIds = new Map(
			plans.map(({ task }, index) => [task.id, claimed[index]?.id ?? task.id]),
		);
		for (const { task } of fresh)
			if (task.after) {
				task.after = task.after.map((id) => claimedIds.get(id) ?? id);
				assertNotAncestor(store, "after", task.after);
			}
		const launched = new Map(
			startPlans(store, fresh).map((each) => [each.task.id, each]),
		);
		return claimed.map((answer, index) => {
			const ownResult = launched.get(plans[index]?.task.id ?? "");
			const { task } = launched.get(answer.id) ?? { task: answer };
			return ownResult ?? { task, warnings: [], existing: true };
		});
	});
}

// --- internal ---

/** The act behind all: places in the queue, the supervisor, files, records. */
function startPlans(
	store: Store,
	plans: readonly LaunchPlan[],
): LaunchResult[] {
	if (plans.length === 0) return [];
	const tasks = plans.map(({ task }) => task);
	const ids = tasks.map(({ id }) => id);
	const env = collectEnvironments(plans);
	enqueue(store, tasks, readLimits());
	try {
		// The supervisor first: where a launcher dies halfway, it clears away what was written.
		const supervisor = startSupervisor({ store, ids, env });
		return plans.map(({ task, warnings, writeFiles }) => {
			writeFiles(store);
			const launched = { ...task, supervisor };
			if (task.on_end) createOnEndMark(store, task.id);
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

function collectEnvironments(
	plans: readonly LaunchPlan[],
): Record<string, Record<string, string>> {
	const given = plans.filter(({ env }) => Object.keys(env).length > 0);
	const all = Object.fromEntries(given.map(({ task, env }) => [task.id, env]));
	if (Buffer.byteLength(JSON.stringify(all)) > maxEnvironmentBytes)
		throw usage(
			`--env holds more than ${maxEnvironmentBytes} bytes: use a file`,
		);
	return all;
}

function findDefinition(
	droid: string,
	cwd: string,
	warnings: string[],
): DroidDefinition | undefined {
	for (const folder of listDefinitionFolders(cwd, homeFolder())) {
		const path = join(folder, `${droid}.md`);
		try {
			const status = statSync(path, { throwIfNoEntry: false });
			if (!status) continue;
			if (!status.isFile() || status.size > maxDefinitionBytes)
				throw new Error("not a file of at most 1 MiB");
			const definition = parseDefinition(readFileSync(path, "utf8"));
			for (const each of definition.warnings)
				warnings.push(`droid "${droid}": ${each} (${path})`);
			return definition;
		} catch (error) {
			if (errorCode(error) === "ENOTDIR") continue;
			warnings.push(
				`droid "${droid}": unable to read ${path}: ${errorMessage(error)}`,
			);
			return undefined;
		}
	}
	warnings.push(
		`no definition of droid "${droid}" (.factory/droids/${droid}.md): it runs as a plain droid`,
	);
	return undefined;
}
