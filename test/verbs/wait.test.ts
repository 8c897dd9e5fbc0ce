import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program, sandbox, until, untilWatching } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	noticeIn,
	other,
	parent,
	send,
	toolUse,
} from "../tools/hooks.ts";

test("wait brings status, exit code and result of each, and exits 1 where one failed", async () => {
	const box = sandbox();
	const good = await box.run(["echo", "fine"]);
	const bad = await box.run(["sh", "-c", "echo why; exit 4"]);
	const answer = await box.bg(["wait", good, bad]);
	expect(answer.code).toBe(1);
	const { tasks, running, timedOut } = answer.json();
	expect(tasks).toHaveLength(2);
	expect(tasks).toContainEqual({
		id: good,
		taskId: good,
		status: "completed",
		exit_code: 0,
		result: "fine",
	});
	expect(tasks).toContainEqual({
		id: bad,
		taskId: bad,
		status: "error",
		exit_code: 4,
		error: "exited 4",
		result: "why",
	});
	expect({ running, timedOut }).toEqual({ running: [], timedOut: false });
	expect((await box.bg(["wait", good])).code).toBe(0);
});

test("wait --any returns with the first", async () => {
	const box = sandbox();
	const long = await box.run(["sleep", "60"]);
	const short = await box.run(["true"]);
	const { tasks, running } = (
		await box.bg(["wait", "--any", long, short])
	).json();
	expect(tasks).toMatchObject([{ id: short, taskId: short }]);
	expect(running).toEqual([long]);
	await box.bg(["cancel", long]);
});

test("wait --timeout exits 124 and says what still runs", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "60"]);
	const answer = await box.bg(["wait", id, "--timeout", "0.2s"]);
	expect(answer.code).toBe(124);
	expect(answer.json()).toEqual({ tasks: [], running: [id], timedOut: true });
	const text = await box.bg(["wait", id, "--timeout", "0.1s", "--text"]);
	expect(text.stdout).toBe(`1 unfinished: ${id}\n`);
	await box.bg(["cancel", id]);
	expect((await box.bg(["wait", "--timeout", "5w"])).code).toBe(2);
});

test("wait without ids sees tasks that others launch and finish meanwhile", async () => {
	const box = sandbox();
	const go = join(box.home, "go");
	const first = await box.run([
		"sh",
		"-c",
		`while ! test -e ${go}; do sleep 0.2; done`,
	]);
	const waiting = box.bg(["wait"]);
	await untilWatching(box, "wait");
	const second = await box.run(["echo", "second"]);
	await box.untilTask(second, ({ completed_at }) => completed_at, "its end");
	await Bun.write(go, "");
	const { tasks } = (await waiting).json();
	const ids = tasks.map(({ taskId }: { id: string; taskId: string }) => taskId);
	expect(ids).toContain(first);
	expect(ids).toContain(second);
});

test("wait without ids takes this session's alone, and with nothing to do returns", async () => {
	const box = sandbox();
	const other = await box.run(["sleep", "60"]);
	const mine = { env: { BG_SESSION_ID: "mine" } };
	const nothing = await box.bg(["wait"], mine);
	expect(nothing.json()).toEqual({ tasks: [], running: [], timedOut: false });
	await box.bg(["cancel", other]);
});

test("wait inside a task leaves out that task, and refuses to wait for it by id", async () => {
	const box = sandbox();
	const bg = program.map((word) => `'${word}'`).join(" ");
	const id = await box.run([
		"sh",
		"-c",
		`${bg} wait --timeout 20s; echo "code $?"; ${bg} wait $BG_TASK_ID; echo "code $?"`,
	]);
	const { tasks } = (await box.bg(["wait", id])).json();
	expect(tasks[0].result).toContain(
		'{"tasks":[],"running":[],"timedOut":false}\ncode 0',
	);
	expect(tasks[0].result).toContain("code 2");
});

test("a record deleted while it is waited for is no reason to wait for ever", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "60"]);
	const { pid } = await box.untilTask(
		id,
		({ process }) => process,
		"a process",
	);
	const short = await box.run(["sleep", "0.3"]);
	const waiting = Bun.spawn([...program, "wait", "--text", id, short], {
		env: box.env,
		stdout: "pipe",
		stderr: "ignore",
	});
	// Once it has told of the short one, it waits for the other.
	const told = waiting.stdout.getReader();
	await told.read();
	rmSync(join(box.dir, `${id}.json`));
	expect(await waiting.exited).toBe(3);
	// The supervisor knows its task, and writes its end all the same.
	process.kill(pid ?? 0, "SIGKILL");
	const end = await until(
		() =>
			Bun.file(join(box.dir, `${id}.json`))
				.exists()
				.then((there) => there && box.record(id)),
		"the record of its end",
	);
	expect(end).toMatchObject({ status: "error", signal: "SIGKILL" });
});

test("a record that is broken does not keep the others from being waited for", async () => {
	const box = sandbox();
	const bad = await box.run(["true"]);
	await box.bg(["wait", bad]);
	writeFileSync(join(box.dir, `${bad}.json`), "{");
	const good = await box.run(["sleep", "0.3"]);
	const answer = await box.bg(["wait", bad, good]);
	expect(answer.code).toBe(3);
	expect(answer.json()).toMatchObject({
		tasks: [{ id: good, taskId: good, status: "completed" }],
		missing: [bad],
	});
});

test("wait without ids leaves out an old record that nobody watches", async () => {
	const box = sandbox();
	mkdirSync(box.dir, { mode: 0o700 });
	const old = { id: "bg_1a2b3c4d", status: "running" };
	writeFileSync(join(box.dir, "bg_1a2b3c4d.json"), JSON.stringify(old));
	expect((await box.bg(["wait"])).json().running).toEqual([]);
});

test("waiting for a task that is not there says so", async () => {
	const box = sandbox();
	expect(await box.bg(["wait", "bg_0123456789"])).toMatchObject({ code: 3 });
});

const idsOf = (tasks: { id: string }[]) => tasks.map(({ id }) => id).sort();

test("wait without ids also returns what ended in this session and no answer has shown, once", async () => {
	const box = sandbox();
	const mine = { env: { BG_SESSION_ID: parent } };
	const wait = async (...args: string[]) =>
		(await box.bg(["wait", ...args], mine)).json().tasks;
	const ids = ["one", "two"].map((words) => addEnd(box, parent, words));
	addEnd(box, other);
	expect(await wait("--session", other)).toEqual([]);
	expect((await box.bg(["wait"])).json().tasks).toEqual([]);
	expect(idsOf(await wait())).toEqual(ids);
	expect(await wait()).toEqual([]);
	// A notice shows an end in a few words: wait returns it once more.
	const told = addEnd(box, parent, "three");
	expect(noticeIn(await send(box, toolUse(parent)))).toContain(told);
	expect((await send(box, toolUse(parent))).stdout).toBe("");
	const live = addTask(box, { parent_session_id: parent });
	const any = await wait("--any");
	expect(any).toMatchObject([{ id: told, result: "three" }]);
	expect(await wait("--timeout", "0.1s")).toEqual([]);
	await box.bg(["complete", live, "over"], mine);
	expect(idsOf(await wait())).toEqual([live]);
});

test.each([["wait"], ["output"], ["result"], ["status"]])(
	"what %s printed after its notice is not returned by wait",
	async (verb) => {
		const box = sandbox();
		const mine = { env: { BG_SESSION_ID: parent } };
		const id = addEnd(box, parent, "words");
		expect(noticeIn(await send(box, toolUse(parent)))).toContain(id);
		expect((await box.bg([verb, id], mine)).code).toBe(0);
		expect((await box.bg(["wait"], mine)).json().tasks).toEqual([]);
	},
);
