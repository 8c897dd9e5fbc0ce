import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { type Answer, type Sandbox, sandbox } from "../tools/harness.ts";
import { addTask, endTask } from "../tools/hooks.ts";
import { addDroid } from "../tools/messages.ts";
import { endOf, running, script } from "../tools/scripts.ts";

const ago = (minutes: number) =>
	new Date(Date.now() - minutes * 60_000).toISOString();

/** Writes the record of a finished command and returns its id. */
function put(box: Sandbox, fields: Partial<Task>): string {
	const id = createTaskId();
	mkdirSync(box.dir, { recursive: true, mode: 0o700 });
	const record = {
		schema: 1,
		id,
		kind: "command",
		description: "d",
		command: ["true"],
		cwd: box.home,
		status: "completed",
		parent_session_id: "main",
		queued_at: ago(300),
		started_at: ago(300),
		completed_at: ago(240),
		result: `result of ${id}`,
		...fields,
	};
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	writeFileSync(join(box.dir, `${id}.out`), `output of ${id}\n`);
	return id;
}

const ids = (answer: Answer): string[] =>
	answer.json().tasks.map(({ id }: Task) => id);

const mine = { env: { BG_SESSION_ID: "mine" } };

/** Launches a task that runs until it is cancelled. */
const start = async (
	box: Sandbox,
	flags: string[],
	options = {},
): Promise<string> => {
	const words = ["run", "-q", ...flags, "d", "--", "sleep", "600"];
	const id = (await box.bg(words, options)).stdout.trim();
	await running(box, id);
	return id;
};

test("selectors choose the same tasks for each verb that shows some", async () => {
	const box = sandbox();
	const failed = { status: "error", error: "exited 1" } as const;
	const a = put(box, { tags: ["red"] });
	const b = put(box, { tags: ["red", "blue"], ...failed });
	const c = put(box, { tags: ["blue"], parent_session_id: "mine" });
	const d = put(box, { cwd: "/tmp", ...failed, completed_at: ago(1) });
	const old = put(box, { tags: ["red"], archived_at: ago(100) });
	const rows: [string[], string[]][] = [
		[
			["--tag", "red"],
			[a, b],
		],
		[
			["--tag", "red", "--tag", "blue"],
			[a, b, c],
		],
		[["--tag", "blue", "--status", "error"], [b]],
		[["--status=completed,error", "--cwd", "/tmp"], [d]],
		[["--session", "mine"], [c]],
		[
			["--tag", "red", "--all"],
			[a, b, old],
		],
		[["--all"], [a, b, c, d, old]],
		[["--tag", "none"], []],
	];
	for (const [flags, wanted] of rows) {
		const list = await box.bg(["list", ...flags]);
		expect([flags, ids(list).toReversed()]).toEqual([flags, wanted]);
	}
	const quiet = await box.bg(["list", "-q", "--tag", "red", "--all"]);
	expect(quiet.stdout).toBe(`${old}\n${b}\n${a}\n`);
	const shown = await box.bg(["output", "--json", "--tag", "blue"]);
	expect(ids(shown)).toEqual([b, c]);
	const result = await box.bg(["result", "--json", "--tag", "red"]);
	expect(ids(result)).toEqual([a, b]);
	expect(result.code).toBe(1);
	const none = await box.bg(["result", "--tag", "none"]);
	expect(none).toMatchObject({ code: 0, stdout: "", stderr: "" });
	const report = await box.bg(["report", "--status", "error"]);
	expect(report.stdout).toContain(b);
	expect(report.stdout).not.toContain(a);
	expect((await box.bg(["report", "--tag", "red"], mine)).stdout).not.toContain(
		a,
	);
	const since = await box.bg(["list", "--since", "3600", "-q"]);
	expect(since.stdout).toBe(`${d}\n`);
	expect((await box.bg(["list", "-q", "--full"])).code).toBe(2);
	const dry = ["cleanup", "--dry-run", "--tag", "blue", "--status", "error"];
	expect((await box.bg(dry)).json().archived).toEqual([b]);
	const cleaned = await box.bg(["cleanup", "--session", "mine"]);
	expect(cleaned.json().archived).toEqual([c]);
});

test("selectors choose what is stopped, and in a session only its own", async () => {
	const box = sandbox();
	put(box, { tags: ["x"] });
	const [x, y, own] = await Promise.all([
		start(box, ["--tag", "x"]),
		start(box, ["--tag", "x", "--cwd", "/"]),
		start(box, ["--tag", "x"], mine),
	]);
	for (const verb of ["cancel", "pause", "unpause", "retry"]) {
		const none = await box.bg([verb, "--tag", "none"]);
		expect([verb, none.code]).toEqual([verb, 3]);
		expect(none.error).toContain("matches --tag none");
		expect((await box.bg([verb, x, "--tag", "x"])).code).toBe(2);
		expect((await box.bg([verb])).code).toBe(2);
	}
	const none = await box.bg(["wait", "--tag", "none"]);
	expect(none.code).toBe(3);
	const ended = put(box, { status: "error" });
	const both = await box.bg(["pause", ended, y]);
	expect(both.code).toBe(1);
	expect(both.json().tasks).toMatchObject([
		{ id: ended, paused: false, note: expect.stringContaining("already") },
		{ id: y, paused: true },
	]);
	expect((await box.bg(["unpause", y])).code).toBe(0);
	const paused = await box.bg(["pause", "--cwd", "/"]);
	expect(ids(paused)).toEqual([y]);
	expect(ids(await box.bg(["unpause", "--all"]))).toEqual([y]);
	expect(box.record(y).paused_at).toBeUndefined();
	const timedOut = ["wait", "--timeout", "0.1s"];
	const waiting = async (flags: string[], options = {}) =>
		(await box.bg([...timedOut, ...flags], options)).json().running.sort();
	expect(await waiting(["--tag", "x"], mine)).toEqual([own]);
	expect(await waiting(["--all"], mine)).toEqual([x, y, own].sort());
	expect(await waiting(["--tag", "x", "--cwd", "/"])).toEqual([y]);
	const done = await box.bg(["wait", "--tag", "x", "--status", "completed"]);
	expect(done.json().tasks).toHaveLength(1);
	expect(ids(await box.bg(["cancel", "--tag", "x"], mine))).toEqual([own]);
	expect(box.record(x).status).toBe("running");
	expect(ids(await box.bg(["cancel", "--status", "running"])).sort()).toEqual(
		[x, y].sort(),
	);
	expect((await box.bg(["cancel", "--all"])).json()).toEqual({ tasks: [] });
});

test("retry takes several tasks, and by selectors those that were not retried", async () => {
	const box = sandbox();
	const failed: Partial<Task> = { status: "error", tags: ["n"], exit_code: 1 };
	const [a, b] = [put(box, failed), put(box, failed)];
	put(box, { tags: ["n"] });
	const first = (await box.bg(["retry", a])).json();
	expect(box.record(first.id)).toMatchObject({ retry_of: a, tags: ["n"] });
	const rest = ids(await box.bg(["retry", "--status", "error", "--tag", "n"]));
	expect(rest.map((id) => box.record(id).retry_of)).toEqual([b]);
	expect((await box.bg(["retry", "--status", "error"])).code).toBe(3);
	const both = await box.bg(["retry", "--wait", a, b]);
	expect(both.json().tasks).toMatchObject([
		{ status: "completed" },
		{ status: "completed" },
	]);
	const refused = await box.bg(["retry", a, "--model", "m"]);
	expect(refused).toMatchObject({ code: 2 });
	expect(refused.error).toContain("--model is for a droid");
	await box.bg(["wait"]);
});

test("inside a task it and its ancestors are left out", async () => {
	const box = sandbox();
	const outer = await start(box, []);
	const env = { BG_TASK_ID: outer, BG_DEPTH: "1" };
	const inner = await start(box, [], { env });
	const inside = { env: { BG_TASK_ID: inner, BG_DEPTH: "2" } };
	const other = await start(box, ["--tag", "other"]);
	expect(ids(await box.bg(["pause", "--all"], inside))).toEqual([other]);
	const waited = await box.bg(["wait", "--all", "--timeout", "0.1s"], inside);
	expect(waited.json().running).toEqual([other]);
	expect(ids(await box.bg(["cancel", "--all"], inside))).toEqual([other]);
	await box.bg(["cancel", outer]);
	expect(box.record(inner).status).toBe("cancelled");
});

test("send reaches all that match and take messages, and says which did not get it", async () => {
	const box = sandbox();
	const tag = ["--tag", "x"];
	const read = "read line; echo got $line";
	const keep = [...tag, "--stdin", "keep"];
	const [a, b] = [await script(box, keep, read), await script(box, keep, read)];
	for (const id of [a, b]) await running(box, id);
	await start(box, tag);
	const sent = await box.bg(["send", ...tag, "-"], { input: "hello\n" });
	expect(sent).toMatchObject({ code: 0, stderr: "" });
	expect(sent.json().tasks).toMatchObject([
		{ id: a, taskId: a, input: { bytes: 6 } },
		{ id: b, input: { bytes: 6 } },
	]);
	for (const id of [a, b])
		expect((await endOf(box, id)).result).toBe("got hello");
	const none = await box.bg(["send", ...tag, "hello"]);
	expect(none.code).toBe(3);
	const droid = addTask(box, { kind: "droid", tags: ["x"], cwd: box.home });
	const refused = await box.bg(["send", ...tag, "hello"]);
	expect(refused.code).toBe(1);
	expect(refused.json().tasks).toMatchObject([
		{ id: droid, note: expect.stringContaining("does not have bg's hooks") },
	]);
	expect((await box.bg(["send", "a", "b", "--all"])).code).toBe(2);

	// A flag that does not apply to one of them leaves the answer for the others.
	const sentTo = addDroid(box, { tags: ["x"] });
	const kept = await script(box, keep, read);
	await running(box, kept);
	const waiting = ["send", ...tag, "--wait", "--timeout", "0.1s", "hello"];
	const mixed = await box.bg(waiting);
	expect(mixed.code).toBe(124);
	expect(mixed.json().tasks).toMatchObject([
		{ id: droid },
		{ id: sentTo, message: { status: "queued" } },
		{ id: kept, note: expect.stringContaining("--wait is for a droid") },
	]);
	for (const id of [droid, sentTo]) endTask(box, id);
	expect((await box.bg(waiting)).code).toBe(2);
	await box.bg(["cancel", "--all"]);
});
