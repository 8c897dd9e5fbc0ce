/**
 * Reads what a session of droid used, from the settings file that droid keeps beside its transcript.
 *
 * Measured on droid 0.215.0. The file is written anew after each turn; `inclusiveTokenUsage` counts native
 * subagents as well. `inputTokens` leaves out what came from the cache. A fork begins at 0, a session that
 * continues another one after a compaction begins with the counts of that one. The folder of a session is its
 * working directory with `-` for `/`.
 */
import {
	constants,
	existsSync,
	fstatSync,
	readdirSync,
	readFileSync,
} from "node:fs";
import { errorCode, errorMessage } from "../error.ts";
import { withOpenFile } from "../process/system.ts";
import { homeFolder, type Store } from "../store/paths.ts";
import { listSuccessors } from "../store/sessions/session-index.ts";
import { sessionPattern } from "../task/ids.ts";
import {
	addCounts,
	includesCounts,
	noTokens,
	parseCounts,
	type TokenCounts,
} from "../task/usage.ts";

/** The most that a settings file may hold, in bytes. */
const maxSettingsBytes = 1024 * 1024;

/** The most sessions that are followed from one to the next. */
const maxSuccessors = 100;

/** What was counted, or why that cannot be read. Both, if only a part can be read. */
export type SessionUsage = { counts?: TokenCounts; unread?: string };

/**
 * Reads what a session used up to now, with the sessions that continue it. `cwd`: where it works. Both names may be
 * anything.
 */
export function readSessionUsage(
	store: Store,
	session: string,
	cwd: string | undefined,
): SessionUsage {
	if (!sessionPattern.test(session))
		return { unread: "droid named no valid session" };
	try {
		const sessions = listSuccessors(store, session).slice(0, maxSuccessors);
		return sumSessions(sessions.map((each) => readSettings(each, cwd)));
	} catch (error) {
		return { unread: errorMessage(error) };
	}
}

/**
 * The counts of sessions that continue each other, oldest first, each with its counts or why they cannot be read.
 * A session begins with the counts of the one before it. If one is found to begin at 0, both count.
 */
export function sumSessions(
	sessions: readonly (TokenCounts | string)[],
): SessionUsage {
	const usage: SessionUsage = {};
	let before = noTokens;
	let last = noTokens;
	for (const each of sessions)
		if (typeof each === "string") usage.unread ??= each;
		else {
			if (!includesCounts(each, last)) before = addCounts(before, last);
			last = each;
			usage.counts = addCounts(before, last);
		}
	return usage;
}

// --- internal ---

/** The names of the counts in a settings file. */
const settingsKeys = {
	input: "inputTokens",
	output: "outputTokens",
	cacheRead: "cacheReadTokens",
	cacheWrite: "cacheCreationTokens",
	credits: "factoryCredits",
} as const;

/** The counts of one session, or why they cannot be read. */
function readSettings(
	session: string,
	cwd: string | undefined,
): TokenCounts | string {
	const name = `${session}.settings.json`;
	try {
		const file = findSettings(name, cwd);
		if (!file) return `droid has no ${name}`;
		const settings: unknown = JSON.parse(readSmallFile(file));
		const { inclusiveTokenUsage, tokenUsage } = Object(settings);
		return (
			parseCounts(inclusiveTokenUsage ?? tokenUsage, settingsKeys) ??
			`${name} has no count of tokens`
		);
	} catch (error) {
		const why = error instanceof SyntaxError ? "no JSON" : errorMessage(error);
		return `${name} cannot be read: ${why}`;
	}
}

/**
 * Finds a file of a session: in the folder of its working directory, else in any, because that directory may be a
 * link, or a worktree that droid made.
 */
function findSettings(name: string, cwd = ""): string | undefined {
	const home = process.env.FACTORY_HOME_OVERRIDE || homeFolder();
	if (home === undefined) return undefined;
	const folder = `${home}/.factory/sessions`;
	const usual = `${folder}/${cwd.replaceAll("/", "-")}/${name}`;
	if (existsSync(usual)) return usual;
	return listNames(folder)
		.map((each) => `${folder}/${each}/${name}`)
		.find((path) => existsSync(path));
}

function listNames(folder: string): string[] {
	try {
		return readdirSync(folder);
	} catch (error) {
		if (errorCode(error) === "ENOENT") return [];
		throw error;
	}
}

/** Reads a regular file. @throws Error if it is none, or too large. */
function readSmallFile(path: string): string {
	const flags = constants.O_RDONLY | constants.O_NONBLOCK;
	return withOpenFile(path, flags, (fd) => {
		const status = fstatSync(fd);
		if (!status.isFile()) throw new Error("it is no file");
		if (status.size > maxSettingsBytes) throw new Error("it is too large");
		return readFileSync(fd, "utf8");
	});
}
