import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { answersIn, command, launch } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { linesOf, type Sandbox, sandbox } from "../tools/harness.ts";
import {
	block,
	entries,
	isEmpty,
	isOver,
	isReady,
	one,
	run,
} from "../tools/queue.ts";

const edit = async (box: Sandbox, id: string, ...flags: string[]) => {
	const answer = await box.bg(["edit", id, ...flags]);
	expect([answer.code, answer.error]).toEqual([0, ""]);
	return answer.json();
};

concurrentTest(
	"edit changes the order of those that wait, and answers with what holds now",
	async () => {
		const box = sandbox();
		const log = join(box.home, "log");
		const script = ["sh", "-c", 'echo "$BG_TASK_ID" >>"$0"', log];
		const blocker = await block(box);
		const ids: string[] = [];
		for (let n = 0; n < 4; n++) ids.push(await run(box, script, { env: one }));
		await isReady(box, 4);
		const [a = "", b = "", c = "", d = ""] = ids;
		expect(await edit(box, c, "--priority", "7")).toEqual({
			id: c,
			taskId: c,
			status: "queued",
			priority: 7,
		});
		await edit(box, a, "--priority", "-1");
		await edit(box, d, "--priority", "7");
		await edit(box, d, "--priority", "1", "--timeout", "30m");
		const text = await box.bg(["edit", b, "--timeout", "90s", "--text"]);
		expect(text.stdout).toBe(`${b}  queued, priority 0, timeout 90s\n`);
		expect(box.record(d)).toMatchObject({ priority: 1, timeout_ms: 1_800_000 });
		// Those that wait are as they were launched: the first in line alone is awake.
		const isParked = (id: string) => existsSync(join(box.dir, ".parked", id));
		expect(ids.filter(isParked).length).toBeGreaterThanOrEqual(2);
		expect(box.record(c).supervisor?.pid).toBeGreaterThan(0);
		blocker.open();
		expect((await box.bg(["wait", ...ids])).code).toBe(0);
		expect(linesOf(log)).toEqual([c, d, b, a]);
		await isEmpty(box);
	},
);

concurrentTest(
	"edit changes the order within a batch, and of its tasks against others",
	async () => {
		const box = sandbox();
		const log = join(box.home, "log");
		const blocker = await block(box);
		await box.bg(["limit", "running", "1"]);
		const say = (name: string) => command(name, `echo ${name} >>${log}`);
		const lines = ["a", "b", "c"].map(say);
		const { stdout } = await launch(box, lines);
		const [a, b, c] = answersIn(stdout).map(({ taskId }) => taskId);
		const single = await run(box, ["sh", "-c", 'echo s >>"$0"', log]);
		await isReady(box, 4);
		await edit(box, c, "--priority", "2");
		await edit(box, single, "--priority", "1");
		blocker.open();
		expect((await box.bg(["wait", a, b, c, single])).code).toBe(0);
		expect(linesOf(log)).toEqual(["c", "s", "a", "b"]);
		await isEmpty(box);
	},
);

concurrentTest.each(["parked", "in a batch", "held by another task"])(
	"a time limit that edit sets holds for a task that waits %s",
	async (what) => {
		const box = sandbox();
		const blocker = await block(box);
		const flags =
			what === "held by another task" ? ["--after", blocker.id] : [];
		let id: string;
		if (what === "in a batch") {
			await box.bg(["limit", "running", "1"]);
			const { stdout } = await launch(box, [command("a", "exec sleep 600")]);
			id = answersIn(stdout)[0].taskId;
		} else id = await run(box, ["sleep", "600"], { flags, env: one });
		await edit(box, id, "--timeout", "1s");
		blocker.open();
		expect(await isOver(box, id)).toMatchObject({
			status: "error",
			reason: "timeout",
			timeout_ms: 1000,
		});
		await isEmpty(box);
	},
);

concurrentTest(
	"of two edits at once the record and the order have the same one",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const id = await run(box, ["true"], { env: one });
		await isReady(box);
		const values = [1, 2, 3, 4, 5, 6];
		await Promise.all(
			values.map((value) => edit(box, id, "--priority", `${value}`)),
		);
		const { priority = 0 } = box.record(id);
		expect(values).toContain(priority);
		expect(entries(box, "queue").filter((name) => name.includes(id))).toEqual([
			expect.stringContaining(`,${999 - priority},`),
		]);
		blocker.open();
		await isEmpty(box);
	},
);

test("edit refuses what is not queued, what it does not take, and what is not there", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const refusals: [string[], number, string][] = [
		[[blocker.id, "--priority", "1"], 111, "is running: only a queued task"],
		[[blocker.id], 2, "nothing to change"],
		[[blocker.id, "--priority", "1000"], 2, "a number from -999 to 999"],
		[[blocker.id, "--priority", "x"], 2, "--priority x: it takes"],
		[[blocker.id, "--timeout", "0s"], 2, "--timeout 0s: it takes"],
		[["bg_00000000", "--priority", "1"], 3, "no task"],
	];
	for (const [words, code, says] of refusals) {
		const answer = await box.bg(["edit", ...words]);
		expect([...words, answer.code]).toEqual([...words, code]);
		expect(answer.error).toContain(says);
	}
	blocker.open();
	await isOver(box, blocker.id);
	const over = await box.bg(["edit", blocker.id, "--priority", "1"]);
	expect(over.code).toBe(111);
	expect(over.error).toContain("is completed: only a queued task");
	expect(box.record(blocker.id)).not.toHaveProperty("priority");
	await isEmpty(box);
});
