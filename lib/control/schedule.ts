/**
 * Checks of flag values: the schedule of a launch (order, priority, limits, --on-end), keys, texts, durations,
 * sizes and numbers. Reads the store; writes and starts nothing.
 */
import { errorMessage, usage } from "../error.ts";
import { parseDuration, parseSize, parseTokens } from "../print/units.ts";
import { priorities } from "../spawn/limits.ts";
import { openStore } from "../store/directory.ts";
import type { Store } from "../store/paths.ts";
import { findAncestors, resolveTaskId } from "../store/records.ts";
import { taskVariable } from "../task/variables.ts";
import { assertAutonomy, commandAutonomy } from "./autonomy.ts";

/** Values as typed. */
export type ScheduleOptions = {
	/** Comma-separated ids of tasks that must complete (`after`) or end (`afterAny`) first. */
	after?: string;
	afterAny?: string;
	timeout?: string;
	/** How long to wait before the start. */
	delay?: string;
	maxOutput?: string;
	priority?: string;
	retries?: string;
	/** A key that at most one unfinished task has. */
	unique?: string;
	/** What to run after the task ends: a line for /bin/sh, or a JSON array of a program and its arguments. */
	onEnd?: string;
};

const maxRetries = 100;
const maxKeyLength = 200;
const maxDelayMs = 365 * 86_400_000;

/** The options as fields of a record. @throws BgError: usage, or refused inside a task. */
export function checkSchedule(options: ScheduleOptions) {
	const { after, afterAny, unique, onEnd } = options;
	if (onEnd !== undefined) assertAutonomy(commandAutonomy, "--on-end");
	assertIntact(onEnd ?? "", "--on-end", "put the line in a script");
	if (after !== undefined && afterAny !== undefined)
		throw usage("--after and --after-any cannot be combined");
	const flag = afterAny === undefined ? "--after" : "--after-any";
	const given = after ?? afterAny;
	const priority = parseNumberFlag("--priority", options.priority, priorities);
	const retries = parseNumberFlag("--retries", options.retries, {
		highest: maxRetries,
	});
	const timeout = parseTimeoutFlag(options.timeout);
	const delay = parseFlag(
		"--delay",
		options.delay,
		parseDelay,
		"a duration up to 365d, like 90s, 30m, 2h or 7d; a bare number is seconds",
	);
	const maxOutput = parseFlag(
		"--max-output",
		options.maxOutput,
		(text) => parseSize(text) || undefined,
		"a size above 0 like 100K, 64M or 1G",
	);
	return {
		after: given === undefined ? undefined : resolvePredecessors(flag, given),
		after_mode: afterAny === undefined ? undefined : ("any" as const),
		not_before: delay ? new Date(Date.now() + delay).toISOString() : undefined,
		timeout_ms: timeout,
		max_output_bytes: maxOutput,
		priority: priority || undefined,
		retries: retries || undefined,
		unique_key:
			unique === undefined ? undefined : checkKey("--unique", "key", unique),
		on_end: parseFlag(
			"--on-end",
			onEnd,
			parseOnEnd,
			"a line for /bin/sh, or a program and its arguments as a JSON array of strings",
		),
	};
}

/** A task must not wait for one that it runs inside. @throws BgError (usage). */
export function assertNotAncestor(
	store: Store,
	flag: string,
	ids: readonly string[],
): void {
	const own = findAncestors(store, process.env[taskVariable]);
	for (const id of ids)
		if (own.has(id))
			throw usage(
				`${flag} ${id}: this command runs inside that task; the two would wait for each other`,
			);
}

/**
 * Refuses U+FFFD, which replaces invalid UTF-8 in argv, and NUL, which JSON can hold but argv, paths and
 * variables cannot.
 */
export function assertIntact(text: string, what: string, hint: string): void {
	if (text.includes("\0")) throw usage(`${what} contains a NUL: ${hint}`);
	if (text.includes("\uFFFD"))
		throw usage(`${what} is not valid UTF-8: ${hint}`);
}

/** Checks a key or a tag: short, without control characters. */
export function checkKey(flag: string, what: string, key: string): string {
	assertIntact(key, flag, "use another one");
	if (!key.trim() || key.length > maxKeyLength || /\p{Cc}/u.test(key))
		throw usage(
			`${flag} takes a ${what} of 1 to ${maxKeyLength} characters, none of them a control character`,
		);
	return key;
}

/**
 * The value of a flag, parsed; undefined if the flag is not given. `parse` returns undefined for a value that
 * it does not accept; `expected` names what it accepts. @throws BgError (usage) that names the flag.
 */
export function parseFlag<T>(
	flag: string,
	given: string | undefined,
	parse: (given: string) => T | undefined,
	expected: string,
): T | undefined {
	if (given === undefined) return undefined;
	const value = parse(given);
	if (value !== undefined) return value;
	throw usage(`${flag} ${given}: it takes ${expected}`);
}

/** A duration in ms. @throws BgError (usage) that names the flag. */
export const parseDurationFlag = (flag: string, given: string | undefined) =>
	parseFlag(
		flag,
		given,
		parseDuration,
		"a duration like 90s, 30m, 2h or 7d; a bare number is seconds",
	);

/** The maximum run time of a task, in ms. @throws BgError (usage). */
export const parseTimeoutFlag = (given: string | undefined) =>
	parseFlag(
		"--timeout",
		given,
		(text) => parseDuration(text) || undefined,
		"a duration above 0 like 90s, 30m, 2h or 7d; a bare number is seconds",
	);

/** The most tokens of a task. @throws BgError (usage). */
export const parseTokensFlag = (given: string | undefined) =>
	parseFlag(
		"--max-tokens",
		given,
		(text) => parseTokens(text) || undefined,
		"a number of tokens above 0 like 50000, 200k or 2M",
	);

/** A size in bytes. @throws BgError (usage) that names the flag. */
export const parseSizeFlag = (flag: string, given: string | undefined) =>
	parseFlag(flag, given, parseSize, "a size like 4000, 64K or 1G");

/** A whole number of a range. @throws BgError (usage) that names the flag. */
export const parseNumberFlag = (
	flag: string,
	given: string | undefined,
	{ lowest = 0, highest = Number.POSITIVE_INFINITY } = {},
) =>
	parseFlag(
		flag,
		given,
		(text) => {
			const number = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
			return number >= lowest && number <= highest ? number : undefined;
		},
		Number.isFinite(highest)
			? `a number from ${lowest} to ${highest}`
			: `a whole number from ${lowest}`,
	);

/**
 * Parses `--on-end`: the argv of a JSON array, or of a shell that gets the text as one line; undefined if it is
 * empty or a broken array. `[ -e x ] && …` is a line.
 */
export function parseOnEnd(given: string): string[] | undefined {
	const text = given.trim();
	if (!text || text.includes("\0")) return undefined;
	try {
		if (text.startsWith("[")) {
			const argv: unknown = JSON.parse(text);
			return isArgv(argv) && argv[0] ? argv : undefined;
		}
	} catch {
		if (!/^\[\s/.test(text)) return undefined;
	}
	return ["/bin/sh", "-c", given];
}

// --- internal ---

function parseDelay(text: string): number | undefined {
	const delay = parseDuration(text) ?? Number.POSITIVE_INFINITY;
	return delay <= maxDelayMs ? delay : undefined;
}

/** The ids of existing tasks. */
function resolvePredecessors(flag: string, given: string): string[] {
	const store = openStore();
	const ids = given.split(",").map((each) => {
		try {
			return resolveTaskId(store, each.trim());
		} catch (error) {
			throw usage(`${flag}: ${errorMessage(error)}`);
		}
	});
	assertNotAncestor(store, flag, ids);
	return [...new Set(ids)];
}

const isArgv = (value: unknown): value is string[] =>
	Array.isArray(value) &&
	value.every((each) => typeof each === "string" && !each.includes("\0"));
