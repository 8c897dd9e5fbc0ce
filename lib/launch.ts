/**
 * A launch: everything is checked, then a supervisor is started, then the record is written. Where
 * anything fails, nothing was launched and nothing recorded: a supervisor whose record never comes
 * leaves by itself.
 */
import { readFileSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import {
	allowedAutonomy,
	checkedCommand,
	checkedDroid,
	checkedModel,
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
import { codeOf, messageOf } from "./error.ts";
import { writePrivate } from "./files.ts";
import { promptFile, type Store, systemPromptFile } from "./names.ts";
import { definitionFolders, findDroid } from "./program.ts";
import { indexSlice } from "./reindex.ts";
import { startSupervisor } from "./spawn.ts";
import { createTask, removePrompts } from "./store.ts";
import { newTaskId, type Task } from "./task.ts";

export type Launched = { task: Task; warnings: string[] };

const maxDefinition = 1024 * 1024;

/**
 * Launches a droid.
 * @throws BgError: usage for what cannot be, refused where the machine will not.
 */
export function launchDroid(options: DroidOptions): Launched {
	const base = commonFields(options);
	const droid = checkedDroid(options.droid);
	const warnings: string[] = [];
	const autonomy = allowedAutonomy(options.autonomy, warnings);
	const model = checkedModel(options.model);
	const prompt = promptOf(options);
	const program = findDroid();
	const definition = findDefinition(droid, base.cwd, warnings);
	const store = openStore({ write: true });
	const id = newTaskId();
	const byFile =
		options.private ||
		options.promptPath !== undefined ||
		Buffer.byteLength(prompt) > maxArgvPrompt;
	const systemPrompt = definition?.body
		? systemPromptFile(store, id)
		: undefined;
	const task: Task = {
		...base,
		id,
		kind: "droid",
		...(!options.private && { prompt }),
		agent: droid,
		autonomy,
		...(model && { model }),
		command: execCommand({
			program,
			autonomy,
			model,
			definition,
			systemPromptFile: systemPrompt,
		}),
		via: options.private ? "private" : byFile ? "file" : "argv",
		concurrency_key: droid,
	};
	return begin(store, task, options, warnings, () => {
		if (byFile) writePrivate(promptFile(store, id), prompt);
		if (systemPrompt && definition) writePrivate(systemPrompt, definition.body);
	});
}

/** Launches a command. @throws BgError as launchDroid does. */
export function launchCommand(
	options: LaunchOptions & { command: readonly string[] },
): Launched {
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
	return begin(openStore({ write: true }), task, options, [], () => {});
}

// --- internal ---

/** The act behind both: files, supervisor, record. */
function begin(
	store: Store,
	task: Task,
	options: LaunchOptions,
	warnings: string[],
	writeFiles: () => void,
): Launched {
	const env = parseEnv(options.env ?? []);
	indexSlice(store, Number.POSITIVE_INFINITY);
	try {
		// The supervisor first: where a launcher dies halfway, it clears away what was written.
		const supervisor = startSupervisor({ store, ids: [task.id], env });
		writeFiles();
		const launched = { ...task, supervisor };
		createTask(store, launched);
		return { task: launched, warnings };
	} catch (error) {
		removePrompts(store, task.id);
		throw error;
	}
}

function findDefinition(
	droid: string,
	cwd: string,
	warnings: string[],
): Definition | undefined {
	const home = process.env.HOME || homedir();
	for (const folder of definitionFolders(cwd, home)) {
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
