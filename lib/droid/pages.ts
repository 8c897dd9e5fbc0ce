/**
 * A task's output as text, in pages. A page is read without the pages before it: a reader that continues
 * at the `nextOffset` of each page reads every byte once, in linear time and bounded memory.
 */
import { truncateBytes } from "../print/text.ts";
import type { Store } from "../store/paths.ts";
import type { Task } from "../task/schema.ts";
import {
	findPieceEnd,
	findTailStart,
	maxCharacterBytes,
} from "./boundaries.ts";
import {
	formatOutputCall,
	openSource,
	readLines,
	renderLines,
	type Source,
} from "./output-source.ts";
import { windowBytes } from "./task-output.ts";

export type OutputTextOptions = {
	/** Start at this byte of `.out`. Without it, the text is the end of the output. */
	since?: number;
	/** At most this many bytes of text. */
	max: number;
	/** At most this many lines of `.out`. */
	tail?: number;
	/** Read the output of an earlier attempt. */
	attempt?: number;
};

export type OutputText = {
	output: string;
	/** The byte at which the next page starts. */
	nextOffset: number;
	/** Whether there is more output, apart from a last line that may still grow. */
	truncated: boolean;
};

/** Reads a task's text: the messages and actions of a droid, or the output of a command. */
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
	const range = `--since ${since} --max ${bytes}`;
	const call = formatOutputCall(task.id, options, range);
	const mark = `\n[… cut: an event of ${bytes} bytes: ${call} shows it]\n`;
	const space = Math.max(0, max - Buffer.byteLength(mark));
	const output = truncateBytes(page.output, space, "first") + mark;
	return { ...page, output, truncated: true };
}

/**
 * Reads the text from a byte on: as many whole lines as fit in `max` bytes, of at most 8 MiB of
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

// --- internal ---

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
		return findPieceEnd(bytes, space) || (isLive ? 0 : bytes.length);
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
	let output = "";
	let isTorn = since > 0 && source.read(since - 1, 1)[0] !== 0x0a;
	let space = max;
	let at = since;
	while (at < to) {
		const bytes = readLines(source, at);
		if (bytes.length === 0) return { output, nextOffset: at, truncated: false };
		const lines = renderLines(source, bytes, { from: at, isTorn });
		for (const { text, end } of lines) {
			space -= Buffer.byteLength(text);
			if (space < 0 && output)
				return { output, nextOffset: at, truncated: true };
			output += text;
			at = end;
		}
		isTorn = bytes.at(-1) !== 0x0a;
	}
	return { output, nextOffset: at, truncated: at < source.size };
}
