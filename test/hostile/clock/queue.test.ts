/**
 * The clock is set while tasks wait: for a delay, which follows it, and in the queue, which does not. File times
 * stay true here: to a process with a moved clock each file is an hour or a day old, or lies in the future.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { identifySelf } from "../../../lib/process/identity.ts";
import { findQueueState } from "../../../lib/prune/queue-state.ts";
import { reconcileTask } from "../../../lib/prune/reconcile.ts";
import { WaitingTasks } from "../../../lib/spawn/waiting.ts";
import { openStore } from "../../../lib/store/directory.ts";
import { createTask } from "../../../lib/store/records.ts";
import { createTaskId } from "../../../lib/task/ids.ts";
import { parseTask } from "../../../lib/task/parse.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { day, hour, offsetOf, sandboxWithClock } from "../../tools/clock.ts";
import { concurrentTest } from "../../tools/concurrent.ts";
import { type Sandbox, sandbox, until } from "../../tools/harness.ts";
import {
	entries,
	isEmpty,
	isReady,
	isRunning,
	kill,
	one,
} from "../../tools/queue.ts";

const gate = "until test -e go; do sleep 0.2; done";
const open = (box: Sandbox) => writeFileSync(join(box.home, "go"), "");

concurrentTest(
	"a delay follows the clock: set back it is longer, set forward it is over",
	async () => {
		const { box, clock, bg, script } = await sandboxWithClock();
		const id = await script("true", "--delay", "1h");
		clock.move(-hour);
		const { waits_for } = (await bg(["status", id])).json();
		expect(waits_for).toBe("queued: starts in 2h");
		expect((await bg(["prune", "--ttl", "1s"])).json().removed).toEqual([]);
		expect(box.record(id).status).toBe("queued");
		clock.move(2 * hour);
		expect((await bg(["wait", id, "--timeout", "50s"])).code).toBe(0);
		expect(offsetOf(box.record(id).started_at)).toBe(2 * hour);
	},
);

concurrentTest(
	"a parked task whose delay was over, and is not any more, starts when it is over again",
	async () => {
		const { box, clock, bg, script } = await sandboxWithClock({ env: one });
		const blocker = await script(gate);
		await isRunning(box, blocker);
		const first = await script("true");
		await isReady(box);
		const delayed = await script("true", "--delay", "1h");
		clock.move(day);
		await isReady(box, 2);
		clock.move(0);
		open(box);
		expect((await bg(["wait", blocker, first])).code).toBe(0);
		clock.move(day);
		expect((await bg(["wait", delayed, "--timeout", "50s"])).code).toBe(0);
		await isEmpty(box);
	},
);

concurrentTest.each([day, -hour])(
	"the queue goes on after the clock was moved by %d ms, also when its first task dies",
	async (jump) => {
		const { box, clock, bg, script } = await sandboxWithClock({ env: one });
		const blocker = await script(gate);
		await isRunning(box, blocker);
		const first = await script("true");
		await isReady(box);
		const others = [await script("true"), await script("true")];
		clock.move(jump);
		expect((await bg(["list"])).json()).toMatchObject({
			running: 1,
			queued: 3,
		});
		kill(box.record(first).supervisor?.pid);
		// Of those left, the first is awake once the running supervisor has noticed.
		await until(
			() =>
				entries(box, "parked").filter((name) => name.startsWith("bg_")).length <
				3,
			"another task that is awake",
			() => entries(box, "parked").join(),
		);
		const input = ["true", "exit 3"]
			.map((text) => ({ description: "d", command: ["sh", "-c", text] }))
			.map((line) => JSON.stringify(line))
			.join("\n");
		const batch = await bg(["launch", "-q", "--batch", "-"], { input });
		others.push(...batch.stdout.trim().split("\n"));
		clock.move(0);
		open(box);
		await bg(["wait", first, ...others]);
		const ends = [first, ...others].map((id) => {
			const { reason, exit_code } = box.record(id);
			return [reason, exit_code];
		});
		expect(ends).toEqual([
			["lost", undefined],
			["exit", 0],
			["exit", 0],
			["exit", 0],
			["exit", 3],
		]);
		await isEmpty(box);
	},
);

test.each([hour, -hour])(
	"the delay before a retry is as long if the clock was moved by %d ms at its start",
	async (jump) => {
		const store = openStore({ dir: sandbox().dir, write: true });
		const task: Task = {
			...parseTask(JSON.stringify({ id: createTaskId(), status: "queued" })),
			attempt: 2,
			not_before: new Date(Date.now() - jump).toISOString(),
			supervisor: identifySelf(),
		};
		createTask(store, task);
		const why = findQueueState(store)?.describeWait(task, () => undefined);
		if (jump < 0) expect(why).toBe("queued: next try in 1s");
		const startedAt = performance.now();
		const waiting = new WaitingTasks(store, reconcileTask);
		const options = { isRunnable: false, pauseMs: 500 };
		expect(await waiting.wait(task, options)).toBe(true);
		expect(performance.now() - startedAt).toBeGreaterThanOrEqual(499);
	},
);
