/**
 * Checks the flags that say when a task may start, how long it may run, how much it may write and what
 * follows it. Nothing is written or started here.
 */
import { errorMessage, usage } from "../error.ts";
import { parseDuration, parseSize } from "../print/units.ts";
import { priorities } from "../spawn/limits.ts";
import { openStore } from "../store/directory.ts";
import type { Store } from "../store/paths.ts";
import { findAncestors, resolveTaskId } from "../store/records.ts";
import { taskVariable } from "../task/variables.ts";

/** The flags as they were typed. */
export type ScheduleOptions = {
	/** Ids of tasks that must have completed before, or (`afterAny`) ended in any way. */
	after?: string | undefined;
	afterAny?: string | undefined;
	timeout?: string | undefined;
	maxOutput?: string | undefined;
	priority?: string | undefined;
	retries?: string | undefined;
	/** At most one unfinished task has this key. */
	unique?: string | undefined;
	/** The command to run after the end: words, or a JSON array. */
	onEnd?: string | undefined;
};

const maxRetries = 100;
const maxKeyLength = 200;

/** Checks the flags; returns fields of the record. @throws BgError (usage). */
export function checkSchedule(options: ScheduleOptions) {
	const { after, afterAny, timeout, maxOutput, unique, onEnd } = options;
	if (after !== undefined && afterAny !== undefined)
		throw usage("--after and --after-any do not go together");
	const given = after ?? afterAny;
	const priority = parseWholeNumber("--priority", options.priority, priorities);
	const retries = parseWholeNumber("--retries", options.retries, {
		lowest: 0,
		highest: maxRetries,
	});
	return {
		...(given !== undefined && {
			after: resolvePredecessors(
				after !== undefined ? "--after" : "--after-any",
				given,
			),
		}),
		...(afterAny !== undefined && { after_mode: "any" as const }),
		...(timeout !== undefined && { timeout_ms: parseTimeout(timeout) }),
		...(maxOutput !== undefined && {
			max_output_bytes: parseMaxOutput(maxOutput),
		}),
		...(priority && { priority }),
		...(retries && { retries }),
		...(unique !== undefined && {
			unique_key: checkKey("--unique", "key", unique),
		}),
		...(onEnd !== undefined && { on_end: parseOnEnd(onEnd) }),
	};
}

/**
 * Checks that a launch does not wait for a task it runs inside of.
 * @param flag that named the ids, for errors.
 * @throws BgError (usage).
 */
export function assertNotAncestor(
	store: Store,
	flag: string,
	ids: readonly string[],
): void {
	const own = findAncestors(store, process.env[taskVariable]);
	for (const id of ids)
		if (own.has(id))
			throw usage(
				`${flag} ${id}: this runs inside that task, and they would wait for each other`,
			);
}

/**
 * Checks that a text can be passed on. Text that was not UTF-8 arrives with U+FFFD in it; a NUL, which JSON
 * can hold, fits in no argv, path or variable.
 * @param what names the text, `hint` the way out.
 * @throws BgError (usage).
 */
export function assertIntact(text: string, what: string, hint: string): void {
	if (text.includes("\0")) throw usage(`${what} holds a NUL: ${hint}`);
	if (text.includes("\uFFFD"))
		throw usage(`${what} arrived broken (it was not UTF-8): ${hint}`);
}

/** Checks a key or a tag: short, without control characters. @throws BgError (usage). */
export function checkKey(flag: string, what: string, key: string): string {
	assertIntact(key, flag, "use another one");
	if (!key.trim() || key.length > maxKeyLength || /\p{Cc}/u.test(key))
		throw usage(
			`${flag} takes a ${what} of 1 to ${maxKeyLength} characters, none of them a control character`,
		);
	return key;
}

/** The value of a flag that takes a duration, in ms. @throws BgError (usage) that names the flag. */
export function parseDurationFlag(flag: string, given: string): number;
export function parseDurationFlag(
	flag: string,
	given: string | undefined,
): number | undefined;
export function parseDurationFlag(flag: string, given: string | undefined) {
	const duration = given === undefined ? undefined : parseDuration(given);
	if (given !== undefined && duration === undefined)
		throw usage(`${flag} ${given}: it takes a duration as 90s, 30m, 2h or 7d`);
	return duration;
}

// --- internal ---

/** Resolves the ids of `--after`; every task must exist. */
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

function parseWholeNumber(
	flag: string,
	given: string | undefined,
	{ lowest, highest }: { lowest: number; highest: number },
): number | undefined {
	if (given === undefined) return undefined;
	const number = /^-?\d{1,4}$/.test(given) ? Number(given) : Number.NaN;
	if (!(number >= lowest && number <= highest))
		throw usage(
			`${flag} ${given}: it takes a number from ${lowest} to ${highest}`,
		);
	return number;
}

function parseTimeout(given: string): number {
	const timeout = parseDurationFlag("--timeout", given);
	if (timeout > 0) return timeout;
	throw usage(`--timeout ${given}: it takes a duration of more than nothing`);
}

function parseMaxOutput(given: string): number {
	const size = parseSize(given);
	if (!size)
		throw usage(`--max-output ${given}: it takes a size as 100K, 64M or 1G`);
	return size;
}

/** The argv of --on-end: a JSON array of strings, or words without any quoting. */
function parseOnEnd(given: string): string[] {
	let argv: unknown = given.trim().split(/\s+/);
	if (given.trim().startsWith("["))
		try {
			argv = JSON.parse(given);
		} catch {
			argv = undefined;
		}
	if (isArgv(argv) && argv[0]) return argv;
	throw usage(
		`--on-end ${given}: it takes a program and its arguments, as words or as a JSON array of strings`,
	);
}

const isArgv = (value: unknown): value is string[] =>
	Array.isArray(value) &&
	value.every((each) => typeof each === "string" && !each.includes("\0"));
