/**
 * What a task's `.out` says: how far a droid is, what its result is, and its words as text. A
 * stream is read on from where the last reader stopped, at most 8 MiB a call; at the end of a task
 * its last 1 MiB comes first, for there stands the result.
 */
import { BgError, messageOf } from "./error.ts";
import { outputFile, type Store } from "./names.ts";
import {
	outputSize,
	readOutput,
	readProgress,
	writeProgress,
} from "./outputs.ts";
import { cutBytes, toPlain } from "./print.ts";
import {
	type Digest,
	digestStream,
	digestTail,
	readDigest,
	readEvent,
	renderEvent,
} from "./stream.ts";
import { type End, isFinal, maxResultBytes, type Task } from "./task.ts";

/** The most of an output that one look reads, in bytes. */
export const window = 8 * 1024 * 1024;
const tailWindow = 1024 * 1024;

/** What a droid's stream says as of now. */
export function currentDigest(store: Store, task: Task): Digest {
	const { attempt = 1 } = task;
	const noted = readDigest(readProgress(store, task.id, attempt));
	const size = outputSize(store, task.id);
	const before = noted.offset <= size ? noted : readDigest(undefined);
	if (before.offset === size) return before;
	const bytes = readOutput(
		store,
		task.id,
		before.offset,
		before.offset + window,
	);
	let digest = digestStream(before, bytes);
	// A line that fills the window says nothing that is worth more than going on behind it.
	if (digest.offset === before.offset && bytes.length === window)
		digest = { ...digest, offset: digest.offset + window };
	if (digest.offset !== before.offset)
		writeProgress(store, task.id, attempt, digest);
	return digest;
}

/** The task with its progress as of now; that of a command, or of one that is over, stays. */
export function withProgress(store: Store, task: Task): Task {
	if (task.kind !== "droid" || !task.command || isFinal(task)) return task;
	let digest: Digest;
	try {
		digest = currentDigest(store, task);
	} catch {
		// Its output cannot be read; what the record says is all there is.
		return task;
	}
	return {
		...task,
		...(digest.sessionId && { droid_session_id: digest.sessionId }),
		...(digest.usage && { usage: digest.usage }),
		progress: { ...digest.progress, outputFile: outputFile(store, task.id) },
	};
}

export type Said = {
	facts: NonNullable<End["facts"]>;
	/** Whether a droid said that it is done. */
	completed: boolean;
	error?: string;
	/** The output could not be read, for a reason that may pass. */
	isUnread?: boolean;
};

/** What a task has to say for itself once it is over; nothing where that cannot be read. */
export function readEnd(store: Store, task: Task): Said {
	try {
		return readTail(store, task);
	} catch (error) {
		const result = `(its output cannot be read: ${messageOf(error)})`;
		const isUnread = !(error instanceof BgError);
		return { facts: { result }, completed: false, isUnread };
	}
}

function readTail(store: Store, task: Task): Said {
	const size = outputSize(store, task.id);
	const from = Math.max(0, size - tailWindow);
	const bytes = readOutput(store, task.id, from, size);
	const tail = from === 0 ? bytes : bytes.subarray(bytes.indexOf(0x0a) + 1);
	if (task.kind !== "droid") {
		const result = toPlain(tail.toString("utf8")).trimEnd();
		return {
			facts: { result: cutBytes(result, maxResultBytes, "last") },
			completed: false,
		};
	}
	const last = digestTail(tail);
	const { droid_session_id, progress, usage } = withProgress(store, task);
	const result =
		last.finalText ?? last.progress.lastMessage ?? progress?.lastMessage ?? "";
	const error = last.lastError ?? last.firstText;
	return {
		facts: {
			result: cutBytes(result, maxResultBytes, "first"),
			droid_session_id,
			progress,
			usage: last.usage ?? usage,
		},
		completed: last.finalText !== undefined,
		...(error && { error }),
	};
}

export type TextOptions = {
	/** Start at this byte of `.out`; without it, the end is what counts. */
	since?: number | undefined;
	/** At most this many bytes of text. */
	max: number;
	/** At most this many lines of `.out`. */
	tail?: number | undefined;
	/** What it wrote at an earlier attempt. */
	attempt?: number | undefined;
};

export type Text = {
	output: string;
	/** The byte at which the first line not yet whole starts. */
	nextOffset: number;
	truncated: boolean;
};

/** A task's words: of a droid what it said and did, of a command what it wrote. */
export function readText(store: Store, task: Task, options: TextOptions): Text {
	const { since, max, tail, attempt } = options;
	// Droid keeps the words of its own subagents; what came out of one stands in the record.
	if (task.kind === "native")
		return {
			output: cutBytes(task.result ?? "", max, "first"),
			nextOffset: 0,
			truncated: Buffer.byteLength(task.result ?? "") > max,
		};
	const { id } = task;
	const size = outputSize(store, id, attempt);
	if (since !== undefined && since >= size)
		return { output: "", nextOffset: since, truncated: false };
	const from = since ?? Math.max(0, size - window);
	const to = Math.min(size, from + window);
	const bytes = readOutput(store, id, from, to, attempt);
	const isLive = task.status === "running" && attempt === undefined;
	let end = bytes.length;
	// A last line without its newline may still grow; a finished task's is all there will be.
	if (isLive || from + end < size) {
		const whole = bytes.lastIndexOf(0x0a) + 1;
		// A line longer than the window is handed out in pieces, else nobody would ever see it.
		end = whole || end < window ? whole : end;
	}
	let begin = 0;
	if (since === undefined && from > 0) begin = bytes.indexOf(0x0a) + 1;
	if (tail !== undefined) begin = Math.max(begin, tailStart(bytes, end, tail));
	const whole = bytes.subarray(begin, end);
	const nextOffset = from + end;
	if (since === undefined) {
		const text = toText(task, whole);
		const output = cutBytes(text, max, "last");
		const left = tail === undefined && from + begin > 0;
		const truncated = left || output.length < text.length;
		return { output, nextOffset, truncated };
	}
	return readForward(task, whole, { from, max, more: nextOffset < size });
}

// --- internal ---

/** As many whole lines from the start as fit; a first line that does not is cut. */
function readForward(
	task: Task,
	bytes: Buffer,
	{ from, max, more }: { from: number; max: number; more: boolean },
): Text {
	const whole = toText(task, bytes);
	if (Buffer.byteLength(whole) <= max)
		return { output: whole, nextOffset: from + bytes.length, truncated: more };
	let output = "";
	let at = 0;
	while (at < bytes.length) {
		const end = bytes.indexOf(0x0a, at) + 1 || bytes.length;
		const line = toText(task, bytes.subarray(at, end));
		if (Buffer.byteLength(output) + Buffer.byteLength(line) > max) {
			if (at === 0) {
				output = cutBytes(line, max, "first");
				at = end;
			}
			break;
		}
		output += line;
		at = end;
	}
	return { output, nextOffset: from + at, truncated: true };
}

function toText(task: Task, bytes: Buffer): string {
	const text = bytes.toString("utf8");
	if (task.kind !== "droid") return text;
	return text
		.split("\n")
		.map((line) => (line.trim() ? renderEvent(readEvent(line)) : ""))
		.filter((line) => line)
		.map((line) => `${line}\n`)
		.join("");
}

/** Where the last `count` lines before `end` start. */
function tailStart(bytes: Buffer, end: number, count: number): number {
	if (count === 0) return end;
	let at = end;
	if (bytes[at - 1] === 0x0a) at--;
	for (let left = count; left > 0; left--) {
		at = at > 0 ? bytes.lastIndexOf(0x0a, at - 1) : -1;
		if (at < 0) return 0;
	}
	return at + 1;
}
