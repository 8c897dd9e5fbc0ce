import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { answersIn, command, filesOf, launch } from "../tools/batch.ts";
import {
	type Answer,
	isAlive,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";

describe("--unique", () => {
	const unique = (box: Sandbox, key: string, command: string[], env = {}) =>
		box.bg(["run", `--unique=${key}`, "d", "--", ...command], { env });

	test("answers with the task that is running or queued, and makes a new one once it is over", async () => {
		const box = sandbox();
		const env = { BG_MAX_RUNNING: "1" };
		const first = (await unique(box, "a", ["sleep", "60"], env)).json();
		await box.untilTask(first.taskId, ({ process }) => process, "its process");
		const queued = (await unique(box, "b", ["true"], env)).json();
		expect(first).not.toHaveProperty("existing");
		expect((await unique(box, "a", ["true"], env)).json()).toEqual({
			id: first.taskId,
			taskId: first.taskId,
			sessionId: first.sessionId,
			description: "d",
			status: "running",
			existing: true,
		});
		expect((await unique(box, "b", ["true"], env)).json()).toMatchObject({
			id: queued.taskId,
			taskId: queued.taskId,
			status: "queued",
			existing: true,
		});
		await box.bg(["cancel", first.taskId]);
		await box.bg(["wait"]);
		const next = (await unique(box, "a", ["true"])).json();
		expect(next.taskId).not.toBe(first.taskId);
		expect(next).not.toHaveProperty("existing");
		await box.bg(["wait"]);
	});

	test("makes one task where ten launch at the same moment", async () => {
		const play = async () => {
			const box = sandbox();
			const answers = await Promise.all(
				Array.from({ length: 10 }, () => unique(box, "k", ["sleep", "600"])),
			);
			return { box, answers };
		};
		let { box, answers } = await play();
		// One that waits for another gives up after 5 s: the machine was too slow.
		const isGivenUp = ({ error }: Answer) =>
			/is being launched by|unable to lock/.test(error);
		for (let tries = 1; tries < 4 && answers.some(isGivenUp); tries++) {
			await box.bg(["cancel", "--all"]);
			({ box, answers } = await play());
		}
		const all = answers.map(({ json }) => json());
		expect(new Set(all.map(({ taskId }) => taskId)).size).toBe(1);
		expect(all.filter(({ existing }) => existing)).toHaveLength(9);
		expect((await box.bg(["list"])).json().total).toBe(1);
		await box.bg(["cancel", all[0].taskId]);
	});

	test("makes a new one where supervisor and process were killed with -9", async () => {
		const box = sandbox();
		const { taskId } = (await unique(box, "k", ["sleep", "60"])).json();
		const task = await box.untilTask(taskId, ({ pid }) => pid, "its process");
		for (const pid of [task.supervisor?.pid ?? 0, task.pid ?? 0]) {
			process.kill(pid, "SIGKILL");
			await until(() => !isAlive(pid), "its death");
		}
		const next = (await unique(box, "k", ["true"])).json();
		expect(next.taskId).not.toBe(taskId);
		expect(next).not.toHaveProperty("existing");
		await box.bg(["wait"]);
	});

	test("takes any text as a key", async () => {
		const box = sandbox();
		const keys = ["../../x", "/", "日本 😀 'x' $(y)", "-x", "k".repeat(200)];
		for (const key of keys) {
			const { taskId } = (await unique(box, key, ["sleep", "60"])).json();
			const again = (await unique(box, key, ["true"])).json();
			expect(again).toMatchObject({ taskId, existing: true });
			expect(box.record(taskId)).toMatchObject({ unique_key: key });
		}
		expect((await box.bg(["list"])).json().total).toBe(keys.length);
		await box.bg(["cancel", "--all"]);
	});

	test("refuses an empty key, a long one, and control characters", async () => {
		const box = sandbox();
		const keys = ["", " ", "k".repeat(201), "a\nb", "\u0007", "a\u0085"];
		for (const key of keys) {
			const { code, error } = await unique(box, key, ["true"]);
			expect([key, code]).toEqual([key, 2]);
			expect(error).toStartWith("bg: --unique takes a key");
		}
		expect(filesOf(box)).toEqual([]);
	});

	test("in a batch: two lines with a key make one task, and who names the second waits for it", async () => {
		const box = sandbox();
		const before = (await unique(box, "old", ["sleep", "60"])).json();
		const answer = await launch(box, [
			command("a", "sleep 0.3; echo a >>log", { unique: "k" }),
			command("b", "echo b >>log", { unique: "k" }),
			command("c", "echo c >>log", { after: "b" }),
			command("x", "true", { unique: "old" }),
			command("y", "echo y >>log", { after_any: "x" }),
		]);
		const [a, b, c, x, y] = answersIn(answer.stdout);
		expect(b).toMatchObject({
			id: a.taskId,
			taskId: a.taskId,
			existing: true,
			name: "b",
		});
		expect(x).toMatchObject({
			id: before.taskId,
			taskId: before.taskId,
			existing: true,
		});
		expect(box.record(c.taskId).after).toEqual([a.taskId]);
		expect(box.record(y.taskId).after).toEqual([before.taskId]);
		await box.bg(["wait", c.taskId]);
		expect(box.record(y.taskId).status).toBe("queued");
		await box.bg(["cancel", before.taskId]);
		await box.bg(["wait"]);
		expect(readFileSync(join(box.home, "log"), "utf8")).toBe("a\nc\ny\n");
		expect((await box.bg(["list"])).json().total).toBe(4);
	});
});
