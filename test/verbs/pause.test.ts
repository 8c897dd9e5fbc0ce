import { describe, expect } from "bun:test";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "../../lib/process/proc.ts";
import { updateTask } from "../../lib/store/records.ts";
import { isFinal, timestamp } from "../../lib/task/states.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	isAlive,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { stopOf } from "../tools/hooks.ts";
import { endOf, outputOf, running, script, treeOf } from "../tools/scripts.ts";

describe("pause", () => {
	const stateOf = (pid: number) =>
		/^State:\s+(\S)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];

	concurrentTest(
		"holds the whole tree where it is until unpause, and says so",
		async () => {
			const box = sandbox();
			const writing = "while :; do echo x; sleep 0.02; done";
			const id = await script(
				box,
				[],
				`setsid sh -c '${writing}' & ${writing}`,
			);
			const size = () => statSync(join(box.dir, `${id}.out`)).size;
			await running(box, id);
			await until(size, "its output");
			const answer = await box.bg(["pause", id]);
			expect(answer.json()).toMatchObject({
				tasks: [{ id, taskId: id, status: "running", paused: true }],
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
		},
	);

	concurrentTest("keeps no task from being cancelled", async () => {
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

	concurrentTest.each(["pause", "unpause"])(
		"%s is refused once a task is over",
		async (verb) => {
			const box = sandbox();
			const id = await script(box, [], "true");
			await endOf(box, id);
			const answer = await box.bg([verb, id]);
			expect(answer).toMatchObject({ code: 111 });
			expect(answer.error).toContain(` ${id} is already completed (`);
			expect(answer.error).toEndWith(` status ${id})\n`);
			expect(box.record(id)).not.toHaveProperty("paused_at");
		},
	);
});

concurrentTest("what a paused task leaves behind goes on", async () => {
	const box = sandbox();
	for (const isSupervised of [true, false]) {
		const go = join(box.home, `${isSupervised}`);
		const untilGo = `until test -e ${go}; do sleep 0.2; done`;
		const id = await script(box, [], `(${untilGo}) & wait`);
		const { pid = 0, supervisor } = await running(box, id);
		await until(() => treeOf(id).length > 1, "its child");
		await box.bg(["pause", id]);
		const dead = isSupervised ? [pid] : [supervisor?.pid ?? 0, pid];
		for (const each of dead) process.kill(each, "SIGKILL");
		await until(() => !dead.some(isAlive), "their death");
		await until(
			async () => isFinal((await box.bg(["status", id])).json()),
			"an end",
		);
		writeFileSync(go, "");
		await until(() => treeOf(id).length === 0, "its child to end");
	}
});

describe("a call of bg inside of a task that holds a lock", () => {
	/** A task that holds a lock for a second once a file is there. */
	async function runHolder(box: Sandbox, lock = "") {
		const locks = join(root, "lib", "store", "locks.ts");
		const code = `
			const { withLock } = await import(${JSON.stringify(locks)});
			const { existsSync } = await import("node:fs");
			const name = ${JSON.stringify(lock)} || process.env.BG_TASK_ID;
			while (!existsSync("go")) Bun.sleepSync(20);
			withLock({ dir: process.env.BG_DIR }, { name, timeoutMs: 30_000 }, () => {
				console.log("locked", process.pid);
				Bun.sleepSync(1000);
			});
			Bun.sleepSync(600_000);`;
		const id = await box.run([process.execPath, "-e", code]);
		await running(box, id);
		return id;
	}

	const locked = async (box: Sandbox, id: string) => {
		writeFileSync(join(box.home, "go"), "");
		const holder = () => /^locked (\d+)$/m.exec(outputOf(box, id))?.[1];
		return Number(await until(holder, "the lock"));
	};

	concurrentTest("releases it before it is paused", async () => {
		const box = sandbox();
		const id = await runHolder(box, "queue,here");
		const holder = await locked(box, id);
		expect(await box.bg(["pause", id])).toMatchObject({ code: 0 });
		expect(readdirSync(join(box.dir, ".locks"))).not.toContain("queue,here");
		expect(readProcess(holder)?.paused).toBe(true);
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
	});

	concurrentTest(
		"is not paused if its task is continued meanwhile",
		async () => {
			const box = sandbox();
			const id = await runHolder(box, "queue,here");
			const holder = await locked(box, id);
			const pausing = box.bg(["pause", id]);
			await box.untilTask(id, (task) => task.paused_at, "its pause");
			expect(await box.bg(["unpause", id])).toMatchObject({ code: 0 });
			await pausing;
			expect(box.record(id)).not.toHaveProperty("paused_at");
			expect(readProcess(holder)?.paused).toBe(false);
			expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
		},
	);

	concurrentTest("does not keep its task from going on", async () => {
		const box = sandbox();
		const id = await runHolder(box);
		updateTask(box, id, (task) => ({ ...task, paused_at: timestamp() }));
		process.kill(await locked(box, id), "SIGSTOP");
		expect(await box.bg(["unpause", id])).toMatchObject({ code: 0 });
		expect(box.record(id)).not.toHaveProperty("paused_at");
		expect(await box.bg(["cancel", id])).toMatchObject({ code: 0 });
	});
});

concurrentTest("what a paused attempt leaves behind goes on", async () => {
	const box = sandbox();
	const untilGo = "until test -e go; do sleep 0.2; done";
	const id = await script(box, ["--retries", "1"], `(${untilGo}) & wait`);
	const { pid = 0 } = await running(box, id);
	await until(() => treeOf(id).length > 1, "its child");
	await box.bg(["pause", id]);
	process.kill(pid, "SIGKILL");
	const next = await box.untilTask(
		id,
		(task) => task.attempt === 2 && task,
		"the next attempt",
	);
	expect(next).toMatchObject({
		status: "queued",
		paused_at: expect.any(String),
	});
	writeFileSync(join(box.home, "go"), "");
	await until(() => treeOf(id).length === 0, "its child to end");
	await box.bg(["unpause", id]);
	expect(await endOf(box, id)).toMatchObject({ status: "completed" });
});

concurrentTest.each([
	["complete", ""],
	["complete", "exec env -i "],
	["hook-complete", ""],
])("what was held and then ended by %s goes on: %s", async (verb, before) => {
	const box = sandbox();
	const untilGo = "until test -e go; do sleep 0.2; done; echo over";
	const id = await script(box, [], `${before}sh -c '${untilGo}'`);
	const { session_id = "" } = await running(box, id);
	await box.bg(["pause", id]);
	const answer =
		verb === "complete"
			? await box.bg([verb, id, "early"])
			: await box.bg([verb], {
					input: JSON.stringify(stopOf(session_id, { task_result: "early" })),
				});
	expect(answer.json()).toMatchObject({ id, completed: true });
	writeFileSync(join(box.home, "go"), "");
	await until(
		() => outputOf(box, id) === "over\n",
		"the process to end",
		() => outputOf(box, id),
	);
});

concurrentTest("prune continues what an end by hand left held", async () => {
	const box = sandbox();
	const untilGo = "until test -e go; do sleep 0.2; done";
	const id = await script(box, [], untilGo);
	const { pid = 0 } = await running(box, id);
	await box.bg(["complete", id, "early"]);
	// As if the one that completed it had been killed before it continued the process.
	updateTask(box, id, (task) => ({ ...task, paused_at: timestamp() }));
	process.kill(pid, "SIGSTOP");
	writeFileSync(join(box.home, "go"), "");
	expect((await box.bg(["prune", "--dry-run"])).code).toBe(0);
	expect(readProcess(pid)?.paused).toBe(true);
	expect((await box.bg(["prune"])).code).toBe(0);
	await until(() => treeOf(id).length === 0, "the process to end");
});
