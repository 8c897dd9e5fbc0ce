import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	rmSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { identifyMachine } from "../../lib/process/machine.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { type Sandbox, sandbox } from "../tools/harness.ts";

function put(box: Sandbox, fields: Partial<Task> = {}): string {
	const id = createTaskId();
	mkdirSync(box.dir, { recursive: true, mode: 0o700 });
	const record = { schema: 1, id, status: "completed", ...fields };
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	return id;
}

const ids = (answer: { json: () => { tasks: Task[] } }) =>
	answer.json().tasks.map(({ id }) => id);

test("list counts by status and shows the newest first", async () => {
	const box = sandbox();
	const first = put(box, { description: "one", agent: "executor-med" });
	const second = put(box, { status: "error", error: "exited 1" });
	expect((await box.bg(["list"])).json()).toMatchObject({
		total: 2,
		queued: 0,
		running: 0,
		completed: 1,
		error: 1,
		cancelled: 0,
		tasks: [
			{ id: second, status: "error", error: "exited 1" },
			{ id: first, description: "one", agent: "executor-med" },
		],
	});
});

test("list can be narrowed", async () => {
	const box = sandbox();
	const a = put(box, { parent_session_id: "s1", tags: ["x"], cwd: box.home });
	const b = put(box, { status: "cancelled", tags: ["x", "y"] });
	const c = put(box, { archived_at: "2026-01-01T00:00:00Z" });
	expect(ids(await box.bg(["list"]))).toEqual([b, a]);
	expect(ids(await box.bg(["list", "--all"]))).toEqual([c, b, a]);
	expect(ids(await box.bg(["list", "--status", "error,cancelled"]))).toEqual([
		b,
	]);
	expect(ids(await box.bg(["list", "--session", "s1"]))).toEqual([a]);
	expect(ids(await box.bg(["list", "--tag", "y"]))).toEqual([b]);
	expect(ids(await box.bg(["list", "--cwd", "."]))).toEqual([a]);
	expect((await box.bg(["list", "--status", "done"])).code).toBe(2);
});

test("a list in text has the newest end first, and says which selection matches nothing", async () => {
	const box = sandbox();
	const last = put(box, { completed_at: "2026-01-01T00:02:00Z" });
	const first = put(box, { completed_at: "2026-01-01T00:01:00Z" });
	const { stdout } = await box.bg(["list", "--text"]);
	expect(stdout.match(/bg_\w+/g)).toEqual([last, first]);
	expect(
		(await box.bg(["list", "--text", "--tag", "none", "--since", "5"])).stdout,
	).toBe("no task matches --tag none --since 5 (bg list shows all)\n");
});

test("list has four forms", async () => {
	const box = sandbox();
	const id = put(box, {
		description: "look | here",
		result: "fine",
		agent: "d",
	});
	const form = async (name: string) =>
		(await box.bg(["list", "--format", name])).stdout;
	expect(JSON.parse(await form("json")).total).toBe(1);
	expect(JSON.parse(await form("jsonl"))).toMatchObject({ id });
	expect(await form("table")).toBe(`${id}  ✔ completed  ?  d  look | here\n`);
	expect(await form("md")).toBe(
		[
			"## Background Tasks",
			"",
			"| Task ID | Droid | Status | Result |",
			"| --- | --- | --- | --- |",
			`| ${id} | d | completed | \`fine\` |`,
			"",
			"### Completed",
			"",
			`- **${id}** \`look | here\`: completed`,
			"",
			"### Still Running",
			"",
			"None.",
			"",
		].join("\n"),
	);
	expect((await box.bg(["list", "--format", "xml"])).code).toBe(2);
});

test("a store that is not there is an empty list, and stays not there", async () => {
	const box = sandbox();
	expect((await box.bg(["list"])).json().total).toBe(0);
	expect((await box.bg(["list", "--text"])).stdout).toContain(
		"no task to show",
	);
	expect((await box.bg(["status", "@last"])).code).toBe(3);
	expect(existsSync(box.dir)).toBe(false);
});

test("a task of another machine is shown as that, neither lost nor signalled", async () => {
	const box = sandbox();
	const { boot } = identifyMachine();
	const far = { machine: "far:1", boot, pid: 1, start: "1" };
	const id = put(box, { status: "running", process: far, supervisor: far });
	const status = (await box.bg(["status", id])).json();
	expect(status).toMatchObject({ status: "running", note: "on far" });
	const cancel = await box.bg(["cancel", id]);
	expect(cancel.code).toBe(1);
	expect(cancel.json().tasks).toMatchObject([{ cancelled: false }]);
});

test("records of the old script are shown, and nobody is said to watch them", async () => {
	const box = sandbox();
	mkdirSync(box.dir, { mode: 0o755 });
	const old = {
		id: "bg_1a2b3c4d",
		session_id: "ses_0123456789ab",
		parent_session_id: "main",
		description: "old one",
		prompt: "p",
		agent: "executor-med",
		status: "running",
		queued_at: "2025-06-07T08:09:10.111213",
		started_at: "2025-06-07T08:09:10.111213",
		completed_at: null,
		result: null,
		error: null,
		progress: { toolCalls: 0, lastUpdate: "2025-06-07T08:09:10.111213" },
	};
	const path = join(box.dir, "bg_1a2b3c4d.json");
	writeFileSync(path, JSON.stringify(old));
	const { tasks } = (await box.bg(["list"])).json();
	expect(tasks).toMatchObject([
		{ id: "bg_1a2b3c4d", status: "running", note: "no supervisor is known" },
	]);
	expect(await Bun.file(path).json()).toEqual(old);
});

test("any file of the store can be deleted or broken: that task says so, the others are usable", async () => {
	const box = sandbox();
	const good = await box.run(["echo", "good"]);
	const bad = await box.run(["echo", "bad"]);
	await box.bg(["wait", good, bad]);
	unlinkSync(join(box.dir, `${bad}.out`));
	expect((await box.bg(["output", bad])).stdout).toBe("");
	writeFileSync(join(box.dir, `${bad}.json`), "{ broken");
	const list = (await box.bg(["list"])).json();
	expect(list.tasks).toMatchObject([{ id: good }]);
	expect(list.unreadable).toMatchObject([{ taskId: bad }]);
	for (const verb of ["status", "output", "wait", "cancel"]) {
		const answer = await box.bg([verb, bad]);
		expect(answer.code).toBe(111);
		expect(answer.error).toContain(`the record of ${bad} cannot be read`);
	}
	unlinkSync(join(box.dir, `${bad}.json`));
	expect((await box.bg(["status", bad])).code).toBe(3);
	for (const name of readdirSync(box.dir))
		if (name.startsWith(".")) rmSync(join(box.dir, name), { recursive: true });
	expect((await box.bg(["status", good])).json().result).toBe("good");
	const again = await box.run(["echo", "again"]);
	expect((await box.bg(["wait", again])).code).toBe(0);
});

test("a folder that is not ours to trust is refused in one line", async () => {
	const box = sandbox();
	mkdirSync(box.dir);
	const { exitCode } = Bun.spawnSync(["chmod", "777", box.dir]);
	expect(exitCode).toBe(0);
	for (const args of [["list"], ["run", "d", "--", "true"]]) {
		const { code, error } = await box.bg(args);
		expect(code).toBe(111);
		expect(error).toContain("chmod -R go-w");
	}
});
