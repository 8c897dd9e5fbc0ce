import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
	compareIds,
	createSessionId,
	createTaskId,
	idPattern,
	sessionPattern,
} from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import { reasons, statuses, type Task } from "../../lib/task/schema.ts";
import {
	dependencySentence,
	describeExit,
	finishTask,
	isFinal,
	isRetryable,
	markRunning,
	requestStop,
	requeueForRetry,
	type TaskEnd,
} from "../../lib/task/states.ts";

const at = "2026-01-02T03:04:05.678Z";
const identity = { machine: "m", boot: "b", pid: 7, start: "1" };

const task = (fields: Partial<Task> = {}): Task => ({
	...parseTask('{"id":"bg_0123456789ab","status":"running"}'),
	...fields,
});

const exit = (code: number): TaskEnd => ({
	reason: "exit",
	failed: code !== 0,
	at,
	error: `exited ${code}`,
	facts: { exit_code: code },
});

test("ids of one process sort in the order of their creation, even if the clock is set back", () => {
	const ids = [5, 5, 3, 6, 2].map((ms) => createTaskId(1_700_000_000_000 + ms));
	expect(ids.toSorted(compareIds)).toEqual(ids);
	expect(new Set(ids).size).toBe(ids.length);
	for (const id of ids) expect(id).toMatch(idPattern);
});

test("ids of background-manager.py are shorter and sort before all others", () => {
	const ids = ["bg_ffffffff", createTaskId()];
	expect(ids.toSorted(compareIds)).toEqual(ids);
});

test("a session id that bg creates is accepted by the store", () => {
	expect(createSessionId()).toMatch(/^ses_[0-9a-f]{12}$/);
	expect(createSessionId()).toMatch(sessionPattern);
});

test.each([
	[0, null, undefined],
	[3, null, "exited 3"],
	[null, "SIGKILL", "killed by SIGKILL"],
] as const)("exit code %p with signal %p reads %p", (code, signal, words) => {
	expect(describeExit(code, signal)).toBe(words);
});

test("a process that exits 0 completes its task, any other code is an error", () => {
	expect(finishTask(task(), exit(0))).toMatchObject({
		status: "completed",
		reason: "exit",
		exit_code: 0,
		completed_at: at,
	});
	expect(finishTask(task(), exit(0)).error).toBeUndefined();
	expect(finishTask(task(), exit(3))).toMatchObject({
		status: "error",
		error: "exited 3",
		exit_code: 3,
	});
});

test("a stop request decides the end, whatever the exit code", () => {
	const stop = { reason: "cancel", at, by: "bg cancel" } as const;
	const ended = finishTask(requestStop(task(), stop), exit(0));
	expect(ended).toMatchObject({
		status: "cancelled",
		reason: "cancel",
		exit_code: 0,
		error: "stopped by bg cancel",
	});
});

test("the first stop request stays", () => {
	const first = { reason: "cancel", at, by: "bg cancel" } as const;
	const second = { reason: "shutdown", at, by: "SIGTERM" } as const;
	expect(requestStop(requestStop(task(), first), second).stop).toEqual(first);
});

test("the first final state wins, and later facts are added beside it", () => {
	fc.assert(
		fc.property(
			fc.array(
				fc.record({
					reason: fc.constantFrom(...reasons),
					failed: fc.boolean(),
					code: fc.integer({ min: 0, max: 255 }),
				}),
				{ minLength: 2 },
			),
			(ends) => {
				const states = ends.map(({ reason, failed, code }) => ({
					reason,
					failed,
					at,
					facts: { exit_code: code },
				}));
				const first = finishTask(task(), states[0] as TaskEnd);
				const last = states.reduce(finishTask, task());
				expect(isFinal(first)).toBe(true);
				expect(last).toEqual(first);
			},
		),
	);
	const byHand = finishTask(task(), { reason: "manual", at });
	expect(finishTask(byHand, exit(3))).toMatchObject({
		status: "completed",
		reason: "manual",
		exit_code: 3,
	});
});

test("a task starts once, and not if it has ended before", () => {
	const queued = task({ status: "queued" });
	expect(markRunning(queued, identity, at)).toMatchObject({
		status: "running",
		pid: 7,
		started_at: at,
	});
	for (const status of statuses.filter((each) => each !== "queued"))
		expect(markRunning(task({ status }), identity, at)).toBeUndefined();
	const stop = { reason: "cancel", at, by: "x" } as const;
	expect(markRunning({ ...queued, stop }, identity, at)).toBeUndefined();
});

test("a record of background-manager.py is read: nulls, local times, no pid", () => {
	const old = parseTask(
		JSON.stringify({
			id: "bg_1a2b3c4d",
			session_id: "ses_0123456789ab",
			parent_session_id: "main",
			description: "old",
			prompt: "do it",
			agent: "executor-med",
			status: "running",
			queued_at: null,
			started_at: "2025-06-07T08:09:10.111213",
			result: null,
			error: null,
			progress: { toolCalls: 0, lastTool: "Read" },
			concurrency_key: null,
		}),
	);
	expect(old).toMatchObject({ kind: "droid", status: "running" });
	expect(old.schema).toBeUndefined();
	expect(Number.isNaN(Date.parse(old.started_at ?? ""))).toBe(false);
});

test("unknown fields of a record are kept", () => {
	const read = parseTask(
		'{"id":"bg_0123456789ab","status":"queued","new":[1]}',
	);
	expect(finishTask(read, exit(0))).toMatchObject({ new: [1] });
});

test("text that is not a record is refused", () => {
	fc.assert(
		fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
			expect(() => parseTask(text)).toThrow();
		}),
	);
	expect(() => parseTask('{"id":"../../x","status":"queued"}')).toThrow();
	expect(() => parseTask('{"id":"bg_0123456789ab","status":"odd"}')).toThrow();
});

test("attempts wait 1 s, 2 s, 4 s and so on, at most 60 s", () => {
	const pauses = [1, 2, 3, 6, 7, 50].map((attempt) => {
		const ended = task({ attempt, status: "error", completed_at: at });
		const { not_before = "" } = requeueForRetry(task({ attempt }), ended);
		return (Date.parse(not_before) - Date.parse(at)) / 1000;
	});
	expect(pauses).toEqual([1, 2, 4, 32, 60, 60]);
});

test("an attempt has what it used itself, the task what all used together", () => {
	const usage = (input_tokens: number) => ({ input_tokens });
	const ended = finishTask(task(), { ...exit(1), facts: { usage: usage(7) } });
	const second = requeueForRetry(task(), ended);
	expect(second.usage).toBeUndefined();
	expect(second.attempts?.[0]?.usage).toMatchObject(usage(7));
	const both = finishTask(task(), { ...exit(1), facts: { usage: usage(19) } });
	const third = requeueForRetry({ ...second, status: "running" }, both);
	expect(third.attempts?.[1]?.usage).toMatchObject(usage(12));
});

test.each([
	[undefined, true],
	[12, true],
	[11, false],
])(
	"a task that used 12 tokens of %p and failed is tried again: %p",
	(max_tokens, isRetried) => {
		const failed = task({ retries: 1, max_tokens });
		const facts = { usage: { input_tokens: 7, output_tokens: 5 } };
		const ended = finishTask(failed, { ...exit(1), facts });
		expect(isRetryable(failed, ended)).toBe(isRetried);
	},
);

const [first, second, third] = ["bg_00000001", "bg_00000002", "bg_00000003"];

test.each([
	["exit", "exited 3", `not started: ${first} ended as error (exited 3)`],
	["timeout", undefined, `not started: ${first} ended as error`],
	[
		"dependency",
		`not started: ${second} ended as error (exited 3)`,
		`not started: ${first} ended as error; first cause: ${second} ended as error (exited 3)`,
	],
	[
		"dependency",
		`not started: ${second} ended as error; first cause: ${third} ended as cancelled (stopped by bg cancel)`,
		`not started: ${first} ended as error; first cause: ${third} ended as cancelled (stopped by bg cancel)`,
	],
	[
		"dependency",
		`not started: nobody can say how ${second} ended`,
		`not started: ${first} ended as error; first cause: nobody can say how ${second} ended`,
	],
	// As an older bg wrote it.
	[
		"dependency",
		`not started: ${second} ended as error (not started: ${third} ended as error (exited 3 (twice)))`,
		`not started: ${first} ended as error; first cause: ${third} ended as error (exited 3 (twice))`,
	],
	[
		"dependency",
		`not started: ${second} ended as error (not started: ${third} ended as cancelled)`,
		`not started: ${first} ended as error; first cause: ${third} ended as cancelled`,
	],
] as const)(
	"what comes after a task that ended for reason %s with %j names it and the first cause",
	(reason, error, sentence) => {
		const fields = { id: first, status: "error", reason, error } as const;
		expect(dependencySentence(task(fields))).toBe(sentence);
	},
);

test("a dependency sentence stays short for a chain of 1000 tasks, even if an older bg wrote it", () => {
	let old = "exited 3";
	let now: Task = task({ id: first, status: "error", reason: "exit" });
	now.error = `exited 3: ${"x".repeat(500)}`;
	for (let length = 0; length < 1000; length++) {
		old = `not started: ${second} ended as error (${old})`;
		const error = dependencySentence(now);
		expect(error.length).toBeLessThanOrEqual(300);
		now = finishTask(task({ status: "queued" }), {
			reason: "dependency",
			at,
			error,
		});
	}
	expect(now.error).toContain(`; first cause: ${first} ended as error (exited`);
	const last = { status: "error", reason: "dependency", error: old } as const;
	expect(dependencySentence(task({ id: first, ...last }))).toBe(
		`not started: ${first} ended as error; first cause: ${second} ended as error (exited 3)`,
	);
});

test("what its engine started again is none of a task's retries", () => {
	const ended = finishTask(task(), exit(1));
	const attempts = [{ attempt: 1, put_back: true }];
	const isRetried = (attempt: number, fields: Partial<Task>) =>
		isRetryable(task({ attempt, retries: 1, ...fields }), ended);
	expect([1, 2].map((attempt) => isRetried(attempt, {}))).toEqual([
		true,
		false,
	]);
	expect([2, 3].map((attempt) => isRetried(attempt, { attempts }))).toEqual([
		true,
		false,
	]);
});
