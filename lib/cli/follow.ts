/**
 * Following a task's output until the task ends, as text or as raw bytes, one attempt after the other; and
 * writing raw bytes. To a terminal, nothing is written that a terminal would obey.
 */
import { setTimeout as delay } from "node:timers/promises";
import { readVisibleSize } from "../droid/output-source.ts";
import {
	type OutputText,
	type OutputTextOptions,
	readOutputText,
	readPage,
} from "../droid/pages.ts";
import { followEngine } from "../engine/engine.ts";
import { isTerminal, toPlain, writeAll } from "../print/text.ts";
import { reconcileTask } from "../prune/reconcile.ts";
import { watchEnds } from "../store/ends.ts";
import { readOutputBytes } from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";
import { readTask } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** The most that is read at once. */
const chunkBytes = 1024 * 1024;

/** Marks omitted text and names the command that shows it. */
export const formatCutMark = (command: string) =>
	`[… cut: ${command} shows more]\n`;

/**
 * Follows a task's text, starting with what `readOutputText` returns for the options. `formatHint` names the
 * command that shows what was omitted.
 * @returns the task after all of it was shown; undefined if the reader is gone.
 */
export async function followText(
	store: Store,
	id: string,
	options: OutputTextOptions & { formatHint: (text: OutputText) => string },
): Promise<Task | undefined> {
	const { formatHint, since: from } = options;
	let endsLine = true;
	const write = (text: string): boolean => {
		const plain = toPlain(text);
		if (plain) endsLine = plain.endsWith("\n");
		return writeAll(1, plain);
	};
	const ended = await followTask<string>(store, id, {
		from,
		read: (task, since, attempt) => {
			if (since !== undefined)
				return readPage(store, task, { since, max: chunkBytes, attempt });
			const text = readOutputText(store, task, { ...options, attempt });
			const mark = text.truncated ? formatCutMark(formatHint(text)) : "";
			return { ...text, output: mark + text.output };
		},
		write,
		restart: (sentence) => write(`${endsLine ? "" : "\n"}[${sentence}]\n`),
	});
	if (!endsLine) writeAll(1, "\n");
	return ended;
}

/** Follows the bytes of a task's output from an offset. Returns the same as followText. */
export async function followRaw(store: Store, id: string, from: number) {
	return followTask<Uint8Array>(store, id, {
		from,
		read: (task, at = 0, attempt) => {
			const to = readVisibleSize(store, task, attempt);
			return readBytes(store, id, { from: at, to, attempt });
		},
		write: createRawWriter(),
		restart: (sentence) => writeAll(2, `bg: ${toPlain(sentence)}\n`),
	});
}

/** Writes the bytes of an output. @returns false if the reader is gone. */
export function writeRaw(
	store: Store,
	task: Task,
	options: { since: number; max?: number; attempt?: number },
): boolean {
	const { since, max = Number.POSITIVE_INFINITY, attempt } = options;
	const write = createRawWriter();
	const to = Math.min(readVisibleSize(store, task, attempt), since + max);
	for (let at = since; at < to; ) {
		const page = readBytes(store, task.id, { from: at, to, attempt });
		if (page.nextOffset === at) break;
		if (!write(page.output)) return false;
		at = page.nextOffset;
	}
	return true;
}

// --- internal ---

type Page<T> = { output: T; nextOffset: number };

function readBytes(
	store: Store,
	id: string,
	range: { from: number; to: number; attempt?: number },
): Page<Uint8Array> {
	const to = Math.min(range.to, range.from + chunkBytes);
	const output = readOutputBytes(store, id, { ...range, to });
	return { output, nextOffset: range.from + output.length };
}

function createRawWriter(): (bytes: Uint8Array) => boolean {
	if (!isTerminal(1)) return (bytes) => writeAll(1, bytes);
	const decoder = new TextDecoder();
	return (bytes) =>
		writeAll(1, toPlain(decoder.decode(bytes, { stream: true })));
}

type Follower<T> = {
	/** The first offset. */
	from: number | undefined;
	/** Reads from an offset; undefined on the first call if none was given. */
	read: (task: Task, since: number | undefined, attempt?: number) => Page<T>;
	/** Returns false if the reader is gone. */
	write: (output: T) => boolean;
	/** Writes a sentence between two attempts. Returns false if the reader is gone. */
	restart: (sentence: string) => boolean;
};

/** Shows page after page, of one attempt after the other, until the task ends. */
async function followTask<T>(
	store: Store,
	id: string,
	{ from, read, write, restart }: Follower<T>,
): Promise<Task | undefined> {
	let hasEnded = false;
	const disarm = watchEnds(store, () => {
		hasEnded = true;
	});
	const unfollow = followEngine(store, () => {});
	const attemptOf = ({ attempt = 1 }: Task) => attempt;
	let attempt = attemptOf(readTask(store, id));
	let at = from;
	try {
		for (;;) {
			hasEnded = false;
			const task = reconcileTask(store, readTask(store, id));
			const isOver = attemptOf(task) > attempt;
			const page = read(task, at, isOver ? attempt : undefined);
			// If the next attempt began meanwhile, the page may be of its output: read again.
			if (!isOver && attemptOf(readTask(store, id)) > attempt) continue;
			if (!write(page.output)) return undefined;
			if (page.nextOffset !== at) {
				at = page.nextOffset;
			} else if (isOver) {
				const end = task.attempts?.find((each) => each.attempt === attempt);
				const sentence = `attempt ${attempt}: ${end?.error ?? "ended"}; attempt ${attempt + 1} follows`;
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
		unfollow();
	}
}
