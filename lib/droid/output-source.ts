/**
 * A task's output as far as it may be shown, and the lines of a droid's stream in it. Reads are bounded:
 * a longer line is read in parts of 8 MiB.
 */
import { formatProgramCall } from "../print/text.ts";
import { readOutputBytes, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { outputLimit, type Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { parseEvent, renderEvent } from "./stream.ts";
import { windowBytes } from "./task-output.ts";

/** How much of a droid's stream is read at once unless a line is longer, in bytes. */
const blockBytes = 64 * 1024;

/** An output as far as it may be shown. */
export type Source = {
	id: string;
	attempt?: number;
	size: number;
	/** Whether a last line without its newline may still grow. */
	isLive: boolean;
	/** Reads bytes; fewer at the end of the source. */
	read: (from: number, length: number) => Buffer;
};

/** Opens the output of a task, or of an earlier attempt. */
export function openSource(store: Store, task: Task, attempt?: number): Source {
	const { id } = task;
	const size = readVisibleSize(store, task, attempt);
	return {
		id,
		attempt,
		size,
		isLive: !isFinal(task) && attempt === undefined,
		read: (from, length) => {
			const to = Math.min(size, from + length);
			return readOutputBytes(store, id, { from, to, attempt });
		},
	};
}

/**
 * Returns how many bytes of a task's output may be shown. Bytes of an unfinished task past its
 * output limit are about to be cut.
 */
export function readVisibleSize(
	store: Store,
	task: Task,
	attempt?: number,
): number {
	const size = readOutputSize(store, task.id, attempt);
	if (isFinal(task) || attempt !== undefined) return size;
	return Math.min(size, outputLimit(task));
}

/** Returns the command that shows a part of a task's output. */
export function formatOutputCall(
	id: string,
	{ attempt }: { attempt?: number },
	flags: string,
): string {
	const which = attempt === undefined ? id : `${id} --attempt ${attempt}`;
	return formatProgramCall(`output ${which} ${flags}`);
}

/** Reads some whole lines; 8 MiB of a longer line; nothing if a live source has no whole line. */
export function readLines({ read, size, isLive }: Source, at: number): Buffer {
	for (let length = blockBytes; ; length = Math.min(windowBytes, length * 4)) {
		const bytes = read(at, length);
		const isLast = at + bytes.length >= size;
		const end = isLast && !isLive ? bytes.length : bytes.lastIndexOf(0x0a) + 1;
		if (end > 0) return bytes.subarray(0, end);
		if (length === windowBytes && bytes.length === windowBytes) return bytes;
		if (bytes.length < length) return bytes.subarray(0, 0);
	}
}

/**
 * Renders the lines of a droid's stream; `end` is the offset after a line. A part of a line cannot be
 * parsed as an event and is replaced by a mark: a torn first line and an unfinished last one.
 */
export function* renderLines(
	source: Source,
	bytes: Buffer,
	{ from, isTorn }: { from: number; isTorn: boolean },
): Generator<{ text: string; end: number }> {
	const isWhole = !source.isLive && from + bytes.length >= source.size;
	let isPart = isTorn;
	for (let begin = 0; begin < bytes.length; ) {
		const newline = bytes.indexOf(0x0a, begin);
		const end = newline < 0 ? bytes.length : newline + 1;
		const line = bytes.toString("utf8", begin, newline < 0 ? end : newline);
		isPart ||= newline < 0 && !isWhole;
		let text = "";
		if (line.trim() && isPart) {
			const size = end - begin;
			const range = `--raw --since ${from + begin} --max ${size}`;
			const call = formatOutputCall(source.id, source, range);
			text = `[… left out: ${size} bytes of a line: ${call} shows them]`;
		} else if (line.trim()) text = renderEvent(parseEvent(line));
		yield { text: text && `${text}\n`, end: from + end };
		isPart = false;
		begin = end;
	}
}
