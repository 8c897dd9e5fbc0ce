/**
 * Checks what a launch is given: flags, the prompt or its file, and the environment of the task that it
 * comes from. All of it is untrusted until it was checked here.
 *
 * A check returns what is safe to record and to start, or throws BgError: usage for what is invalid,
 * refused for what is not allowed. Nothing is written or started here.
 */
import { isUtf8 } from "node:buffer";
import { accessSync, constants, readSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { defaultDroid } from "../../droid/definitions/built-in.ts";
import { droidNamePattern } from "../../droid/definitions/definition.ts";
import { checkEngine, type EngineOptions } from "../../engine/arguments.ts";
import {
	errorCode,
	errorMessage,
	refused,
	toInputError,
	usage,
} from "../../error.ts";
import { currentFolder, sleepSync } from "../../process/runtime.ts";
import { readOwnTaskId } from "../../process/self.ts";
import { withOpenFile } from "../../process/system.ts";
import { readLimits } from "../../spawn/limits.ts";
import { keptInput } from "../../store/input.ts";
import { sessionPattern } from "../../task/ids.ts";
import { schemaVersion } from "../../task/schema.ts";
import { omitUndefined, timestamp } from "../../task/states.ts";
import {
	assertIntact,
	checkKey,
	checkSchedule,
	type ScheduleOptions,
} from "../schedule.ts";

/** The options of a droid and of a command. */
export type LaunchOptions = {
	description: string;
	cwd?: string;
	/** `K=V` each. */
	env?: readonly string[];
	/** A file; `-`: the standard input of this process (readGivenStdin); `keep`: what `bg send` writes. */
	stdin?: string;
	tags?: readonly string[];
} & ScheduleOptions &
	EngineOptions;

export type DroidOptions = LaunchOptions & {
	/** The prompt, or the file that holds it (`-`: standard input). */
	prompt?: string;
	promptPath?: string;
	droid?: string;
	parentSession?: string;
	autonomy?: string;
	model?: string;
	/** The most tokens that it may use. */
	maxTokens?: string;
	/** Whether the prompt stays out of argv and of the record. */
	private?: boolean;
	/** The name of a git worktree for droid to work in; "" lets droid name it. */
	worktree?: string;
	/** The droid session to continue, and whether in a copy of it. */
	session?: { id: string; fork: boolean } | undefined;
};

/** The most that is read of a prompt, a batch or standard input. */
const maxInputBytes = 16 * 1024 * 1024;

/**
 * Checks the options that every launch has; returns fields of the record.
 * @throws BgError: usage, or refused past BG_MAX_DEPTH.
 */
export function checkCommonOptions(options: LaunchOptions) {
	assertIntact(options.description, "the description", "say it in UTF-8");
	if (!options.description.trim()) throw usage("the description is empty");
	const cwd = resolveFolder(options.cwd);
	const [parentDepth = 0] = /^\d{1,3}$/.exec(process.env.BG_DEPTH ?? "") ?? [];
	const depth = Number(parentDepth) + 1;
	const { BG_MAX_DEPTH } = readLimits();
	if (depth > BG_MAX_DEPTH)
		throw refused(
			`this would be a task at depth ${depth}, and BG_MAX_DEPTH is ${BG_MAX_DEPTH}: let the parent task launch it`,
		);
	return omitUndefined({
		schema: schemaVersion,
		description: options.description,
		cwd,
		stdin:
			options.stdin && options.stdin !== "-"
				? resolveStdin(cwd, options.stdin)
				: undefined,
		parent_session_id: resolveParentSession(options),
		parent_task_id: readOwnTaskId(),
		depth,
		status: "queued" as const,
		queued_at: timestamp(),
		tags: options.tags?.length
			? options.tags.map((tag) => checkKey("--tag", "tag", tag))
			: undefined,
		engine: checkEngine(options),
		...checkSchedule(options),
	});
}

/** Checks the name of a droid, which becomes part of a path. @throws BgError (usage). */
export function checkDroidName(droid = defaultDroid): string {
	if (!droidNamePattern.test(droid))
		throw usage(
			`${JSON.stringify(droid)} is not a droid name: letters, digits, ".", "_" and "-", at most 64`,
		);
	return droid;
}

/** Checks the argv of a command. @throws BgError (usage). */
export function checkCommand(command: readonly string[]): string[] {
	for (const each of command)
		assertIntact(each, "an argument", "put the command in a script");
	if (!command[0])
		throw usage("no command to run: bg run <description> -- <command…>");
	return [...command];
}

/** Parses `--env`: `K=V` each, the last value of a name counts. @throws BgError (usage). */
export function parseEnvPairs(
	pairs: readonly string[],
): Record<string, string> {
	const env: Record<string, string> = {};
	for (const pair of pairs) {
		const [, name, value = ""] = /^([A-Za-z_]\w*)=(.*)$/s.exec(pair) ?? [];
		if (!name) throw usage(`--env ${pair}: it takes NAME=VALUE`);
		assertIntact(pair, `--env ${name}`, "set it in a script");
		env[name] = value;
	}
	return env;
}

/** Reads the prompt, from argv or from its file. @throws BgError (usage). */
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

/** Checks the name of a model; undefined if there is none. @throws BgError (usage). */
export function checkModel(model: string | undefined): string | undefined {
	if (model && (/^-|[\p{Cc}\uFFFD]/u.test(model) || model.length > 200))
		throw usage(`${JSON.stringify(model)} is not a model name`);
	return model || undefined;
}

/** Checks the name of a worktree; "" lets droid name it. @throws BgError (usage). */
export function checkWorktree(name: string | undefined): string | undefined {
	if (name && !droidNamePattern.test(name))
		throw usage(
			`--worktree ${JSON.stringify(name)}: letters, digits, ".", "_" and "-", at most 64`,
		);
	return name;
}

/**
 * Reads a UTF-8 file or standard input (`-`), at most 16 MiB.
 * @param flag that named it, for errors.
 * @throws BgError: usage, or refused if the machine cannot read.
 */
export function readTextFile(flag: string, path: string): string {
	const bytes = readBytes(flag, path);
	if (!isUtf8(bytes)) throw usage(`${flag} ${path}: it is not UTF-8`);
	return bytes.toString();
}

/** Reads any file or standard input (`-`), as readTextFile does. */
export function readBytes(flag: string, path: string): Buffer {
	try {
		return path === "-" ? readBounded(0) : withOpenFile(path, "r", readBounded);
	} catch (error) {
		throw toInputError(`${flag} ${path}`, error);
	}
}

/**
 * Reads standard input to its end if `--stdin -` says so, at most 16 MiB: a launch outlives whatever writes there.
 * @throws BgError: usage, or refused if the machine cannot read.
 */
export function readGivenStdin(options: DroidOptions): Buffer | undefined {
	if (options.stdin !== "-") return undefined;
	if (options.promptPath === "-")
		throw usage("--stdin - and --prompt-file - both read standard input");
	try {
		return readBounded(0);
	} catch (error) {
		throw toInputError("--stdin -", error, " (give a file)");
	}
}

// --- internal ---

function resolveParentSession({ parentSession }: DroidOptions): string {
	const named = parentSession && parentSession !== "main";
	const given = named ? parentSession : process.env.BG_SESSION_ID || "main";
	if (!sessionPattern.test(given))
		throw usage(
			`${named ? "" : "BG_SESSION_ID: "}${JSON.stringify(given)} is not a session id: letters, digits, "_" and "-", at most 128`,
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
	if (given === keptInput) return given;
	assertIntact(given, "--stdin", "name another file");
	const path = resolve(cwd, given);
	const status = statSync(path, { throwIfNoEntry: false });
	if (!status) throw usage(`--stdin ${given}: no such file`);
	if (!status.isFile() && !status.isCharacterDevice())
		throw usage(`--stdin ${given}: neither a file nor a device`);
	return path;
}

/** Reads a file, a pipe or standard input to its end, which may never come. @throws Error past 16 MiB. */
function readBounded(fd: number): Buffer {
	const parts: Buffer[] = [];
	for (let length = 0; ; ) {
		const part = readPart(fd);
		if (part.length === 0) break;
		parts.push(part);
		length += part.length;
		if (length > maxInputBytes) throw new Error("more than 16 MiB");
	}
	return Buffer.concat(parts);
}

/** Reads at most 64 KiB; empty at the end. On EAGAIN it sleeps and retries. */
function readPart(fd: number): Buffer {
	const part = Buffer.alloc(65_536);
	for (;;)
		try {
			return part.subarray(0, readSync(fd, part));
		} catch (error) {
			if (errorCode(error) === "EOF") return part.subarray(0, 0);
			if (errorCode(error) !== "EAGAIN") throw error;
			sleepSync(5);
		}
}
