/** What property tests share: hostile texts, values, records, and what no answer may hold. */

import { Buffer } from "node:buffer";
import fc from "fast-check";
import { identifySelf } from "../../lib/process/identity.ts";
import { parent } from "../tools/hooks.ts";

/**
 * What decides the samples of a run. All tests take the same each time, so that they fail for a
 * change and not by chance; `SEED=$RANDOM TIMES=20 bun test …` looks further.
 */
export const seed = Number(process.env.SEED ?? 1);

/** How many samples: TIMES=20 takes twenty times as many as a run of all tests can afford. */
export const times = (count: number) => count * Number(process.env.TIMES ?? 1);

fc.configureGlobal({ includeErrorInReport: true, seed });

/** Texts that are paths, commands, flags, orders to a terminal, names of properties, or too much. */
const nasty = [
	"",
	" ",
	"\n",
	"\0",
	"..",
	"../../home/canary/file",
	"x/../../../home/canary",
	"/etc/passwd",
	"/dev/zero",
	"~",
	"$(touch canary/made)",
	"`touch canary/made`",
	"; touch canary/made;",
	"' || touch canary/made #",
	'" && touch canary/made "',
	"%s%n",
	"-",
	"--",
	"-rf",
	"--help",
	"--json",
	"=",
	"-undefined",
	"__proto__",
	"constructor",
	"toString",
	"null",
	"NaN",
	"-1",
	"1e999",
	"99999999999999999999",
	"\x1b[2J\x1b]0;title\x07",
	"\x1b",
	"\x9b31m",
	"\x7f\b\b",
	"\r\r\nx\r",
	"\u202eesrever\u2066",
	"\u2028\u2029",
	"\ud800",
	"\ufeff",
	"\ufffd",
	"e\u0301\u{1f469}\u200d\u{1f680}",
	"a,b,,c",
	"bg_",
	"bg_0123456789abcdef/../x",
	"@last",
	"main",
	"x".repeat(100_000),
	" ".repeat(20_000),
	"<b>`|\\",
];

export const text = fc.oneof(
	{ weight: 3, arbitrary: fc.constantFrom(...nasty) },
	fc.string({ unit: "binary", maxLength: 30 }),
	fc.string({ maxLength: 12 }),
);

/** Texts as they can stand in an argv or an environment: no NUL, and not half a character. */
export const word = text.map((each) =>
	each.replaceAll("\0", "").toWellFormed(),
);

const deep = (levels: number) => "[".repeat(levels) + "]".repeat(levels);

/** Any JSON, as text: also what JSON.stringify would not write. */
export const json = fc.oneof(
	{
		weight: 100,
		arbitrary: fc.jsonValue().map((each) => JSON.stringify(each)),
	},
	{ weight: 100, arbitrary: text.map((each) => JSON.stringify(each)) },
	{
		weight: 100,
		arbitrary: fc.constantFrom(
			"null",
			"[]",
			"{}",
			"-0",
			"1e999",
			"-1e308",
			"0.5",
			"9007199254740993",
			'{"toString":1,"valueOf":2}',
			'{"input_tokens":{"toString":1,"valueOf":2}}',
			'{"__proto__":{"id":1},"constructor":null}',
			'["x",1,null]',
			deep(40),
		),
	},
	// Dear to make, and one of them says it all.
	{ weight: 1, arbitrary: fc.constant(deep(100_000)) },
);

/** A JSON object of some of the keys, each with its own value or with any. */
export function mutations(base: Record<string, unknown>): fc.Arbitrary<string> {
	const keys = Object.keys(base);
	const change = fc.tuple(fc.constantFrom(...keys, "more"), json);
	return fc
		.tuple(
			fc.array(change, { maxLength: 4 }),
			fc.subarray(keys, { maxLength: 2 }),
		)
		.map(([changes, left]) => {
			const fields = new Map(
				keys.map((key) => [key, JSON.stringify(base[key])] as const),
			);
			for (const key of left) fields.delete(key);
			for (const [key, value] of changes) fields.set(key, value);
			const pairs = [...fields].map(([key, value]) => `"${key}":${value}`);
			return `{${pairs.join(",")}}`;
		});
}

/** The same, now and then torn or mixed with any bytes. */
export const bytes = (of: fc.Arbitrary<string>): fc.Arbitrary<Buffer> =>
	fc.oneof(
		{ weight: 8, arbitrary: of.map((each) => Buffer.from(each)) },
		of.map((each) => Buffer.from(each.slice(0, each.length / 2))),
		fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each)),
	);

/** A process that is gone. */
const identity = { ...identifySelf(), start: "999999999999" };

/** A record with every field there is. */
export const fullRecord = {
	schema: 1,
	kind: "droid",
	description: "a task",
	prompt: "p",
	agent: "worker",
	autonomy: "low",
	model: "m",
	parent_model: "m",
	command: ["droid", "exec"],
	cwd: "/",
	via: "file",
	worktree: "w",
	stdin: "/dev/null",
	session_id: "ses_0123456789ab",
	droid_session_id: "s",
	parent_session_id: parent,
	parent_task_id: "bg_0123456789ab",
	depth: 1,
	status: "running",
	reason: "exit",
	error: "exited 3",
	result: "words",
	exit_code: 3,
	signal: "SIGTERM",
	stop: { reason: "cancel", at: "2026-01-01T00:00:00Z", by: "bg cancel" },
	left_behind: [{ pid: 2, command: "sleep" }],
	queued_at: "2026-01-01T00:00:00Z",
	started_at: "2026-01-01T00:00:01Z",
	completed_at: "2026-01-01T00:00:02Z",
	active_at: "2026-01-01T00:00:02Z",
	paused_at: "2026-01-01T00:00:02Z",
	paused_ms: 1,
	not_before: "2026-01-01T00:00:02Z",
	process: identity,
	supervisor: identity,
	pid: 1,
	progress: { toolCalls: 1, lastTool: "Read", lastMessage: "m" },
	usage: { input_tokens: 1, output_tokens: 1 },
	concurrency_key: "worker",
	after: ["bg_0123456789ab"],
	after_mode: "any",
	priority: 1,
	timeout_ms: 1,
	elapsed_ms: 1,
	quiet_ms: 1,
	retries: 1,
	attempt: 1,
	attempts: [{ attempt: 1, error: "exited 1" }],
	unique_key: "k",
	max_output_bytes: 1,
	tags: ["t"],
	on_end: ["touch", "canary/made"],
	retry_of: "bg_0123456789ab",
	notified_at: "2026-01-01T00:00:02Z",
	archived_at: null,
};

/** A record as background-manager.py wrote them: local times, no schema, no process. */
export const oldRecord = {
	description: "old",
	prompt: "p",
	agent: "executor-med",
	model: null,
	parent_session_id: "main",
	session_id: "ses_0123456789ab",
	status: "running",
	started_at: "2025-06-01T12:00:00.123456",
	completed_at: null,
	error: null,
	result: null,
	progress: { toolCalls: 0, lastTool: null, lastUpdate: "2025-06-01T12:00:00" },
	concurrency_key: "executor-med",
};

/** An event of every kind in a droid's stream. */
export const streamEvents = [
	{ type: "system", subtype: "init", session_id: "s", model: "m", cwd: "/" },
	{ type: "message", role: "assistant", text: "words", timestamp: 1 },
	{
		type: "tool_call",
		toolName: "Read",
		parameters: { command: "c" },
		timestamp: 1,
	},
	{
		type: "tool_result",
		isError: true,
		value: "v",
		error: { message: "m" },
		timestamp: 1,
	},
	{ type: "error", source: "cli", message: "m" },
	{
		type: "completion",
		finalText: "done",
		numTurns: 1,
		durationMs: 1,
		usage: { input_tokens: 1, output_tokens: 1 },
	},
];

export const streamLine = fc.oneof(
	{ weight: 3, arbitrary: fc.oneof(...streamEvents.map(mutations)) },
	text,
	json,
);

/** What a terminal obeys, but for ends of lines. */
const obeyed =
	/(?![\n\t])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

/** The first thing in a text that a terminal would obey, with what stands around it. */
export function firstObeyed(shown: string): string | undefined {
	const at = shown.search(obeyed);
	if (at < 0) return undefined;
	return JSON.stringify(shown.slice(Math.max(0, at - 60), at + 20));
}
