/** The part of `output` that takes longer: a task's bytes, and what it writes until it is over. */
import { setTimeout as delay } from "node:timers/promises";
import type { Store } from "../names.ts";
import { readOutputBytes } from "../outputs.ts";
import {
	type OutputText,
	type OutputTextOptions,
	readableSize,
	readOutputText,
	readPage,
} from "../pages.ts";
import { isTerminal, toPlain, writeAll } from "../print.ts";
import { reconcileTask } from "../prune.ts";
import { readTask, watchEnds } from "../store.ts";
import { isFinal, type Task } from "../task.ts";

/** The most that is read at once, in bytes. */
const chunkBytes = 1024 * 1024;

/** Says that something was left out, and how to get it. */
export const formatCutMark = (more: string) => `[… cut: ${more} shows more]\n`;

/**
 * Follows a task's text until the task is over. It starts with what `readOutputText` returns for the
 * options; `hintMore` names the command that shows what that leaves out.
 * @returns the task once all of it was shown; undefined if nobody reads any more.
 */
export async function followText(
	store: Store,
	id: string,
	options: OutputTextOptions,
	moreOf: (text: OutputText) => string,
): Promise<Task | undefined> {
	let endsLine = true;
	const write = (text: string): boolean => {
		const plain = toPlain(text);
		if (plain) endsLine = plain.endsWith("\n");
		return writeAll(1, plain);
	};
	const ended = await followTask<string>(store, id, options.since, {
		read: (task, since, attempt) => {
			if (since !== undefined)
				return readPage(store, task, { since, max: chunkBytes, attempt });
			const text = readOutputText(store, task, { ...options, attempt });
			const mark = text.truncated ? formatCutMark(moreOf(text)) : "";
			return { ...text, output: mark + text.output };
		},
		write,
		restart: (sentence) => write(`${endsLine ? "" : "\n"}[${sentence}]\n`),
	});
	if (!endsLine) writeAll(1, "\n");
	return ended;
}

/** Follows the bytes of a task's output from an offset on; returns the same. */
export async function followRaw(
	store: Store,
	id: string,
	from: number,
): Promise<Task | undefined> {
	return followTask<Uint8Array>(store, id, from, {
		read: (task, since = 0, attempt) => {
			const size = readableSize(store, task, attempt);
			return readBytes(store, id, { since, to: size, attempt });
		},
		write: rawWriter(),
		restart: (sentence) => writeAll(2, `bg: ${toPlain(sentence)}\n`),
	});
}

/**
 * Writes the bytes of an output as they are; to a terminal, without what a terminal would obey.
 * @returns false if nobody reads any more.
 */
export function writeRaw(
	store: Store,
	task: Task,
	{ since, max = Number.POSITIVE_INFINITY, attempt }: Raw,
): boolean {
	const write = rawWriter();
	const to = Math.min(readableSize(store, task, attempt), since + max);
	for (let at = since; at < to; ) {
		const page = readBytes(store, task.id, { since: at, to, attempt });
		if (page.nextOffset === at) break;
		if (!write(page.output)) return false;
		at = page.nextOffset;
	}
	return true;
}

// --- internal ---

type Raw = {
	since: number;
	max?: number | undefined;
	attempt?: number | undefined;
};

type Page<T> = { output: T; nextOffset: number };

type Range = { since: number; to: number; attempt: number | undefined };

function readBytes(
	store: Store,
	id: string,
	{ since, to, attempt }: Range,
): Page<Uint8Array> {
	const end = Math.min(to, since + chunkBytes);
	const output = readOutputBytes(store, id, since, end, attempt);
	return { output, nextOffset: since + output.length };
}

function rawWriter(): (bytes: Uint8Array) => boolean {
	if (!isTerminal(1)) return (bytes) => writeAll(1, bytes);
	const decoder = new TextDecoder();
	return (bytes) =>
		writeAll(1, toPlain(decoder.decode(bytes, { stream: true })));
}

type Follower<T> = {
	/** Reads on from an offset; undefined at first if none was given. */
	read: (task: Task, since: number | undefined, attempt?: number) => Page<T>;
	/** These return false if nobody reads any more. */
	write: (output: T) => boolean;
	/** Says that what follows is of another attempt. */
	restart: (sentence: string) => boolean;
};

/** Shows page after page, of one attempt after the other, until the task is over. */
async function followTask<T>(
	store: Store,
	id: string,
	since: number | undefined,
	{ read, write, restart }: Follower<T>,
): Promise<Task | undefined> {
	let hasEnded = false;
	const disarm = watchEnds(store, () => {
		hasEnded = true;
	});
	const attemptOf = ({ attempt = 1 }: Task) => attempt;
	let attempt = attemptOf(readTask(store, id));
	let at = since;
	try {
		for (;;) {
			hasEnded = false;
			const task = reconcileTask(store, readTask(store, id));
			const isOver = attemptOf(task) > attempt;
			const page = read(task, at, isOver ? attempt : undefined);
			// The next attempt may have begun meanwhile: then the page may be of its output.
			if (!isOver && attemptOf(readTask(store, id)) > attempt) continue;
			if (!write(page.output)) return undefined;
			if (page.nextOffset !== at) {
				at = page.nextOffset;
			} else if (isOver) {
				const end = task.attempts?.find((each) => each.attempt === attempt);
				const sentence = `attempt ${attempt}: ${end?.error ?? "over"}; what follows is attempt ${attempt + 1}`;
				if (!restart(sentence)) return undefined;
				attempt++;
				at = 0;
			} else if (isFinal(task)) {
				return task;
			} else {
				for (let waited = 0; waited < 200 && !hasEnded; waited += 20)
					await delay(20);
			}
		}
	} finally {
		disarm();
	}
}
