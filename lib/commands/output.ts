import { setTimeout as delay } from "node:timers/promises";
import { formatFlags, markCollected, wantsJson } from "../answer.ts";
import { valuesOf } from "../arguments.ts";
import { callFor, maxBrief } from "../brief.ts";
import { openStore } from "../directory.ts";
import { BgError } from "../error.ts";
import type { Store } from "../names.ts";
import { readText, type Text, type TextOptions } from "../output.ts";
import { outputSize, readOutput } from "../outputs.ts";
import {
	cutBytes,
	isTerminal,
	parseSize,
	toJson,
	toPlain,
	writeAll,
} from "../print.ts";
import { settle } from "../prune.ts";
import { readTask, resolveId, watchEnds } from "../store.ts";
import { isFinal } from "../task.ts";
import { defineVerb } from "../verb.ts";

/** The most text where nothing else is said, in bytes: with its keys the answer stays brief. */
const defaultMax = 1600;
const chunk = 1024 * 1024;

const args = {
	ids: {
		type: "positional",
		required: true,
		multiple: true,
		from: "tasks",
		description: "task ids",
	},
	tail: {
		type: "string",
		valueHint: "n",
		description: "only the last n lines",
	},
	since: {
		type: "string",
		valueHint: "offset",
		description: "only what came after that byte (an earlier nextOffset)",
	},
	max: {
		type: "string",
		valueHint: "bytes",
		description: "at most so much text (1600)",
	},
	attempt: {
		type: "string",
		valueHint: "n",
		description: "what it wrote at its n-th attempt (the last one)",
	},
	raw: { type: "boolean", description: "the bytes as they came, all of them" },
	follow: {
		type: "boolean",
		alias: "f",
		description: "go on until the task is over",
	},
	...formatFlags,
} as const;

export const output = defineVerb({
	meta: {
		name: "output",
		description: "Show what a task wrote; of a droid, what it said and did",
	},
	examples: [
		["bg output @last --tail 20", "its last lines"],
		["bg output bg_19f0c2a4 --follow", "as it comes, until the task is over"],
		[
			"bg output @last --since 4096 --json",
			"what came after an earlier nextOffset",
		],
	],
	args,
	run: async ({ args: parsed }) => {
		const store = openStore();
		const ids = valuesOf(parsed.ids).map((id) => resolveId(store, id));
		const since = numberOf("--since", parsed.since);
		const tail = numberOf("--tail", parsed.tail);
		const given = parsed.max === undefined ? undefined : parseSize(parsed.max);
		if (parsed.max !== undefined && given === undefined)
			throw new BgError("usage", `--max ${parsed.max}: it takes 4000 or 64K`);
		if (since !== undefined && tail !== undefined)
			throw new BgError("usage", "--since and --tail do not go together");
		if (parsed.follow && ids.length > 1)
			throw new BgError("usage", "--follow takes one task");
		if (parsed.raw && tail !== undefined)
			throw new BgError("usage", "--raw and --tail do not go together");
		const [first] = ids;
		const attempt = numberOf("--attempt", parsed.attempt);
		const attemptOf = (id: string) => earlierAttempt(store, id, attempt);
		if (parsed.follow && attempt !== undefined)
			throw new BgError("usage", "--follow and --attempt do not go together");
		if (parsed.raw) {
			for (const id of ids) {
				const end = writeRaw(store, id, since ?? 0, given, attemptOf(id));
				if (parsed.follow && end !== undefined) await followRaw(store, id, end);
			}
			return;
		}
		const max = given ?? defaultMax;
		if (parsed.follow && first)
			return followText(store, first, { since, tail, max });
		const answers = ids.map((id) => {
			const task = settle(store, readTask(store, id));
			const { status } = task;
			markCollected(store, task);
			const options = { since, tail, max, attempt: attemptOf(id) };
			const text = readText(store, task, options);
			const more = text.truncated && { more: moreOf(id, text, options) };
			const whole = { taskId: id, ...text, status, ...more };
			return given === undefined && since === undefined
				? fit(whole, moreOf(id, text, options))
				: whole;
		});
		if (wantsJson(parsed)) {
			const json = answers.length === 1 ? answers[0] : answers;
			writeAll(1, `${toJson(json)}\n`);
			return;
		}
		for (const each of answers) {
			if (answers.length > 1) writeAll(1, `== ${each.taskId} ==\n`);
			writeText(each, each.more ?? "", since === undefined);
		}
	},
});

// --- internal ---

function numberOf(flag: string, value: string | undefined): number | undefined {
	if (value === undefined) return undefined;
	if (!/^\d{1,15}$/.test(value))
		throw new BgError("usage", `${flag} ${value}: it takes a whole number`);
	return Number(value);
}

/** The attempt, where it is not the last one: that one's output is the task's. */
function earlierAttempt(
	store: Store,
	id: string,
	attempt: number | undefined,
): number | undefined {
	const { attempt: last = 1 } = readTask(store, id);
	if (attempt === undefined || attempt === last) return undefined;
	if (attempt >= 1 && attempt < last) return attempt;
	throw new BgError(
		"missing",
		`${id} has no attempt ${attempt}: it had ${last === 1 ? "one" : last} (bg output ${id} shows the last)`,
	);
}

/** Says that something was left out, and how to get it. */
const cutMark = (more: string) => `[… cut: ${more} shows more]\n`;

function writeText(
	{ output, truncated }: Text,
	more: string,
	fromTheEnd: boolean,
): void {
	const text = toPlain(output);
	const whole = text && !text.endsWith("\n") ? `${text}\n` : text;
	const mark = cutMark(more);
	const marked = fromTheEnd ? mark + whole : whole + mark;
	writeAll(1, truncated ? marked : whole);
}

/** Escaped, a text may be some times as long: of that as well only the end is kept. */
function fit<T extends Text>(answer: T, more: string): T {
	let fitting = answer;
	while (toJson(fitting).length > maxBrief && fitting.output) {
		const { length } = Buffer.from(fitting.output);
		const output = cutBytes(fitting.output, Math.floor(length * 0.9), "last");
		fitting = { ...fitting, output, truncated: true, more };
	}
	return fitting;
}

/** How to get what an answer left out: what comes next, or more of what was before. */
function moreOf(
	id: string,
	{ nextOffset }: Text,
	{ since, attempt }: TextOptions,
): string {
	const which = attempt === undefined ? id : `${id} --attempt ${attempt}`;
	return since === undefined
		? callFor(`output ${which} --max 1M`)
		: callFor(`output ${which} --since ${nextOffset}`);
}

/** Follows a task's words from where the first answer begins until it is over. */
async function followText(
	store: Store,
	id: string,
	options: TextOptions,
): Promise<void> {
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
			const mark = isCut ? cutMark(moreOf(id, text, options)) : "";
			const output = mark + toPlain(text.output);
			if (!writeAll(1, output)) return false;
			if (output) endsLine = output.endsWith("\n");
			if (text.nextOffset === since) return true;
			since = text.nextOffset;
		}
	};
	await follow(store, id, show);
	if (!endsLine) writeAll(1, "\n");
}

async function followRaw(
	store: Store,
	id: string,
	from: number,
): Promise<void> {
	let at: number | undefined = from;
	await follow(store, id, () => {
		if (at !== undefined && outputSize(store, id) > at)
			at = writeRaw(store, id, at);
		return at !== undefined;
	});
}

/** Shows what is new until the task is over and all of it was shown, or nobody reads any more. */
async function follow(
	store: Store,
	id: string,
	show: () => boolean,
): Promise<void> {
	let ended = false;
	const disarm = watchEnds(store, () => {
		ended = true;
	});
	try {
		for (;;) {
			const final = isFinal(settle(store, readTask(store, id)));
			if (!show() || final) return;
			ended = false;
			for (let waited = 0; waited < 200 && !ended; waited += 20)
				await delay(20);
		}
	} finally {
		disarm();
	}
}

/**
 * Writes the bytes as they are; in a terminal, without what a terminal would obey.
 * @returns the offset behind what was written; undefined where nobody reads any more.
 */
function writeRaw(
	store: Store,
	id: string,
	from: number,
	max = Number.POSITIVE_INFINITY,
	attempt?: number,
): number | undefined {
	readTask(store, id);
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
