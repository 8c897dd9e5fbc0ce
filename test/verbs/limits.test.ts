import { describe, expect, test } from "bun:test";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import {
	isAlive,
	processesWith,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";

/** Launches a shell script with flags and returns its id. */
async function script(
	box: Sandbox,
	flags: string[],
	text: string,
	env = {},
): Promise<string> {
	const words = ["run", "-q", ...flags, "d", "--", "sh", "-c", text];
	const { stdout, stderr } = await box.bg(words, { env });
	if (stderr) throw new Error(stderr);
	return stdout.trim();
}

/** The record of a task once it is over. */
async function endOf(box: Sandbox, id: string) {
	await box.bg(["wait", id]);
	return box.record(id);
}

const output = (box: Sandbox, name: string) =>
	readFileSync(join(box.dir, `${name}.out`), "utf8");

const treeOf = (id: string) => processesWith(`BG_TASK_ID=${id}`);

const running = (box: Sandbox, id: string) =>
	box.untilTask(id, ({ process }) => process, "its process");

test.each([
	["timeout", ["0s", "", "1", "1x", "-1s", "1.5", "1h30m", "9999999999d"]],
	["retries", ["-1", "101", "x", "1.5", ""]],
	["max-output", ["0", "-1", "1T", "x", ""]],
])("--%s refuses what makes no sense: %j", async (flag, values) => {
	const box = sandbox();
	for (const value of values) {
		const words = ["run", `--${flag}=${value}`, "d", "--", "true"];
		const { code, stderr } = await box.bg(words);
		expect([value, code]).toEqual([value, 2]);
		expect(stderr).toStartWith(`bg: --${flag} ${value}: it takes a `);
	}
	expect((await box.bg(["list"])).json().total).toBe(0);
});

describe("--timeout", () => {
	test("stops the whole tree, with force what takes no notice, and keeps what it wrote", async () => {
		const box = sandbox();
		const deaf =
			'trap "" TERM; echo $$ >deaf; while :; do echo deaf; sleep 0.2; done';
		const id = await script(
			box,
			["--timeout", "3s"],
			`setsid sh -c '${deaf}' & until test -s deaf; do sleep 0.05; done; sleep 60`,
		);
		const task = await endOf(box, id);
		expect(task).toMatchObject({
			status: "error",
			reason: "timeout",
			error: "timed out after 3s",
		});
		const pid = Number(readFileSync(join(box.home, "deaf"), "utf8"));
		expect([pid > 0, isAlive(pid), treeOf(id)]).toEqual([true, false, []]);
		expect(output(box, id)).toContain("deaf\n");
		const took =
			Date.parse(task.completed_at ?? "") - Date.parse(task.started_at ?? "");
		expect(took).toBeGreaterThan(7900);
	});

	test("does not count the time a task is paused", async () => {
		const box = sandbox();
		const id = await script(
			box,
			["--timeout", "5s"],
			"until test -e go; do sleep 0.05; done",
		);
		await running(box, id);
		await box.bg(["pause", id]);
		await Bun.sleep(6500);
		expect(box.record(id)).toMatchObject({ status: "running" });
		writeFileSync(join(box.home, "go"), "");
		await box.bg(["unpause", id]);
		expect(await endOf(box, id)).toMatchObject({ status: "completed" });
	});

	test("does not count the time between two attempts", async () => {
		const box = sandbox();
		const flags = ["--retries", "3", "--timeout", "2s"];
		const id = await script(box, flags, "exit 1");
		await box.untilTask(id, ({ attempt }) => attempt === 4, "a long pause");
		await box.bg(["pause", id]);
		await box.bg(["unpause", id]);
		expect(await endOf(box, id)).toMatchObject({ reason: "exit", attempt: 4 });
	});

	test.each(["30d", "99999999d"])(
		"of %s does not fire at once",
		async (given) => {
			const box = sandbox();
			const id = await script(box, ["--timeout", given], "sleep 1.5");
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
		},
	);
});

describe("--retries", () => {
	/** Counts its attempts in a file, and ends with their number. */
	const counting = `n=$(($(cat n 2>/dev/null) + 1)); echo $n >n; echo attempt $n`;

	test("tries again after an error, and keeps of each attempt how it ended and what it wrote", async () => {
		const box = sandbox();
		const id = await script(box, ["--retries", "2"], `${counting}; exit $n`);
		const task = await endOf(box, id);
		expect(task).toMatchObject({
			status: "error",
			reason: "exit",
			exit_code: 3,
			attempt: 3,
			attempts: [
				{ attempt: 1, exit_code: 1, error: "exited 1" },
				{ attempt: 2, exit_code: 2, error: "exited 2" },
			],
		});
		const wrote = [`${id}.1`, `${id}.2`, id].map((each) => output(box, each));
		expect(wrote).toEqual(["attempt 1\n", "attempt 2\n", "attempt 3\n"]);
		for (const { started_at, completed_at } of task.attempts ?? [])
			expect((started_at ?? "z") <= (completed_at ?? "")).toBe(true);
	});

	test("ends as completed with the first attempt that succeeds", async () => {
		const box = sandbox();
		const id = await script(
			box,
			["--retries", "5"],
			`${counting}; test $n = 2`,
		);
		const task = await endOf(box, id);
		expect(task).toMatchObject({
			status: "completed",
			exit_code: 0,
			attempt: 2,
			result: "attempt 2",
		});
		expect(task.attempts).toHaveLength(1);
		expect(task).not.toHaveProperty("error");
	});

	test("leaves its place to others until the next attempt, and is queued meanwhile", async () => {
		const box = sandbox();
		const env = { BG_MAX_RUNNING: "1" };
		const id = await script(
			box,
			["--retries", "1"],
			"until test -e go; do sleep 0.05; done; test -e other",
			env,
		);
		await running(box, id);
		const record = join(box.dir, `${id}.json`);
		const other = await script(
			box,
			[],
			`until grep -q '"status": "queued"' ${record}; do sleep 0.05; done; touch other`,
			env,
		);
		expect(box.record(other).status).toBe("queued");
		writeFileSync(join(box.home, "go"), "");
		expect(await endOf(box, other)).toMatchObject({ status: "completed" });
		expect(await endOf(box, id)).toMatchObject({
			status: "completed",
			attempts: [{ attempt: 1, exit_code: 1 }],
		});
	});

	test("tries again what could not be started", async () => {
		const box = sandbox();
		const words = ["run", "-q", "--retries", "1", "d", "--", "/none/such"];
		const { stdout } = await box.bg(words);
		expect(await endOf(box, stdout.trim())).toMatchObject({
			status: "error",
			reason: "spawn",
			attempts: [
				{ attempt: 1, error: expect.stringContaining("never started") },
			],
		});
	});

	test("does not try again what was cancelled, timed out or never could start", async () => {
		const box = sandbox();
		const flags = ["--retries", "3"];
		const late = await script(box, [...flags, "--timeout", "1s"], "sleep 60");
		const failed = await script(box, [], "exit 1");
		const after = await script(box, [...flags, "--after", failed], "true");
		const cancelled = await script(box, flags, "sleep 60");
		await running(box, cancelled);
		await box.bg(["cancel", cancelled]);
		const between = await script(box, ["--retries", "99"], "exit 1");
		await box.untilTask(between, ({ attempt }) => attempt === 3, "a try");
		await box.bg(["cancel", between]);
		const ends = await Promise.all(
			[late, after, cancelled, between].map((id) => endOf(box, id)),
		);
		expect(ends.map(({ reason, attempts }) => [reason, !attempts])).toEqual([
			["timeout", true],
			["dependency", true],
			["cancel", true],
			["cancel", false],
		]);
	});
});

describe("--max-output", () => {
	const line = (size: string) =>
		`\nbg: cut here: the task wrote more than ${size}\n`;

	test("ends a task that writes more, and keeps what fits and a line that says so", async () => {
		const box = sandbox();
		const id = await script(box, ["--max-output", "1M"], "yes & yes");
		expect(await endOf(box, id)).toMatchObject({
			status: "error",
			reason: "output-limit",
			error: "wrote more than 1M",
		});
		expect(treeOf(id)).toEqual([]);
		const written = output(box, id);
		expect(written.endsWith(line("1M"))).toBe(true);
		expect(written.length).toBe(1024 * 1024 + line("1M").length);
	});

	test("ends a task as well that reads what is written into what it writes", async () => {
		const box = sandbox();
		const first = await script(box, [], "head -c 100000 /dev/zero");
		await endOf(box, first);
		const id = await script(
			box,
			["--max-output", "2M"],
			'while :; do cat "$BG_DIR"/*.out; done',
		);
		expect(await endOf(box, id)).toMatchObject({ reason: "output-limit" });
		expect(treeOf(id)).toEqual([]);
		expect(statSync(join(box.dir, `${id}.out`)).size).toBe(
			2 * 1024 * 1024 + line("2M").length,
		);
	});
});

describe("pause", () => {
	const stateOf = (pid: number) =>
		/^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];

	test("holds the whole tree where it is until unpause, and says so", async () => {
		const box = sandbox();
		const writing = "while :; do echo x; sleep 0.02; done";
		const id = await script(box, [], `setsid sh -c '${writing}' & ${writing}`);
		const size = () => statSync(join(box.dir, `${id}.out`)).size;
		await running(box, id);
		await until(size, "its output");
		const answer = await box.bg(["pause", id]);
		expect(answer.json()).toMatchObject({
			tasks: [{ taskId: id, status: "running", paused: true }],
		});
		const states = treeOf(id).map(({ pid }) => stateOf(pid));
		expect(states.length).toBeGreaterThan(1);
		expect(new Set(states)).toEqual(new Set(["T"]));
		const before = size();
		const { json } = await box.bg(["status", id]);
		expect(json()).toMatchObject({
			status: "running",
			paused_at: expect.any(String),
			note: "paused",
		});
		const [row] = (await box.bg(["list"])).json().tasks;
		expect(row).toMatchObject({ id, note: "paused" });
		expect(size()).toBe(before);
		await box.bg(["unpause", id]);
		await until(() => size() > before, "more output");
		expect(box.record(id)).not.toHaveProperty("paused_at");
		await box.bg(["cancel", id]);
	});

	test("keeps no task from being cancelled", async () => {
		const box = sandbox();
		const id = await script(box, [], "sleep 60 & sleep 60");
		await running(box, id);
		await box.bg(["pause", id]);
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
		expect(treeOf(id)).toEqual([]);
		expect(await endOf(box, id)).toMatchObject({
			status: "cancelled",
			reason: "cancel",
		});
	});

	test.each(["pause", "unpause"])(
		"%s is refused once a task is over",
		async (verb) => {
			const box = sandbox();
			const id = await script(box, [], "true");
			await endOf(box, id);
			const answer = await box.bg([verb, id]);
			expect(answer).toMatchObject({ code: 111 });
			expect(answer.stderr).toContain(` ${id} is already completed (`);
			expect(answer.stderr).toEndWith(` status ${id})\n`);
			expect(box.record(id)).not.toHaveProperty("paused_at");
		},
	);
});

test("time in which nobody could look, as on a sleeping machine, does not count", async () => {
	const box = sandbox();
	const id = await script(box, ["--timeout", "5s"], "sleep 60");
	const { supervisor } = await running(box, id);
	const pid = supervisor?.pid ?? 0;
	process.kill(pid, "SIGSTOP");
	await Bun.sleep(6000);
	process.kill(pid, "SIGCONT");
	await Bun.sleep(500);
	expect(box.record(id).status).toBe("running");
	expect(await endOf(box, id)).toMatchObject({ reason: "timeout" });
});

test("a limit holds though the record could not be read for a while", async () => {
	const box = sandbox();
	const id = await script(box, ["--timeout", "4s"], "sleep 60");
	await running(box, id);
	const path = join(box.dir, `${id}.json`);
	renameSync(path, `${path}.away`);
	await Bun.sleep(1500);
	renameSync(`${path}.away`, path);
	expect(await endOf(box, id)).toMatchObject({ reason: "timeout" });
});

test("what a paused task leaves behind goes on", async () => {
	const box = sandbox();
	for (const isSupervised of [true, false]) {
		const id = await script(box, [], "sleep 2 & wait");
		const { pid = 0, supervisor } = await running(box, id);
		await until(() => treeOf(id).length === 2, "its child");
		await box.bg(["pause", id]);
		const dead = isSupervised ? [pid] : [supervisor?.pid ?? 0, pid];
		for (const each of dead) process.kill(each, "SIGKILL");
		await until(() => !dead.some(isAlive), "their death");
		await until(
			async () => isFinal((await box.bg(["status", id])).json()),
			"an end",
		);
		await until(() => treeOf(id).length === 0, "its child to end");
	}
});

test("what was held and then ended by hand can go on", async () => {
	const box = sandbox();
	const id = await script(box, [], "sleep 2; echo over");
	await running(box, id);
	await box.bg(["pause", id]);
	await box.bg(["complete", id, "early"]);
	expect((await box.bg(["unpause", id])).code).toBe(0);
	await until(() => treeOf(id).length === 0, "the process to end");
	expect(output(box, id)).toBe("over\n");
});

test("what an attempt left behind is not taken for the next one", async () => {
	const box = sandbox();
	const id = await script(box, ["--retries", "5"], "setsid sleep 600 & exit 3");
	const between = await box.untilTask(
		id,
		({ status, attempt }) => status === "queued" && (attempt ?? 1) > 2,
		"a pause between two attempts",
	);
	process.kill(between.supervisor?.pid ?? 0, "SIGKILL");
	await until(() => !isAlive(between.supervisor?.pid ?? 0), "its death");
	expect((await box.bg(["status", id])).json()).toMatchObject({
		status: "error",
		reason: "lost",
		error: "its supervisor died between two attempts",
	});
	await box.bg(["cancel", id]);
});
