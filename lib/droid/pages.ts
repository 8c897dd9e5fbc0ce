/**
 * A task's output as text, in pages. A page is read without the pages before it: a reader that continues
 * at the `nextOffset` of each page reads every byte once, in linear time and bounded memory.
 */
import { formatProgramCall, truncateBytes } from "../print/text.ts";
import { readOutputBytes, readOutputSize } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { outputLimit, type Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { parseEvent, renderEvent } from "./stream.ts";
import { windowBytes } from "./task-output.ts";

/** How much of a droid's stream is read at once unless a line is longer, in bytes. */
const blockBytes = 64 * 1024;

/** The most bytes of a character in UTF-8. */
const maxCharacterBytes = 4;

/** An escape sequence is not divided if it starts this close to the end of a piece, in bytes. */
const maxSequenceBytes = 64;

export type OutputTextOptions = {
	/** Start at this byte of `.out`. Without it, the text is the end of the output. */
	since?: number | undefined;
	/** At most this many bytes of text. */
	max: number;
	/** At most this many lines of `.out`. */
	tail?: number | undefined;
	/** Read the output of an earlier attempt. */
	attempt?: number | undefined;
};

export type OutputText = {
	output: string;
	/** The byte at which the next page starts. */
	nextOffset: number;
	/** Whether there is more output, apart from a last line that may still grow. */
	truncated: boolean;
};

/** Returns a task's text: what a droid said and did, what a command wrote. */
export function readOutputText(
	store: Store,
	task: Task,
	options: OutputTextOptions,
): OutputText {
	const { since, max } = options;
	if (since === undefined) return readLast(store, task, options);
	const page = readPage(store, task, { ...options, since });
	const bytes = Buffer.byteLength(page.output);
	if (task.kind !== "droid" || bytes <= max) return page;
	const call = callOf(task.id, options, `--since ${since} --max ${bytes}`);
	const mark = `\n[… cut: an event of ${bytes} bytes: ${call} shows it]\n`;
	const space = Math.max(0, max - Buffer.byteLength(mark));
	const output = truncateBytes(page.output, space, "first") + mark;
	return { ...page, output, truncated: true };
}

/**
 * Returns the text from a byte on: as many whole lines as fit in `max` bytes, of at most 8 MiB of
 * `.out`. A command's line that does not fit is returned in pieces. A droid's event is returned
 * whole, even if it alone is longer than `max`.
 */
export function readPage(
	store: Store,
	task: Task,
	{ since, max, attempt }: OutputTextOptions & { since: number },
): OutputText {
	if (task.kind === "native") return readResult(task, { since, max });
	const source = openSource(store, task, attempt);
	if (since >= source.size || max === 0)
		return { output: "", nextOffset: since, truncated: since < source.size };
	return task.kind === "droid"
		? readEvents(source, { since, max })
		: readBytes(source, { since, max });
}

/**
 * Returns how many bytes of a task's output may be shown. Bytes of an unfinished task past its
 * output limit are about to be cut.
 */
export function readableSize(
	store: Store,
	task: Task,
	attempt?: number,
): number {
	const size = readOutputSize(store, task.id, attempt);
	if (isFinal(task) || attempt !== undefined) return size;
	return Math.min(size, outputLimit(task));
}

/** Returns the command that shows a part of a task's output. */
export function callOf(
	id: string,
	{ attempt }: Pick<OutputTextOptions, "attempt">,
	flags: string,
): string {
	const which = attempt === undefined ? id : `${id} --attempt ${attempt}`;
	return formatProgramCall(`output ${which} ${flags}`);
}

// --- internal ---

/** An output as far as it may be shown. */
type Source = {
	id: string;
	attempt: number | undefined;
	size: number;
	/** Whether a last line without its newline may still grow. */
	isLive: boolean;
	/** Reads bytes; fewer at the end of the source. */
	read: (from: number, length: number) => Buffer;
};

function openSource(
	store: Store,
	task: Task,
	attempt: number | undefined,
): Source {
	const { id } = task;
	const size = readableSize(store, task, attempt);
	return {
		id,
		attempt,
		size,
		isLive: !isFinal(task) && attempt === undefined,
		read: (from, length) =>
			readOutputBytes(store, id, {
				from,
				to: Math.min(size, from + length),
				attempt,
			}),
	};
}

/** Reads the last `max` bytes of the text, at most the last `tail` lines of the output. */
function readLast(
	store: Store,
	task: Task,
	options: OutputTextOptions,
): OutputText {
	const { max, tail, attempt } = options;
	if (task.kind === "native") return readResult(task, { since: 0, max });
	const source = openSource(store, task, attempt);
	const from = Math.max(0, source.size - windowBytes);
	const bytes = source.read(from, windowBytes);
	let end = bytes.length;
	if (source.isLive) {
		const whole = bytes.lastIndexOf(0x0a) + 1;
		end = whole || end < windowBytes ? whole : end;
	}
	const last = tail === undefined ? 0 : findTailStart(bytes, end, tail);
	const second = from > 0 ? bytes.indexOf(0x0a) + 1 : 0;
	// Without a whole line, the end of a longer one is shown.
	const begin = Math.max(last, second < end ? second : 0);
	const shown = bytes.subarray(begin, end);
	const isTorn = from > 0 && begin === 0;
	const text =
		task.kind === "droid"
			? [...renderLines(source, shown, { from: from + begin, isTorn })]
					.map((line) => line.text)
					.join("")
			: shown.toString("utf8");
	const output = truncateBytes(text, max, "last");
	const isCut = from > 0 && (tail === undefined || last === 0);
	return {
		output,
		nextOffset: from + end,
		truncated: isCut || output.length < text.length,
	};
}

/** Reads the result of a native subagent. Its output stays with droid. */
function readResult({ result = "" }: Task, { since, max }: Range): OutputText {
	const text = Buffer.from(result).subarray(since).toString("utf8");
	const output = truncateBytes(text, max, "first");
	return {
		output,
		nextOffset: since + Buffer.byteLength(output),
		truncated: output.length < text.length,
	};
}

type Range = { since: number; max: number };

function readBytes(source: Source, { since, max }: Range): OutputText {
	const { size, isLive } = source;
	const limit = Math.min(max, windowBytes);
	const bytes = source.read(since, Math.max(limit, maxCharacterBytes));
	const isLast = since + bytes.length >= size && bytes.length <= limit;
	const endOf = (space: number): number => {
		if (isLast && !isLive && bytes.length <= space) return bytes.length;
		const whole = bytes.lastIndexOf(0x0a, space - 1) + 1;
		if (whole || bytes.length < space) return whole;
		return pieceEnd(bytes, space) || (isLive ? 0 : bytes.length);
	};
	let end = endOf(limit);
	let output = bytes.toString("utf8", 0, end);
	// A byte that is not UTF-8 becomes a character of three bytes.
	if (Buffer.byteLength(output) > max) {
		end = endOf(Math.ceil(limit / 3));
		output = bytes.toString("utf8", 0, end);
	}
	const isHeldBack =
		isLive && (end === 0 || (isLast && bytes.lastIndexOf(0x0a) < end));
	const nextOffset = since + end;
	return { output, nextOffset, truncated: !isHeldBack && nextOffset < size };
}

function readEvents(source: Source, { since, max }: Range): OutputText {
	const to = Math.min(source.size, since + windowBytes);
	const output: string[] = [];
	let isTorn = since > 0 && source.read(since - 1, 1)[0] !== 0x0a;
	let space = max;
	let at = since;
	while (at < to) {
		const bytes = readLines(source, at);
		if (bytes.length === 0)
			return { output: output.join(""), nextOffset: at, truncated: false };
		for (const { text, end } of renderLines(source, bytes, {
			from: at,
			isTorn,
		})) {
			space -= Buffer.byteLength(text);
			if (space < 0 && output.length)
				return { output: output.join(""), nextOffset: at, truncated: true };
			if (text) output.push(text);
			at = end;
		}
		isTorn = bytes.at(-1) !== 0x0a;
	}
	const truncated = at < source.size;
	return { output: output.join(""), nextOffset: at, truncated };
}

/** Reads some whole lines; 8 MiB of a longer line; nothing if a live source has no whole line. */
function readLines({ read, size, isLive }: Source, at: number): Buffer {
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
function* renderLines(
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
		if (line.trim())
			text = isPart
				? markOf(source, from + begin, end - begin)
				: renderEvent(parseEvent(line));
		yield { text: text && `${text}\n`, end: from + end };
		isPart = false;
		begin = end;
	}
}

function markOf({ id, attempt }: Source, from: number, bytes: number): string {
	const range = `--raw --since ${from} --max ${bytes}`;
	const call = callOf(id, { attempt }, range);
	return `[… left out: ${bytes} bytes of a line: ${call} shows them]`;
}

/** The start of the last `count` lines before `end`; 0 if there are fewer. */
function findTailStart(bytes: Buffer, end: number, count: number): number {
	if (count === 0) return end;
	let at = end;
	if (bytes[at - 1] === 0x0a) at--;
	for (let left = count; left > 0; left--) {
		at = at > 0 ? bytes.lastIndexOf(0x0a, at - 1) : -1;
		if (at < 0) return 0;
	}
	return at + 1;
}

/**
 * The greatest length, at most `space`, at which a line may be divided: not within a character, an
 * escape sequence or a CRLF. At least one character; 0 if there is no whole one.
 */
function pieceEnd(bytes: Buffer, space: number): number {
	const end =
		characterEnd(bytes, space) ||
		characterEnd(bytes, Math.min(maxCharacterBytes, bytes.length));
	const start = Math.max(1, end - maxSequenceBytes);
	const sequence = bytes.subarray(start, end).indexOf(0x1b);
	if (sequence >= 0) return start + sequence;
	return end > 1 && bytes[end - 1] === 0x0d ? end - 1 : end;
}

/** The end of the last whole character within the first `end` bytes. */
function characterEnd(bytes: Buffer, end: number): number {
	for (let back = 1; back < maxCharacterBytes && back <= end; back++) {
		const byte = bytes[end - back] ?? 0;
		if ((byte & 0xc0) === 0x80) continue;
		const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
		return length > back ? end - back : end;
	}
	return end;
}
