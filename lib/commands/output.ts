import { dismissNotice, formatFlags, isJsonWanted } from "../answer.ts";
import { splitValues } from "../arguments.ts";
import { maxReplyLength } from "../brief.ts";
import { openStore } from "../directory.ts";
import { BgError, usage } from "../error.ts";
import type { Store } from "../names.ts";
import {
	callOf,
	type OutputText,
	type OutputTextOptions,
	readOutputText,
} from "../pages.ts";
import {
	parseSize,
	toJson,
	toPlain,
	truncateBytes,
	writeAll,
} from "../print.ts";
import { reconcileTask } from "../prune.ts";
import { readTask, resolveTaskId } from "../store.ts";
import { defineVerb } from "../verb.ts";
import { followRaw, followText, formatCutMark, writeRaw } from "./follow.ts";

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
