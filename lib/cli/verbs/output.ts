import { setTimeout as delay } from "node:timers/promises";
import {
	callOf,
	type OutputText,
	type OutputTextOptions,
	readableSize,
	readOutputText,
	readPage,
} from "../../droid/pages.ts";
import { BgError, usage } from "../../error.ts";
import {
	isTerminal,
	toJson,
	toPlain,
	truncateBytes,
	writeAll,
} from "../../print/text.ts";
import { parseSize } from "../../print/units.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { watchEnds } from "../../store/notices.ts";
import { readOutputBytes } from "../../store/output-files.ts";
import type { Store } from "../../store/paths.ts";
import { readTask, resolveTaskId } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { splitValues } from "../arguments.ts";
import {
	dismissNotice,
	formatFlags,
	isJsonWanted,
	maxReplyLength,
} from "../reply.ts";
import { defineVerb } from "../verb.ts";

/** The most text where nothing else is said, in bytes: with its keys the answer stays brief. */
const defaultMaxBytes = 1600;

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

export default defineVerb({
	meta: {
		name: "output",
		description: "Show what a task wrote, or what a droid said and did",
	},
	group: "inspect",
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
		const ids = splitValues(parsed.ids).map((id) => resolveTaskId(store, id));
		const since = parseNumberFlag("--since", parsed.since);
		const tail = parseNumberFlag("--tail", parsed.tail);
		const given = parsed.max === undefined ? undefined : parseSize(parsed.max);
		if (parsed.max !== undefined && given === undefined)
			throw usage(`--max ${parsed.max}: it takes 4000 or 64K`);
		if (since !== undefined && tail !== undefined)
			throw usage("--since and --tail do not go together");
		if (parsed.follow && ids.length > 1) throw usage("--follow takes one task");
		if (parsed.raw && tail !== undefined)
			throw usage("--raw and --tail do not go together");
		const [first] = ids;
		const attempt = parseNumberFlag("--attempt", parsed.attempt);
		const attemptOf = (id: string) => findEarlierAttempt(store, id, attempt);
		if (parsed.follow && attempt !== undefined)
			throw usage("--follow and --attempt do not go together");
		if (parsed.raw) {
			for (const id of ids) {
				const task = reconcileTask(store, readTask(store, id));
				const from = since ?? 0;
				const options = { since: from, max: given, attempt: attemptOf(id) };
				const shown = parsed.follow
					? await followRaw(store, id, from)
					: writeRaw(store, task, options) && task;
				if (!shown) return;
				dismissNotice(store, shown);
			}
			return;
		}
		const max = given ?? defaultMaxBytes;
		if (parsed.follow && first) {
			const options = { since, tail, max };
			const more = (text: OutputText) => hintMore(first, text, options);
			const shown = await followText(store, first, options, more);
			if (shown) dismissNotice(store, shown);
			return;
		}
		const answers = ids.map((id) => {
			const task = reconcileTask(store, readTask(store, id));
			const options = { since, tail, max, attempt: attemptOf(id) };
			const text = readOutputText(store, task, options);
			const more = hintMore(id, text, options);
			return { taskId: id, ...text, status: task.status, more };
		});
		if (isJsonWanted(parsed)) {
			const isBrief = given === undefined && since === undefined;
			const fitting = answers.map(({ more, ...each }) => {
				const marked = each.truncated ? { ...each, more } : each;
				return isBrief ? fitReply(marked, more) : marked;
			});
			const json = fitting.length === 1 ? fitting[0] : fitting;
			if (!writeAll(1, `${toJson(json)}\n`)) return;
		} else
			for (const each of answers) {
				if (answers.length > 1) writeAll(1, `== ${each.taskId} ==\n`);
				if (!writeText(each, each.more, since === undefined)) return;
			}
		for (const { taskId: id, status } of answers)
			dismissNotice(store, { id, status });
	},
});

/** The most that is read at once, in bytes. */
const chunkBytes = 1024 * 1024;

/** Says that something was left out, and how to get it. */
const formatCutMark = (more: string) => `[… cut: ${more} shows more]\n`;

/**
 * Follows a task's text until the task is over. It starts with what `readOutputText` returns for the
 * options; `hintMore` names the command that shows what that leaves out.
 * @returns the task once all of it was shown; undefined if nobody reads any more.
 */
async function followText(
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
async function followRaw(
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
function writeRaw(
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

function parseNumberFlag(
	flag: string,
	value: string | undefined,
): number | undefined {
	if (value === undefined) return undefined;
	if (!/^\d{1,15}$/.test(value))
		throw usage(`${flag} ${value}: it takes a whole number`);
	return Number(value);
}

/** The attempt, where it is not the last one: that one's output is the task's. */
function findEarlierAttempt(
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

function writeText(
	{ output, truncated }: OutputText,
	more: string,
	fromTheEnd: boolean,
): boolean {
	const text = toPlain(output);
	const whole = text && !text.endsWith("\n") ? `${text}\n` : text;
	const mark = formatCutMark(more);
	const marked = fromTheEnd ? mark + whole : whole + mark;
	return writeAll(1, truncated ? marked : whole);
}

/** Escaped, a text may be some times as long: of that as well only the end is kept. */
function fitReply<T extends OutputText>(answer: T, more: string): T {
	let fitting = answer;
	while (toJson(fitting).length > maxReplyLength && fitting.output) {
		const { length } = Buffer.from(fitting.output);
		const output = truncateBytes(
			fitting.output,
			Math.floor(length * 0.9),
			"last",
		);
		fitting = { ...fitting, output, truncated: true, more };
	}
	return fitting;
}

/** How to get what an answer left out: what comes next, or more of what was before. */
function hintMore(
	id: string,
	{ nextOffset }: OutputText,
	{ since, attempt, max }: OutputTextOptions,
): string {
	const flags =
		since !== undefined
			? `--since ${nextOffset}`
			: max < 1024 ** 2
				? "--max 1M"
				: "--raw";
	return callOf(id, { attempt }, flags);
}

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
