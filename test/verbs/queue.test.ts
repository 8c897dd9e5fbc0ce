import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "../../lib/process/proc.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { isAlive, linesOf, sandbox, standIn, until } from "../tools/harness.ts";
import {
	aWhile,
	block,
	entries,
	isEmpty,
	isOver,
	isReady,
	isRunning,
	kill,
	one,
	run,
} from "../tools/queue.ts";

test("the higher priority starts first, and of the same one the oldest", async () => {
	const box = sandbox();
	const log = join(box.home, "log");
	const blocker = await block(box);
	const ids: string[] = [];
	for (const priority of [0, -5, 7, 0, 999, 7, -999, 0]) {
		const flags = ["--priority", String(priority)];
		const command = ["sh", "-c", 'echo "$BG_TASK_ID" >>"$0"', log];
		ids.push(await run(box, command, { flags, env: one }));
	}
	await isReady(box, ids.length);
	blocker.open();
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	const order = [4, 2, 5, 0, 3, 7, 1, 6].map((n) => ids[n]);
	expect(linesOf(log)).toEqual(order.map(String));
	await isEmpty(box);
});

test("BG_MAX_PER_DROID holds droids of one name; another goes on", async () => {
	const box = sandbox();
	const env = { BG_DROID: standIn, BG_MAX_PER_DROID: "1" };
	const gate = join(box.home, "gate");
	const held = `RUN[until test -e ${gate}; do sleep 0.2; done]`;
	const launch = async (prompt: string, droid: string) => {
		const answer = await box.bg(["launch", "-q", "d", prompt, droid], { env });
		return answer.stdout.trim();
	};
	const first = await launch(held, "hephaestus");
	await isRunning(box, first);
	const second = await launch("SAY[hi]", "hephaestus");
	const other = await launch("SAY[hi]", "explorer");
	const command = await run(box, ["true"], { env });
	expect((await box.bg(["wait", other, command])).code).toBe(0);
	expect(box.record(first).status).toBe("running");
	expect(box.record(second).status).toBe("queued");
	writeFileSync(gate, "");
	expect((await box.bg(["wait", first, second])).code).toBe(0);
	const [before, after] = [box.record(first), box.record(second)];
	expect(`${after.started_at}` >= `${before.completed_at}`).toBe(true);
	await isEmpty(box);
});

test("a limit that is no number refuses the launch by its name", async () => {
	const box = sandbox();
	for (const limit of ["RUNNING", "PER_DROID", "DEPTH", "QUEUED"]) {
		const env = { [`BG_MAX_${limit}`]: "many" };
		const answer = await box.bg(["run", "d", "--", "true"], { env });
		expect(answer.code).toBe(2);
		expect(answer.error).toContain(`BG_MAX_${limit} is "many"`);
	}
	expect((await box.bg(["list"])).json().total).toBe(0);
});

test("BG_MAX_DEPTH refuses a launch from deeper", async () => {
	const box = sandbox();
	const env = { BG_MAX_DEPTH: "2", BG_DEPTH: "1" };
	const id = await run(box, ["true"], { env });
	expect(box.record(id).depth).toBe(2);
	const args = ["run", "d", "--", "true"];
	const deeper = await box.bg(args, { env: { ...env, BG_DEPTH: "2" } });
	expect(deeper.code).toBe(111);
	expect(deeper.error).toContain("BG_MAX_DEPTH is 2");
	const usual = await box.bg(args, { env: { BG_DEPTH: "3" } });
	expect(usual.code).toBe(111);
	await box.bg(["wait", id]);
	expect((await box.bg(["list"])).json().total).toBe(1);
});

test("BG_MAX_QUEUED refuses what is one too many, all of a batch, and leaves nothing of it", async () => {
	const box = sandbox();
	const env = { ...one, BG_MAX_QUEUED: "2" };
	const blocker = await block(box, env);
	const ids = [await run(box, ["true"], { env })];
	await isReady(box);
	/** The first one in line repairs the queue from time to time, under a lock. */
	const files = () =>
		readdirSync(box.dir, { recursive: true })
			.filter((name) => !/^\.(locks|tmp)\//.test(`${name}`))
			.sort();
	const before = files();
	const line = `${JSON.stringify({ description: "d", command: ["true"] })}\n`;
	const batch = await box.bg(["launch", "--batch", "-"], {
		env,
		input: line.repeat(2),
	});
	expect(batch.code).toBe(111);
	expect(batch.error).toContain(
		"1 tasks are queued, this would add 2, and BG_MAX_QUEUED is 2",
	);
	await until(() => Bun.deepEquals(files(), before), "what was there before");
	ids.push(await run(box, ["true"], { env }));
	const third = await box.bg(["run", "d", "--", "true"], { env });
	expect(third.code).toBe(111);
	expect(entries(box, "queue")).toHaveLength(2);
	blocker.open();
	expect((await box.bg(["wait", ...ids])).code).toBe(0);
	expect((await box.bg(["list"])).json().total).toBe(3);
	await isEmpty(box);
});

concurrentTest(
	"a verb that finds all of them dead wakes the one that is next",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const first = await run(box, ["true"], { env: one });
		const next = await run(box, ["true"], { env: one });
		await isReady(box, 2);
		kill(box.record(first).supervisor?.pid);
		kill(box.record(blocker.id).supervisor?.pid, box.record(blocker.id).pid);
		await box.bg(["list"]);
		expect((await isOver(box, next)).status).toBe("completed");
		expect(box.record(first).reason).toBe("lost");
	},
);

concurrentTest(
	"a task that is paused and continued while its supervisor is stopped keeps its turn",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const next = await run(box, ["true"], { env: one });
		await isReady(box);
		const { pid = 0 } = box.record(next).supervisor ?? {};
		process.kill(pid, "SIGSTOP");
		await until(() => readProcess(pid)?.paused, "its stop");
		for (const verb of ["pause", "unpause"])
			expect((await box.bg([verb, next])).code).toBe(0);
		process.kill(pid, "SIGCONT");
		await isReady(box);
		blocker.open();
		expect((await isOver(box, next)).status).toBe("completed");
		await isEmpty(box);
	},
);

concurrentTest(
	"a parked launch that is stopped and continued starts",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const first = await run(box, ["true"], { env: one });
		const next = await run(box, ["true"], { env: one });
		await isReady(box, 2);
		const { pid = 0 } = box.record(next).supervisor ?? {};
		process.kill(pid, "SIGSTOP");
		await until(() => readProcess(pid)?.paused, "its stop");
		blocker.open();
		await isOver(box, first);
		await until(() => entries(box, "slots").length === 0, "a free place");
		expect(box.record(next).status).toBe("queued");
		process.kill(pid, "SIGCONT");
		expect((await isOver(box, next)).status).toBe("completed");
		await isEmpty(box);
	},
);

concurrentTest.each([
	["another supervisor that took over", true],
	["nobody", false],
])(
	"a place is taken while the process lives, watched by %s",
	async (_, adopts) => {
		const box = sandbox();
		const blocker = await block(box);
		const { supervisor, pid } = box.record(blocker.id);
		const next = await run(box, ["true"], { env: one });
		kill(supervisor?.pid);
		await until(() => !isAlive(supervisor?.pid ?? 0), "its death");
		if (adopts) await box.bg(["list"]);
		await aWhile();
		expect(box.record(next).status).toBe("queued");
		kill(pid);
		expect(await isOver(box, next)).toMatchObject({ status: "completed" });
		expect((await box.bg(["status", blocker.id])).json().reason).toBe("lost");
		await isEmpty(box);
	},
);
