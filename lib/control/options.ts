/**
 * What may be launched. Every input is hostile until it was checked here: the flags, the prompt, a
 * file it stands in, and the environment of the task that launches from inside.
 *
 * A check returns what is safe to record and to start, or throws BgError: usage for what cannot
 * be, refused for what may not be. Nothing is written and nothing started here.
 */
import {
	accessSync,
	closeSync,
	constants,
	openSync,
	readSync,
	statSync,
} from "node:fs";
import { resolve } from "node:path";
import { droidNamePattern } from "../droid/definition.ts";
import { errorCode, errorMessage, refused, usage } from "../error.ts";
import { currentFolder, sleepSync } from "../process/runtime.ts";
import { readLimits } from "../spawn/limits.ts";
import { createSessionId, idPattern, sessionPattern } from "../task/ids.ts";
import { schemaVersion } from "../task/schema.ts";
import { timestamp } from "../task/states.ts";
import { taskVariable } from "../task/variables.ts";
import {
	assertIntact,
	checkKey,
	checkSchedule,
	type ScheduleOptions,
} from "./schedule.ts";

/** What is the same for a droid and for a command. */
export type LaunchOptions = {
	description: string;
	cwd?: string | undefined;
	/** `K=V` each. */
	env?: readonly string[];
	stdin?: string | undefined;
	tags?: readonly string[];
} & ScheduleOptions;

export type DroidOptions = LaunchOptions & {
	/** The prompt itself, or the file it stands in (`-`: standard input). */
	prompt?: string | undefined;
	promptPath?: string | undefined;
	droid?: string | undefined;
	parentSession?: string | undefined;
	autonomy?: string | undefined;
	model?: string | undefined;
	/** The prompt stays out of argv and out of the record. */
	private?: boolean | undefined;
	/** Let droid work in a git worktree of its own; "" where droid shall name it. */
	worktree?: string | undefined;
	/** The session of droid's to go on with, and whether in a copy of it. */
	session?: { id: string; fork: boolean } | undefined;
};

const defaultDroid = "executor-med";
const maxPromptBytes = 16 * 1024 * 1024;

/** The fields that every record has, whatever it launches. */
export function checkCommonOptions(options: LaunchOptions) {
	assertIntact(options.description, "the description", "say it in UTF-8");
	if (!options.description.trim()) throw usage("the description is empty");
	const parent = process.env[taskVariable];
	const cwd = resolveFolder(options.cwd);
	const depth = parseDepth(process.env.BG_DEPTH) + 1;
	const { BG_MAX_DEPTH } = readLimits();
	if (depth > BG_MAX_DEPTH)
		throw refused(
			`this would be a task at depth ${depth}, and BG_MAX_DEPTH is ${BG_MAX_DEPTH}: let the task above launch it`,
		);
	return {
		schema: schemaVersion,
		description: options.description,
		cwd,
		...(options.stdin && { stdin: resolveStdin(cwd, options.stdin) }),
		session_id: createSessionId(),
		parent_session_id: resolveParentSession(options),
		...(parent && idPattern.test(parent) && { parent_task_id: parent }),
		depth,
		status: "queued" as const,
		queued_at: timestamp(),
		...(options.tags?.length && {
			tags: options.tags.map((tag) => checkKey("--tag", "tag", tag)),
		}),
		...checkSchedule(options),
	};
}

/** The name of a droid: it becomes part of a path. */
export function checkDroidName(droid = defaultDroid): string {
	if (!droidNamePattern.test(droid))
		throw usage(
			`${JSON.stringify(droid)} is no name of a droid: letters, digits, ".", "_" and "-", at most 64`,
		);
	return droid;
}

/** The argv of a command. */
export function checkCommand(command: readonly string[]): string[] {
	for (const each of command)
		assertIntact(each, "an argument", "put the command in a script");
	if (!command[0])
		throw usage("no command to run: bg run <description> -- <command…>");
	return [...command];
}

/** `--env` as an object: `K=V` each, the last one of a name counts. */
export function parseEnvPairs(
	pairs: readonly string[],
): Record<string, string> {
	const env: Record<string, string> = {};
	for (const pair of pairs) {
		const at = pair.indexOf("=");
		const name = pair.slice(0, at);
		if (at < 1 || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))
			throw usage(`--env ${pair}: it takes NAME=VALUE`);
		assertIntact(pair, `--env ${name}`, "set it in a script");
		env[name] = pair.slice(at + 1);
	}
	return env;
}

/** The prompt, from argv or from its file. */
export function readPrompt(options: DroidOptions): string {
	const { prompt, promptPath } = options;
	if (prompt !== undefined && promptPath !== undefined)
		throw usage("the prompt is given twice: in argv and by --prompt-file");
	const text =
		promptPath === undefined
			? (prompt ?? "")
			: readTextFile("--prompt-file", promptPath);
	if (promptPath === undefined)
		assertIntact(text, "the prompt", "give it by --prompt-file FILE");
	if (!text.trim()) throw usage("the prompt is empty");
	return text;
}

/** The name of a model, or none. */
export function checkModel(model: string | undefined): string | undefined {
	if (model && (/^-|[\p{Cc}\uFFFD]/u.test(model) || model.length > 200))
		throw usage(`${JSON.stringify(model)} is no name of a model`);
	return model || undefined;
}

/** The name of a worktree as droid takes it; "" where droid shall name it. */
export function checkWorktree(name: string | undefined): string | undefined {
	if (name && !droidNamePattern.test(name))
		throw usage(
			`--worktree ${JSON.stringify(name)}: letters, digits, ".", "_" and "-", at most 64`,
		);
	return name;
}

/** A text of the user's: a file of UTF-8, or standard input (`-`). @throws BgError (usage). */
export function readTextFile(flag: string, path: string): string {
	let bytes: Buffer;
	try {
		bytes = readBoundedFile(path);
	} catch (error) {
		throw usage(`${flag} ${path}: ${errorMessage(error)}`);
	}
	if (bytes.length > maxPromptBytes)
		throw usage(`${flag} ${path}: more than 16 MiB`);
	try {
		return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
			bytes,
		);
	} catch {
		throw usage(`${flag} ${path}: it is not UTF-8`);
	}
}

// --- internal ---

function parseDepth(value: string | undefined): number {
	return value && /^\d{1,3}$/.test(value) ? Number(value) : 0;
}

function resolveParentSession({ parentSession }: DroidOptions): string {
	const named = parentSession && parentSession !== "main";
	const given = named ? parentSession : process.env.BG_SESSION_ID || "main";
	if (!sessionPattern.test(given))
		throw usage(
			`${named ? "" : "BG_SESSION_ID: "}${JSON.stringify(given)} is no session id: letters, digits, "_" and "-", at most 128`,
		);
	return given;
}

function resolveFolder(given: string | undefined): string {
	assertIntact(given ?? "", "--cwd", "name another folder");
	const here = given?.startsWith("/") ? "/" : currentFolder();
	if (here === undefined)
		throw usage(
			"the current folder was removed: give an absolute --cwd, or cd to another folder",
		);
	const cwd = resolve(here, given ?? ".");
	const name = given === undefined ? "the current folder" : `--cwd ${given}`;
	try {
		if (statSync(cwd, { throwIfNoEntry: false })?.isDirectory()) {
			accessSync(cwd, constants.X_OK);
			return cwd;
		}
	} catch (error) {
		throw usage(`${name} cannot be entered: ${errorMessage(error)}`);
	}
	throw usage(
		given === undefined
			? `the current folder cannot be used (is its name UTF-8?): ${cwd}`
			: `--cwd ${given}: no such folder`,
	);
}

function resolveStdin(cwd: string, given: string): string {
	assertIntact(given, "--stdin", "name another file");
	const path = resolve(cwd, given);
	const status = statSync(path, { throwIfNoEntry: false });
	if (!status) throw usage(`--stdin ${given}: no such file`);
	if (!status.isFile() && !status.isCharacterDevice())
		throw usage(`--stdin ${given}: neither a file nor a device`);
	return path;
}

/**
 * A file, a pipe or standard input (`-`), up to one byte more than a prompt may have: there may be no
 * end of it.
 */
function readBoundedFile(path: string): Buffer {
	if (path === "-") return readDescriptor(0);
	const fd = openSync(path, "r");
	try {
		return readDescriptor(fd);
	} finally {
		closeSync(fd);
	}
}

/** Where nothing is there yet and the descriptor does not wait, we do. */
function readDescriptor(fd: number): Buffer {
	const parts: Buffer[] = [];
	for (let length = 0; length <= maxPromptBytes; ) {
		const part = Buffer.alloc(65_536);
		try {
			const read = readSync(fd, part);
			if (read === 0) break;
			parts.push(part.subarray(0, read));
			length += read;
		} catch (error) {
			if (errorCode(error) === "EOF") break;
			if (errorCode(error) !== "EAGAIN") throw error;
			sleepSync(5);
		}
	}
	return Buffer.concat(parts);
}
