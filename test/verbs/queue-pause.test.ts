import { expect } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { identifyMachine } from "../../lib/process/machine.ts";
import { queueLock } from "../../lib/store/paths.ts";
import { listTaskIds } from "../../lib/store/records.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { sandbox, until } from "../tools/harness.ts";
import { lock } from "../tools/hooks.ts";
import {
	aWhile,
	block,
	entries,
	isEmpty,
	isOver,
	isReady,
	one,
	run,
} from "../tools/queue.ts";

concurrentTest(
	"a queued task that is cancelled never runs, and others go on",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const made = join(box.home, "made");
		const id = await run(box, ["touch", made], { env: one });
		const next = await run(box, ["true"], { env: one });
		const { tasks } = (await box.bg(["cancel", id])).json();
		expect(tasks).toMatchObject([{ status: "cancelled", cancelled: true }]);
		expect(entries(box, "queue").join()).not.toContain(id);
		blocker.open();
		expect(await isOver(box, next)).toMatchObject({ status: "completed" });
		await isEmpty(box);
		expect(existsSync(made)).toBe(false);
		expect(box.record(id).started_at).toBeUndefined();
	},
);

concurrentTest(
	"a logout's SIGTERM to the supervisor cancels a queued task",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const id = await run(box, ["true"], { env: one });
		await isReady(box);
		process.kill(box.record(id).supervisor?.pid ?? 0, "SIGTERM");
		expect(await isOver(box, id)).toMatchObject({
			status: "cancelled",
			reason: "shutdown",
		});
		blocker.open();
		await isEmpty(box);
	},
);

concurrentTest(
	"while the queue is paused nothing starts, and what runs goes on",
	async () => {
		const box = sandbox();
		const running = await block(box, {});
		const pause = (await box.bg(["pause", "--queue"])).json();
		expect(pause).toEqual({ tasks: [], queue: { paused: true } });
		const id = await run(box, ["true"]);
		running.open();
		expect(await isOver(box, running.id)).toMatchObject({
			status: "completed",
		});
		await aWhile();
		expect(box.record(id).status).toBe("queued");
		const goOn = (await box.bg(["unpause", "--queue"])).json();
		expect(goOn).toEqual({ tasks: [], queue: { paused: false } });
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);

concurrentTest.each(["queue", "task"])(
	"a pause of the %s holds even what was about to start",
	async (what) => {
		const box = sandbox();
		await isOver(box, await run(box, ["true"]));
		// As it leaves, it sweeps away what looks like a lock that nobody holds.
		await until(() => box.alive().length === 0, "its supervisor gone");
		const unlock = lock(box, queueLock(identifyMachine().machine));
		const id = await run(box, ["true"]);
		const prepared = () =>
			readdirSync(join(box.dir, ".tmp"), { withFileTypes: true });
		await until(
			() => prepared().some((each) => each.isDirectory()),
			"its supervisor at the lock",
		);
		const held = what === "queue" ? "--queue" : id;
		const pausing = box.bg(["pause", held]);
		await until(
			() =>
				entries(box, "queue").includes("paused") || box.record(id).paused_at,
			"the pause",
		);
		unlock();
		await pausing;
		await aWhile();
		expect(box.record(id).status).toBe("queued");
		await box.bg(["unpause", held]);
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);

concurrentTest(
	"a pause harms no supervisor that has only just been started",
	async () => {
		const box = sandbox();
		await isOver(box, await run(box, ["true"]));
		const before = listTaskIds(box);
		const launching = run(box, ["true"]);
		const id = await until(
			() => listTaskIds(box).find((each) => !before.includes(each)),
			"its record",
		);
		// It comes before the start or after the end; the task is not lost by it either way.
		await box.bg(["pause", id]);
		await launching;
		await box.bg(["unpause", id]);
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);

concurrentTest(
	"a queued task that is paused is passed over, though there is room",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const held = await run(box, ["true"], { env: one });
		const next = await run(box, ["true"], { env: one });
		const { tasks } = (await box.bg(["pause", held])).json();
		expect(tasks).toEqual([
			{ id: held, taskId: held, status: "queued", paused: true },
		]);
		blocker.open();
		expect(await isOver(box, next)).toMatchObject({ status: "completed" });
		await aWhile();
		expect(box.record(held).status).toBe("queued");
		await box.bg(["unpause", held]);
		expect(await isOver(box, held)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);
