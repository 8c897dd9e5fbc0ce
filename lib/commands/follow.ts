/** What `output` goes on with: a task's words or bytes, as they come, until it is over. */
import { setTimeout as delay } from "node:timers/promises";
import type { Store } from "../names.ts";
import { readText, type Text, type TextOptions } from "../output.ts";
import { outputSize, readOutput } from "../outputs.ts";
import { isTerminal, toPlain, writeAll } from "../print.ts";
import { settle } from "../prune.ts";
import { readTask, watchEnds } from "../store.ts";
import { isFinal, type Task } from "../task.ts";

/** The most that is read at once, in bytes. */
const chunk = 1024 * 1024;

/** Says that something was left out, and how to get it. */
export const cutMark = (more: string) => `[… cut: ${more} shows more]\n`;

/**
 * Follows a task's words from where the first answer begins until it is over.
 * @returns the task once all of it was shown; undefined where nobody reads any more.
 */
export async function followText(
	store: Store,
	id: string,
	options: TextOptions,
	moreOf: (text: Text) => string,
): Promise<Task | undefined> {
	let since = options.since;
	let endsLine = true;
	const show = (): boolean => {
		const task = settle(store, readTask(store, id));
		for (;;) {
			const isFirst = since === undefined;
			const text = readText(
				store,
				task,
				isFirst ? options : { since, max: chunk },
			);
			const isCut = isFirst && text.truncated;
			const mark = isCut ? cutMark(moreOf(text)) : "";
			const output = mark + toPlain(text.output);
			if (!writeAll(1, output)) return false;
			if (output) endsLine = output.endsWith("\n");
			if (text.nextOffset === since) return true;
			since = text.nextOffset;
		}
	};
	const ended = await follow(store, id, show);
	if (!endsLine) writeAll(1, "\n");
	return ended;
}

/** Follows the bytes as they come, from there on; returns the same. */
export async function followRaw(
	store: Store,
	id: string,
	from: number,
): Promise<Task | undefined> {
	let at: number | undefined = from;
	return follow(store, id, () => {
		if (at !== undefined && outputSize(store, id) > at)
			at = writeRaw(store, id, at);
		return at !== undefined;
	});
}

/**
 * Writes the bytes as they are; in a terminal, without what a terminal would obey.
 * @returns the offset behind what was written; undefined where nobody reads any more.
 */
export function writeRaw(
	store: Store,
	id: string,
	from: number,
	max = Number.POSITIVE_INFINITY,
	attempt?: number,
): number | undefined {
	const end = Math.min(outputSize(store, id, attempt), from + max);
	const plain = isTerminal(1);
	const decoder = new TextDecoder();
	let at = from;
	while (at < end) {
		const to = Math.min(end, at + chunk);
		const bytes = readOutput(store, id, at, to, attempt);
		if (bytes.length === 0) break;
		at += bytes.length;
		const shown = plain
			? toPlain(decoder.decode(bytes, { stream: true }))
			: bytes;
		if (!writeAll(1, shown)) return undefined;
	}
	return at;
}

// --- internal ---

/** Shows what is new until the task is over and all of it was shown, or nobody reads any more. */
async function follow(
	store: Store,
	id: string,
	show: () => boolean,
): Promise<Task | undefined> {
	let ended = false;
	const disarm = watchEnds(store, () => {
		ended = true;
	});
	try {
		for (;;) {
			const task = settle(store, readTask(store, id));
			if (!show()) return undefined;
			if (isFinal(task)) return task;
			ended = false;
			for (let waited = 0; waited < 200 && !ended; waited += 20)
				await delay(20);
		}
	} finally {
		disarm();
	}
}
