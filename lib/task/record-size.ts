/**
 * The text of a record file and its maximum size. Lists read records whole, so bg reads no record larger
 * than `maxFileBytes` (store/files.ts) and must never write one. Pure.
 */
import { refused, usage } from "../error.ts";
import type { Task } from "./schema.ts";
import { isFinal } from "./states.ts";

/** The most that a record may hold, in bytes. */
export const maxRecordBytes = 1024 * 1024;

/** The most that a launch may record, in bytes. The difference is reserved for later fields. */
const maxLaunchBytes = 768 * 1024;

/**
 * Checks that the record of a launch is not too large.
 * @throws BgError (usage) that says how to make it smaller.
 */
export function checkLaunchSize(task: Task): void {
	const isSmall = (part: Task) => fits(formatRecord(part), maxLaunchBytes);
	if (isSmall(task)) return;
	const { prompt, ...others } = task;
	const hint =
		prompt !== undefined && isSmall(others)
			? "--private keeps the prompt out of it"
			: "put long text into a file or a script";
	throw usage(
		`the record of this task would be larger than ${maxLaunchBytes / 1024} KiB: ${hint}`,
	);
}

/**
 * Formats the text of a record file. If it is too large (an older bg wrote records of any size), it is
 * shortened, and the prompt of a finished task is left out.
 * @throws BgError (refused) if it is too large even then.
 */
export function formatRecordText(task: Task): string {
	const text = formatRecord(task);
	if (fits(text, maxRecordBytes)) return text;
	const { prompt: _, ...others } = task;
	const short = formatShortText(isFinal(task) ? others : task, "too large");
	if (fits(short, maxRecordBytes)) return short;
	throw refused(`the record of ${task.id} would be larger than 1 MiB`);
}

/** Formats a record without the fields that repeat the output. `why` replaces the result. */
export function formatShortText(task: Task, why: string): string {
	const { result, progress: _, usage: __, left_behind: ___, ...others } = task;
	const omitted = result && `(not recorded: ${why})`;
	return `${JSON.stringify({ ...others, result: omitted })}\n`;
}

// --- internal ---

const formatRecord = (task: Task) => `${JSON.stringify(task, null, 1)}\n`;

/** A UTF-16 unit is at most three bytes of UTF-8. */
const fits = (text: string, bytes: number) =>
	text.length * 3 <= bytes || new TextEncoder().encode(text).length <= bytes;
