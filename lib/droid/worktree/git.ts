/**
 * Calls of git in a repository that an agent could change. No program that its configuration names is run: no
 * hook, file monitor, external diff, text conversion, content filter or pager. Nothing is fetched, no lock taken,
 * no index written. What the user configured outside of the repository counts.
 */
import { x } from "tinyexec";
import { BgError, errorMessage } from "../../error.ts";
import { toLine } from "../../print/text.ts";
import { findOnPath } from "../../process/executables.ts";

/** Why an answer of git is missing, as an error (refused). */
export class GitError extends BgError {
	constructor(message: string) {
		super("refused", message);
	}
}

/** A repository, and how to call git in it. */
export type Repository = {
	/** The program and the arguments that come before a command. */
	command: readonly [string, ...string[]];
	/** undefined: the variable is removed. */
	env: Readonly<Record<string, string | undefined>>;
	/** When the calls must have ended, in ms of performance.now(). */
	deadline: number;
};

/**
 * Prepares calls of git in a folder.
 * @throws GitError if git is missing or refuses the repository.
 */
export async function openRepository(
	folder: string,
	deadline: number,
): Promise<Repository> {
	const git = findOnPath("git");
	if (!git) throw new GitError("there is no git on PATH");
	const command = [git, "-C", folder, ...safeSettings] as const;
	const env = { ...cleanEnvironment(), GIT_PAGER: "cat" };
	const repository: Repository = { command, env, deadline };
	const { overrides, pager } = overrideSettings(await listSettings(repository));
	const safe = {
		...repository,
		env: { ...env, ...toVariables(overrides), GIT_PAGER: pager },
	};
	if (overrides.size) {
		const now = overrideSettings(await listSettings(safe)).values;
		for (const [name, value] of overrides)
			if (now.get(name) !== value)
				throw new GitError(
					`git is too old to be called safely in ${folder}: it must be 2.31 or newer`,
				);
	}
	return safe;
}

/**
 * Calls git and returns what it printed.
 * @throws GitError in the words of git, or if it takes too long.
 */
export async function callGit(
	{ command: [git, ...before], env, deadline }: Repository,
	args: readonly string[],
	{
		codes = [0],
		input = "",
		variables = {},
	}: {
		/** The exit codes of an answer. */
		codes?: number[];
		input?: string;
		variables?: Record<string, string>;
	} = {},
): Promise<string> {
	const left = Math.max(1, Math.round(deadline - performance.now()));
	const late = new GitError(`git takes too long in ${before[1]}`);
	const run = x(git, [...before, ...args], {
		nodePath: false,
		timeout: left,
		stdin: input,
		nodeOptions: { env: { ...env, ...variables }, stdio: "pipe" },
	});
	// A program may leave before it has read all of its input.
	run.process?.stdin?.on("error", () => {});
	let timer: ReturnType<typeof setTimeout> | undefined;
	// A process that waits for a dead disk does not end when it is told to.
	const stuck = new Promise<never>((_, reject) => {
		timer = setTimeout(() => reject(late), left + stuckMs);
	});
	try {
		const { stdout, stderr, exitCode } = await Promise.race([run, stuck]);
		if (exitCode !== undefined && codes.includes(exitCode)) return stdout;
		if (performance.now() >= deadline) throw late;
		const [said = ""] = stderr.trim().split("\n").slice(-1);
		throw new GitError(`git: ${toLine(said, 300) || `exited ${exitCode}`}`);
	} catch (error) {
		if (error instanceof GitError) throw error;
		if (performance.now() >= deadline) throw late;
		throw new GitError(`unable to run ${git}: ${errorMessage(error)}`);
	} finally {
		clearTimeout(timer);
	}
}

// --- internal ---

/** How long a git that was told to end may take for that, in ms. */
const stuckMs = 500;

const safeSettings = [
	...["-c", "core.fsmonitor=false"],
	...["-c", "core.hooksPath=/dev/null"],
	...["-c", "core.splitIndex=false"],
	...["-c", "protocol.allow=never"],
] as const;

/** Variables that would lead git to another repository, or to a program; and those that keep it from writing. */
function cleanEnvironment(): Record<string, string | undefined> {
	const given = Object.keys(process.env).filter((name) =>
		name.startsWith("GIT_"),
	);
	return {
		...Object.fromEntries(given.map((name) => [name, undefined])),
		GIT_OPTIONAL_LOCKS: "0",
		GIT_NO_LAZY_FETCH: "1",
		GIT_TERMINAL_PROMPT: "0",
		LC_ALL: "C",
	};
}

/** The settings that name a program which `git diff` could run, beside those that are always off. */
const programSettings = String.raw`^(filter\..*\.(clean|smudge|process|required)|core\.pager)$`;

/** For each setting its scope, a NUL, its name, a newline, its value and a NUL. Without a value: no newline. */
const listSettings = (repository: Repository) =>
	callGit(
		repository,
		["config", "-z", "--show-scope", "--get-regexp", programSettings],
		// There is none.
		{ codes: [0, 1] },
	);

/** Chooses the values that replace those of the repository: the user's own, else none. */
function overrideSettings(listed: string) {
	const words = listed.split("\0");
	const own = new Map<string, string>();
	const values = new Map<string, string>();
	const foreign = new Set<string>();
	for (let at = 0; at + 1 < words.length; at += 2) {
		const [scope, setting = ""] = words.slice(at, at + 2);
		const [name = "", ...lines] = setting.split("\n");
		const value = lines.join("\n");
		values.set(name, value);
		if (scope === "system" || scope === "global") own.set(name, value);
		else if (name !== "core.pager") foreign.add(name);
	}
	const overrides = new Map<string, string>();
	for (const name of foreign) {
		const none = name.endsWith(".required") ? "false" : "";
		overrides.set(name, own.get(name) ?? none);
	}
	const { GIT_PAGER, PAGER } = process.env;
	const pager = GIT_PAGER || own.get("core.pager") || PAGER || "less";
	return { overrides, values, pager };
}

/** Settings as variables: in an argument (`-c`) a name with `=` would be another one. */
function toVariables(settings: ReadonlyMap<string, string>) {
	const pairs = [...settings].flatMap(([name, value], at) => [
		[`GIT_CONFIG_KEY_${at}`, name],
		[`GIT_CONFIG_VALUE_${at}`, value],
	]);
	return settings.size
		? { GIT_CONFIG_COUNT: `${settings.size}`, ...Object.fromEntries(pairs) }
		: {};
}
