import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { answersIn, command, toLines } from "../tools/batch.ts";
import {
	isAlive,
	program,
	type Sandbox,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import { treeOf } from "../tools/scripts.ts";

/** Runs a command and waits until its process runs. */
async function running(box: Sandbox, command: string[], options = {}) {
	const id = await box.run(command, options);
	return box.untilTask(id, ({ process }) => process, "its process");
}

const childrenOf = (pid: number) =>
	readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
		.trim()
		.split(" ")
		.map(Number);

test("cancel ends the whole tree and returns when it is gone", async () => {
	const box = sandbox();
	const { id, pid = 0 } = await running(box, [
		"sh",
		"-c",
		"setsid sleep 61 & (sleep 62 &); env -i sleep 63 & sleep 64",
	]);
	await until(() => treeOf(id).length >= 4, "the tree");
	// One of them has no variable to be found by.
	await until(() => childrenOf(pid).length >= 3, "its children");
	const children = childrenOf(pid);
	const answer = await box.bg(["cancel", id]);
	expect([treeOf(id), children.filter(isAlive)]).toEqual([[], []]);
	expect(answer.code).toBe(0);
	expect(answer.json()).toEqual({
		tasks: [
			{ id, taskId: id, status: "cancelled", cancelled: true, survivors: [] },
		],
	});
	expect(box.record(id)).toMatchObject({
		status: "cancelled",
		reason: "cancel",
		error: "stopped by bg cancel",
		signal: "SIGTERM",
	});
});

test("a droid stays cancelled although it exits 0 on SIGTERM, its tool is gone", async () => {
	const box = sandbox();
	const answer = await box.bg(["launch", "-q", "d", "RUN[sleep 77]"], {
		env: { BG_DROID: standIn },
	});
	const id = answer.stdout.trim();
	await until(
		() => box.alive().some(({ command }) => command === "sleep 77 "),
		"the tool",
	);
	expect((await box.bg(["cancel", id])).code).toBe(0);
	expect(treeOf(id)).toEqual([]);
	expect(box.record(id)).toMatchObject({
		status: "cancelled",
		reason: "cancel",
		exit_code: 0,
	});
});

test("--signal begins with another one", async () => {
	const box = sandbox();
	const { id } = await running(box, [
		"bash",
		"-c",
		"trap 'echo interrupted; exit 9' INT; while :; do sleep 0.05; done",
	]);
	await until(
		async () =>
			/^SigCgt:.*[2367abef]$/m.test(
				await Bun.file(`/proc/${box.record(id).pid}/status`).text(),
			),
		"the trap",
	);
	expect((await box.bg(["cancel", id, "--signal", "int"])).code).toBe(0);
	expect(box.record(id)).toMatchObject({
		status: "cancelled",
		exit_code: 9,
		result: "interrupted",
	});
	expect((await box.bg(["cancel", id, "--signal", "nix"])).code).toBe(2);
});

test("cancelling a finished task says so and changes nothing", async () => {
	const box = sandbox();
	const id = await box.run(["true"]);
	await box.bg(["wait", id]);
	const before = box.record(id);
	const answer = await box.bg(["cancel", id]);
	expect(answer.code).toBe(1);
	expect(answer.json().tasks).toEqual([
		{
			id,
			taskId: id,
			status: "completed",
			cancelled: false,
			survivors: [],
			note: "already completed",
		},
	]);
	expect(box.record(id)).toEqual(before);
});

describe("tasks launched from inside", () => {
	const bg = program.map((word) => `'${word}'`).join(" ");
	const outer = [
		"sh",
		"-c",
		`${bg} run -q inner -- sleep 71 > inner; ${bg} wait; sleep 72`,
	];

	async function nested(box: Sandbox) {
		const { id } = await running(box, outer);
		const file = join(box.home, "inner");
		const inner = await until(
			() => (existsSync(file) ? readFileSync(file, "utf8").trim() : ""),
			"the inner task",
		);
		await box.untilTask(inner, ({ process }) => process, "its process");
		return { id, inner };
	}

	test("are cancelled with the task", async () => {
		const box = sandbox();
		const { id, inner } = await nested(box);
		expect(box.record(inner)).toMatchObject({ parent_task_id: id, depth: 2 });
		const { tasks } = (await box.bg(["cancel", id])).json();
		expect(tasks).toMatchObject([
			{ id, taskId: id, cancelled: true },
			{ id: inner, taskId: inner, cancelled: true },
		]);
		expect([treeOf(id), treeOf(inner)]).toEqual([[], []]);
	});

	test("are left with --only", async () => {
		const box = sandbox();
		const { id, inner } = await nested(box);
		await box.bg(["cancel", id, "--only"]);
		expect(box.record(inner).status).toBe("running");
		expect(isAlive(box.record(inner).pid ?? 0)).toBe(true);
		await box.bg(["cancel", inner]);
	});

	test("cancel --all from inside leaves the task it runs in", async () => {
		const box = sandbox();
		const { id } = await running(box, [
			"sh",
			"-c",
			`${bg} run -q inner -- sleep 71; ${bg} cancel --all > answer; echo still here`,
		]);
		await box.bg(["wait", id]);
		expect(box.record(id)).toMatchObject({ status: "completed" });
		const { tasks } = await Bun.file(join(box.home, "answer")).json();
		expect(tasks).toMatchObject([{ cancelled: true }]);
	});
});

test("--all and --session cancel what they say", async () => {
	const box = sandbox();
	const mine = { env: { BG_SESSION_ID: "mine" } };
	const { id: first } = await running(box, ["sleep", "60"], mine);
	const { id: other } = await running(box, ["sleep", "60"]);
	const all = await box.bg(["cancel", "--all"], mine);
	expect(all.json().tasks).toMatchObject([{ id: first, taskId: first }]);
	expect(box.record(other).status).toBe("running");
	const rest = await box.bg(["cancel", "--session", "main"]);
	expect(rest.json().tasks).toMatchObject([{ id: other, taskId: other }]);
	expect((await box.bg(["cancel", "--all"])).json()).toEqual({ tasks: [] });
	expect((await box.bg(["cancel"])).code).toBe(2);
});

test("of the tasks that are cancelled together no queued one starts", async () => {
	const box = sandbox();
	const lines = Array.from({ length: 15 }, (_, n) =>
		command(`t${n}`, n ? `touch ran; sleep 60` : "sleep 60"),
	);
	const [first, ...queued] = answersIn(
		(
			await box.bg(["launch", "--batch", "-"], {
				input: toLines(lines),
				env: { BG_MAX_RUNNING: "1" },
			})
		).stdout,
	);
	await box.untilTask(first.id, ({ process }) => process, "its process");
	const { tasks } = (await box.bg(["cancel", "--all"])).json();
	expect(tasks.map(({ id }: { id: string }) => id)).toEqual(
		[first, ...queued].map(({ id }) => id),
	);
	for (const { id } of queued) {
		expect(box.record(id).status).toBe("cancelled");
		expect(box.record(id)).not.toHaveProperty("started_at");
	}
	expect(existsSync(join(box.home, "ran"))).toBe(false);
});

test("what was launched by a task that is over goes with the one before it", async () => {
	const box = sandbox();
	const { id } = await running(box, ["sleep", "60"]);
	const inside = (parent: string) => ({
		env: { BG_TASK_ID: parent, BG_DEPTH: "1" },
	});
	const middle = await box.run(["true"], inside(id));
	await box.bg(["wait", middle]);
	const last = await running(box, ["sleep", "60"], inside(middle));
	const { tasks } = (await box.bg(["cancel", id])).json();
	expect(tasks).toMatchObject([
		{ id, taskId: id },
		{ id: last.id, taskId: last.id },
	]);
	expect(box.record(last.id).status).toBe("cancelled");
});

test("a record that is broken does not keep the others from being cancelled", async () => {
	const box = sandbox();
	const bad = await box.run(["true"]);
	await box.bg(["wait", bad]);
	writeFileSync(join(box.dir, `${bad}.json`), "{");
	const { id } = await running(box, ["sleep", "60"]);
	const answer = await box.bg(["cancel", bad, id]);
	expect(answer.code).toBe(1);
	expect(answer.json().tasks).toMatchObject([
		{ id: bad, taskId: bad, cancelled: false },
		{ id, taskId: id, cancelled: true },
	]);
});

test("a record under another task's name stops nobody", async () => {
	const box = sandbox();
	const { id } = await running(box, ["sleep", "60"]);
	const other = "bg_0123456789ab";
	copyFileSync(join(box.dir, `${id}.json`), join(box.dir, `${other}.json`));
	const answer = await box.bg(["cancel", other]);
	expect(answer.code).toBe(111);
	expect(answer.error).toContain(`it is the record of ${id}`);
	expect(box.record(id).status).toBe("running");
	await box.bg(["cancel", id]);
});
