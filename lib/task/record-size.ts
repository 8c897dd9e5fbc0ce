/**
 * The text of a record file and how large it may be. Every list reads records whole, so bg reads none
 * larger than `maxFileBytes` (store/files.ts) and must never write one. Pure.
 */
import { refused, usage } from "../error.ts";
import type { Task } from "./schema.ts";
import { isFinal } from "./states.ts";

/** The most that a record may hold, in bytes. */
export const maxRecordBytes = 1024 * 1024;

/** The most that a launch may record, in bytes. The difference is for what is added later. */
const maxLaunchBytes = 768 * 1024;

/**
 * Checks that the record of a launch is not too large.
 * @throws BgError (usage) that says what to do.
 */
export function checkLaunchSize(task: Task): void {
	const isSmall = (part: Task) => fits(formatRecord(part), maxLaunchBytes);
	if (isSmall(task)) return;
	const { prompt, ...rest } = task;
	const hint =
		prompt !== undefined && isSmall(rest)
			? "--private keeps the prompt out of it"
			: "put what is long into a file or a script";
	throw usage(
		`the record of this task would be larger than ${maxLaunchBytes / 1024} KiB: ${hint}`,
	);
}

/**
 * The text of a record file. If it would be too large (an older bg wrote records of any size), it
 * lacks long fields that the task no longer needs.
 * @throws BgError (refused) if it is too large even then.
 */
export function formatRecordText(task: Task): string {
	const text = formatRecord(task);
	if (fits(text, maxRecordBytes)) return text;
	const { result: _, left_behind: __, usage: ___, prompt, ...rest } = task;
	const isNeeded = prompt !== undefined && !isFinal(task);
	const short = formatRecord(isNeeded ? { ...rest, prompt } : rest);
	if (fits(short, maxRecordBytes)) return short;
	throw refused(`the record of ${task.id} would be larger than 1 MiB`);
}

/** The text of a record without the words that stand in the output as well. */
export function shortestText(task: Task): string {
	const { result, progress: _, usage: __, left_behind: ___, ...rest } = task;
	const omitted = result && "(not recorded: ulimit -f)";
	return `${JSON.stringify({ ...rest, result: omitted })}\n`;
}

// --- internal ---

const formatRecord = (task: Task) => `${JSON.stringify(task, null, 1)}\n`;

/** A UTF-16 unit is at most three bytes of UTF-8. */
const fits = (text: string, bytes: number) =>
	text.length * 3 <= bytes || new TextEncoder().encode(text).length <= bytes;
