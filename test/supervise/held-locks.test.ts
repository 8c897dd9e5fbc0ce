/**
 * A living process holds the lock of a task's record: the other tasks of its supervisor have their limits,
 * the task itself can be stopped, and what happened meanwhile is recorded once the lock is free.
 */
import { expect } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { answersIn, command, toLines } from "../tools/batch.ts";
import { afterTest, concurrentTest } from "../tools/concurrent.ts";
import { isAlive, type Sandbox, sandbox, until } from "../tools/harness.ts";
import { holdLock } from "../tools/locks.ts";
import { running } from "../tools/scripts.ts";

const waitFor = (file: string) => `until test -e ${file}; do sleep 0.2; done`;

/** Launches a batch and returns its ids in the order of the lines. */
async function launchBatch(box: Sandbox, lines: object[], env = {}) {
	const words = ["launch", "--batch", "-"];
	const input = toLines(lines);
	const { stdout, error } = await box.bg(words, { input, env });
	if (error) throw new Error(error);
	return answersIn(stdout).map(({ taskId }) => String(taskId));
}

/** Holds the lock of a task until it is released or the test ends. */
function hold(box: Sandbox, id: string) {
	const free = holdLock(box.dir, id);
	let isHeld = true;
	const release = () => {
		if (isHeld) free();
		isHeld = false;
	};
	afterTest(release);
	return { isHeld: () => isHeld, release };
}

const gone = ({ pid = 0 }: Task) =>
	until(() => !isAlive(pid), `process ${pid} gone`);

const ended = (box: Sandbox, id: string) =>
	box.untilTask(id, isFinal, "an end");

concurrentTest(
	"another task's time limit fires while ends wait for locks",
	async () => {
		const box = sandbox();
		const names = ["a", "b", "c", "d", "e"];
		const [limited = "", ...locked] = await launchBatch(box, [
			command("limited", "sleep 600", { timeout: "2s" }),
			...names.map((name) => command(name, `${waitFor("go")}; exit 3`)),
		]);
		const tasks = [];
		for (const id of locked) tasks.push(await running(box, id));
		const locks = locked.map((id) => hold(box, id));
		// A supervisor that blocks at each lock is blocked for longer than this.
		const timer = setTimeout(
			() => locks.forEach(({ release }) => void release()),
			9000,
		);
		writeFileSync(join(box.home, "go"), "");
		for (const task of tasks) await gone(task);
		const end = await ended(box, limited);
		clearTimeout(timer);
		expect(end).toMatchObject({ reason: "timeout" });
		expect(locks.every(({ isHeld }) => isHeld())).toBe(true);
		expect(locked.map((id) => box.record(id).status)).not.toContain("error");
		const releasedAt = Date.now();
		for (const { release } of locks) release();
		for (const id of locked) {
			const task = await ended(box, id);
			expect(task).toMatchObject({ reason: "exit", exit_code: 3 });
			// The time is that of the end, not that of the record.
			expect(Date.parse(task.completed_at ?? "")).toBeLessThan(releasedAt);
		}
	},
);

concurrentTest(
	"a task whose record is locked is stopped at its time limit, which is recorded later",
	async () => {
		const box = sandbox();
		const [id = ""] = await launchBatch(box, [
			command("a", "sleep 600", { timeout: "10s" }),
		]);
		const task = await running(box, id);
		const lock = hold(box, id);
		await gone(task);
		expect([lock.isHeld(), box.record(id).status]).toEqual([true, "running"]);
		lock.release();
		expect(await ended(box, id)).toMatchObject({
			status: "error",
			reason: "timeout",
		});
	},
);

concurrentTest(
	"a cancel stops a task whose record is locked, and its reason stays the first",
	async () => {
		const box = sandbox();
		const deaf =
			"trap 'touch told' TERM; touch ready; while :; do sleep 0.1; done";
		const [id = ""] = await launchBatch(box, [command("a", deaf)]);
		const task = await running(box, id);
		const exists = (name: string) =>
			until(() => Bun.file(join(box.home, name)).exists(), name);
		await exists("ready");
		const lock = hold(box, id);
		const cancel = box.bg(["cancel", id]);
		await exists("told");
		process.kill(task.supervisor?.pid ?? 0, "SIGTERM");
		await gone(task);
		expect((await cancel).json().tasks[0]).toMatchObject({
			cancelled: true,
			survivors: [],
			note: expect.stringMatching(/^stopped, but its end is not recorded yet/),
		});
		expect([lock.isHeld(), box.record(id).status]).toEqual([true, "running"]);
		lock.release();
		expect(await ended(box, id)).toMatchObject({
			status: "cancelled",
			reason: "cancel",
			signal: "SIGKILL",
		});
	},
);

concurrentTest(
	"the reason of a stop is recorded while the stop is under way",
	async () => {
		const box = sandbox();
		const deaf = "trap 'touch told' TERM; while :; do sleep 0.1; done";
		const [id = ""] = await launchBatch(box, [
			command("a", deaf, { timeout: "10s" }),
		]);
		await running(box, id);
		const lock = hold(box, id);
		const told = Bun.file(join(box.home, "told"));
		await until(() => told.exists(), "the first signal");
		lock.release();
		const task = await box.untilTask(id, ({ stop }) => stop, "the reason");
		expect(task).toMatchObject({
			status: "running",
			stop: { reason: "timeout" },
		});
		expect(await ended(box, id)).toMatchObject({ signal: "SIGKILL" });
	},
);

concurrentTest(
	"a supervisor that gets SIGTERM stops its tasks, and records that of locked ones later",
	async () => {
		const box = sandbox();
		const [locked = "", free = "", queued = "", next = ""] = await launchBatch(
			box,
			[
				command("locked", "sleep 600"),
				command("free", "sleep 600"),
				command("queued", "touch started", { after: ["locked"] }),
				command("next", "touch started", { after_any: ["free"] }),
			],
		);
		const tasks = [await running(box, locked), await running(box, free)];
		const locks = [hold(box, locked), hold(box, queued)];
		process.kill(tasks[0]?.supervisor?.pid ?? 0, "SIGTERM");
		for (const task of tasks) await gone(task);
		const shutDown = { status: "cancelled", reason: "shutdown" };
		expect(await ended(box, free)).toMatchObject(shutDown);
		expect(await ended(box, next)).toMatchObject(shutDown);
		expect(locks.map(({ isHeld }) => isHeld())).toEqual([true, true]);
		expect(box.record(locked).status).toBe("running");
		expect(box.record(queued).status).toBe("queued");
		// The first end is a reason of its own not to start the second task, whose stop comes first.
		for (const [n, id] of [locked, queued].entries()) {
			locks[n]?.release();
			expect(await ended(box, id)).toMatchObject(shutDown);
		}
		expect(await Bun.file(join(box.home, "started")).exists()).toBe(false);
	},
);

concurrentTest(
	"a task whose record is locked as it starts leaves its slot to others, and starts later",
	async () => {
		const box = sandbox();
		const env = { BG_MAX_RUNNING: "1" };
		const [first = "", locked = "", last = ""] = await launchBatch(
			box,
			[
				command("first", waitFor("go"), { priority: 2 }),
				command("locked", "exit 3", { priority: 1 }),
				command("last", "exit 4"),
			],
			env,
		);
		await running(box, first);
		const lock = hold(box, locked);
		writeFileSync(join(box.home, "go"), "");
		expect(await ended(box, last)).toMatchObject({ exit_code: 4 });
		expect([lock.isHeld(), box.record(locked).status]).toEqual([
			true,
			"queued",
		]);
		lock.release();
		expect(await ended(box, locked)).toMatchObject({ exit_code: 3 });
		expect(existsSync(join(box.dir, ".supervisor.log"))).toBe(false);
	},
);

concurrentTest(
	"a task that will never start holds up no other, though its end cannot be recorded",
	async () => {
		const box = sandbox();
		const [failed = "", follower = "", blocker = "", next = ""] =
			await launchBatch(
				box,
				[
					{ ...command("failed", `${waitFor("go")}; exit 3`), name: "failed" },
					{ ...command("follower", "true"), after: ["failed"] },
					command("blocker", waitFor("stop")),
					command("next", "true"),
				],
				{ BG_MAX_RUNNING: "2" },
			);
		await running(box, failed);
		await running(box, blocker);
		const lock = hold(box, follower);
		writeFileSync(join(box.home, "go"), "");
		expect(await ended(box, next)).toMatchObject({ status: "completed" });
		expect([lock.isHeld(), box.record(follower).status]).toEqual([
			true,
			"queued",
		]);
		lock.release();
		expect(await ended(box, follower)).toMatchObject({ reason: "dependency" });
		writeFileSync(join(box.home, "stop"), "");
		await ended(box, blocker);
	},
);
