import { parseNumberFlag, parseSizeFlag } from "../../control/schedule.ts";
import { formatOutputCall } from "../../droid/output-source.ts";
import {
	type OutputText,
	type OutputTextOptions,
	readOutputText,
	readPage,
} from "../../droid/pages.ts";
import { windowBytes } from "../../droid/task-output.ts";
import { BgError, usage } from "../../error.ts";
import {
	isTerminal,
	toJson,
	toPlain,
	truncateBytes,
	writeAll,
} from "../../print/text.ts";
import { type ReconciledTask, reconcileTasks } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import { readTask } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { followRaw, followText, formatCutMark, writeRaw } from "../follow.ts";
import {
	dismissNotice,
	isUnattended,
	maxReplyLength,
	warn,
	writeJson,
} from "../reply.ts";
import { nameTasks, selectorFlags } from "../selectors.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

/** The default maximum of text in a pipe. With its keys, the JSON reply fits maxReplyLength. */
const defaultMaxBytes = 1600;

/** How much is read at once of what a person gets whole, in bytes. */
const pageBytes = 64 * 1024;

const args = {
	ids: optional("task ids", { multiple: true, from: "tasks" }),
	...selectorFlags,
	tail: option("n", "only the last n lines"),
	since: option(
		"offset",
		"only the output after this byte (an earlier nextOffset)",
	),
	max: option("bytes", "the maximum size (1600; in a terminal all)"),
	attempt: option("n", "the output of attempt n (the last one)"),
	raw: flag("all bytes, unchanged"),
	follow: flag("continue until the task ends", { alias: "f" }),
	json: flag("reply as JSON"),
	text: flag("reply as text (the default)"),
} as const;

export default defineVerb({
	name: "output",
	description: "Show a task's output, or what a droid said and did",
	group: "inspect",
	repliesInText: true,
	examples: {
		"bg output @last --tail 20": "the last 20 lines",
		"bg output bg_19f0c2a4 --follow": "all output, until the task ends",
		"bg output --tag nightly --tail 5": "the last 5 lines of each such task",
		"bg output @last --since 4096 --json":
			"the output after byte 4096, an earlier nextOffset",
	},
	args,
	run: async ({ args: parsed }) => {
		const store = openStore();
		const ids = nameTasks(store, parsed, {
			verb: "output",
			what: "task",
			applies: () => true,
		});
		const since = parseNumberFlag("--since", parsed.since);
		const tail = parseNumberFlag("--tail", parsed.tail);
		const given = parseSizeFlag("--max", parsed.max);
		if (since !== undefined && tail !== undefined)
			throw usage("--since and --tail cannot be combined");
		if (parsed.follow && ids.length !== 1)
			throw usage(`--follow takes one task, but ${ids.length} are selected`);
		if (parsed.raw && tail !== undefined)
			throw usage("--raw and --tail cannot be combined");
		const [first] = ids;
		const wanted = parseNumberFlag("--attempt", parsed.attempt);
		const attemptOf = (id: string) => findEarlierAttempt(store, id, wanted);
		if (parsed.follow && wanted !== undefined)
			throw usage("--follow and --attempt cannot be combined");
		const found = ids.map((id) => readTask(store, id));
		const tasks = [...reconcileTasks(store, found)];
		if (parsed.raw) {
			for (const task of tasks) {
				const from = since ?? 0;
				const attempt = attemptOf(task.id);
				const shown = parsed.follow
					? await followRaw(store, task.id, from)
					: writeRaw(store, task, { since: from, max: given, attempt }) && task;
				if (!shown) return;
				dismissNotice(store, shown);
			}
			return;
		}
		const isForPerson = !parsed.json && isTerminal(1);
		const usual = isForPerson ? windowBytes : defaultMaxBytes;
		const max = given ?? usual;
		if (parsed.follow && first) {
			const options = { since, tail, max };
			const formatHint = (text: OutputText) => hintMore(first, text, options);
			const shown = await followText(store, first, { ...options, formatHint });
			if (shown) dismissNotice(store, shown);
			return;
		}
		if (isForPerson && (given ?? since ?? tail) === undefined) {
			const { showText } = await import("../../print/pager.ts");
			const pieces = readAll(store, tasks, attemptOf);
			const pager = isUnattended() ? "" : undefined;
			if (!(await showText(pieces, pager))) return;
			for (const task of tasks) {
				warnUnrecorded(task);
				dismissNotice(store, task);
			}
			return;
		}
		const answers = tasks.map((task) => {
			const { id, status, recorded, error } = task;
			const options = { since, tail, max, attempt: attemptOf(id) };
			const text = readOutputText(store, task, options);
			const more = hintMore(id, text, options);
			return { id, taskId: id, ...text, status, recorded, error, more };
		});
		if (parsed.json) {
			const isBrief = given === undefined && since === undefined;
			const fitting = answers.map(({ more, error: _, ...each }) => {
				const marked = each.truncated ? { ...each, more } : each;
				return isBrief ? fitReply(marked, more) : marked;
			});
			if (!writeJson({ tasks: fitting })) return;
		} else
			for (const each of answers) {
				if (answers.length > 1) writeAll(1, `== ${each.taskId} ==\n`);
				if (!writeText(each, each.more, since === undefined)) return;
				warnUnrecorded(each);
				if (!each.output && each.error)
					warn(`${each.id} ended as ${each.status}: ${each.error}`);
			}
		for (const answer of answers) dismissNotice(store, answer);
	},
});

// --- internal ---

/** The number of an earlier attempt; undefined for the last one, whose output is the task's. */
function findEarlierAttempt(store: Store, id: string, attempt?: number) {
	const { attempt: last = 1 } = readTask(store, id);
	if (attempt === undefined || attempt === last) return undefined;
	if (attempt >= 1 && attempt < last) return attempt;
	throw new BgError(
		"missing",
		`${id} has no attempt ${attempt}: it had ${last === 1 ? "one" : last} (bg output ${id} shows the last)`,
	);
}

type Answered = Pick<ReconciledTask, "id" | "status" | "recorded">;

function warnUnrecorded({ id, status, recorded }: Answered): void {
	if (recorded === false) warn(`${id} is ${status} (not recorded)`);
}

/** Reads the whole text of tasks, page by page. */
function* readAll(
	store: Store,
	tasks: readonly Task[],
	attemptOf: (id: string) => number | undefined,
): Generator<string> {
	for (const task of tasks) {
		if (tasks.length > 1) yield `== ${task.id} ==\n`;
		const attempt = attemptOf(task.id);
		let endsLine = true;
		for (let since = 0; ; ) {
			const options = { since, max: pageBytes, attempt };
			const { output, nextOffset } = readPage(store, task, options);
			if (nextOffset === since) break;
			since = nextOffset;
			const text = toPlain(output);
			if (text) endsLine = text.endsWith("\n");
			yield text;
		}
		if (!endsLine) yield "\n";
	}
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

/** Shortens the text until the reply fits: JSON escapes can make it several times as long. */
function fitReply<T extends OutputText>(answer: T, more: string): T {
	let fitting = answer;
	while (toJson(fitting).length > maxReplyLength && fitting.output) {
		const { length } = Buffer.from(fitting.output);
		const most = Math.floor(length * 0.9);
		const output = truncateBytes(fitting.output, most, "last");
		fitting = { ...fitting, output, truncated: true, more };
	}
	return fitting;
}

/** The command that shows what a reply omits: the next text, or more of the earlier text. */
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
	return formatOutputCall(id, { attempt }, flags);
}
