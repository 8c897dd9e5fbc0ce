import { setTimeout as delay } from "node:timers/promises";
import { defineCommand } from "citty";
import { formatFlags, wantsJson } from "../answer.ts";
import { valuesOf } from "../arguments.ts";
import { BgError } from "../error.ts";
import { readText } from "../output.ts";
import { isTerminal, parseSize, toJson, toPlain, writeAll } from "../print.ts";
import { settle } from "../prune.ts";
import {
	openStore,
	outputSize,
	readOutput,
	readTask,
	resolveId,
	type Store,
	watchEnds,
} from "../store.ts";
import { isFinal } from "../task.ts";

const defaultMax = 16 * 1024;
const chunk = 1024 * 1024;

const args = {
	ids: {
		type: "positional",
		required: true,
		multiple: true,
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
		description: "at most so much text (16K)",
	},
	raw: { type: "boolean", description: "the bytes as they came, all of them" },
	follow: {
		type: "boolean",
		alias: "f",
		description: "go on until the task is over",
	},
	...formatFlags,
} as const;

export const output = defineCommand({
	meta: {
		name: "output",
		description: "Show what a task wrote; of a droid, what it said and did",
	},
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
		if (parsed.raw) {
			for (const id of ids) writeRaw(store, id, since ?? 0, given);
			if (parsed.follow && first) await followRaw(store, first);
			return;
		}
		const max = given ?? defaultMax;
		if (parsed.follow && first) return followText(store, first, since, max);
		const answers = ids.map((id) => {
			const task = settle(store, readTask(store, id));
			const { status } = task;
			return {
				taskId: id,
				...readText(store, task, { since, tail, max }),
				status,
			};
		});
		if (wantsJson(parsed)) {
			const json = answers.length === 1 ? answers[0] : answers;
			writeAll(1, `${toJson(json)}\n`);
			return;
		}
		for (const each of answers) {
			if (answers.length > 1) writeAll(1, `== ${each.taskId} ==\n`);
			writeText(each, since === undefined);
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

function writeText(
	{ output, truncated }: { output: string; truncated: boolean },
	fromTheEnd: boolean,
): boolean {
	const text = toPlain(output);
	const whole = text && !text.endsWith("\n") ? `${text}\n` : text;
	const mark = "[… cut: --max BYTES shows more, --raw all]\n";
	if (!truncated) return writeAll(1, whole);
	return writeAll(1, fromTheEnd ? mark + whole : whole + mark);
}

/** Follows a task's words from `since`, or from what is shown without it, until it is over. */
async function followText(
	store: Store,
	id: string,
	since: number | undefined,
	max: number,
): Promise<void> {
	let from = since;
	await follow(store, id, () => {
		const task = settle(store, readTask(store, id));
		for (;;) {
			const text = readText(store, task, { since: from, max });
			const shown = from === undefined ? text : { ...text, truncated: false };
			if (!writeText(shown, true)) return false;
			const stuck = text.nextOffset === from;
			from = text.nextOffset;
			if (stuck || !text.truncated) return true;
		}
	});
}

async function followRaw(store: Store, id: string): Promise<void> {
	let from = outputSize(store, id);
	await follow(store, id, () => {
		const size = outputSize(store, id);
		const alive = size <= from || writeRaw(store, id, from);
		from = Math.max(from, size);
		return alive;
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

/** The bytes as they are; in a terminal, without what a terminal would obey. */
function writeRaw(
	store: Store,
	id: string,
	from: number,
	max = Number.POSITIVE_INFINITY,
): boolean {
	readTask(store, id);
	const end = Math.min(outputSize(store, id), from + max);
	const plain = isTerminal(1);
	const decoder = new TextDecoder();
	for (let at = from; at < end; ) {
		const bytes = readOutput(store, id, at, Math.min(end, at + chunk));
		if (bytes.length === 0) return true;
		at += bytes.length;
		const shown = plain
			? toPlain(decoder.decode(bytes, { stream: true }))
			: bytes;
		if (!writeAll(1, shown)) return false;
	}
	return true;
}
