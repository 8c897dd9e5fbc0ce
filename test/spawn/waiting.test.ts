import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { identifyProcess, identifySelf } from "../../lib/process/identity.ts";
import {
	registerDependents,
	releaseDependents,
} from "../../lib/spawn/dependencies.ts";
import { readBeat } from "../../lib/spawn/hand-over.ts";
import { readLimits } from "../../lib/spawn/limits.ts";
import {
	enqueue,
	entryPath,
	listLocalEntries,
	releaseSlot,
	slotPath,
} from "../../lib/spawn/queue.ts";
import { WaitingTasks } from "../../lib/spawn/waiting.ts";
import { openStore } from "../../lib/store/directory.ts";
import { moveFile } from "../../lib/store/files.ts";
import { dependentsFolder } from "../../lib/store/paths.ts";
import { readTask } from "../../lib/store/records.ts";
import type { Identity } from "../../lib/task/schema.ts";
import { sandbox, until } from "../tools/harness.ts";
import { addEnd, addTask, parent } from "../tools/hooks.ts";

test("a keeper that was named and never woken is noticed, whatever happens meanwhile", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const limits = readLimits({ BG_MAX_RUNNING: "1" });
	const add = (supervisor: Identity) => {
		const id = addTask(box, { status: "queued", supervisor });
		const task = readTask(store, id);
		enqueue(store, [task], limits);
		return task;
	};
	const sleeps = [0, 1].map(() => Bun.spawn(["sleep", "600"]));
	const [runs, keeps] = sleeps.map(({ pid }) => identifyProcess(pid));
	if (!runs || !keeps) throw new Error("no processes");
	add(runs);
	for (const entry of listLocalEntries(store, "queue"))
		moveFile(entryPath(store, "queue", entry), slotPath(store, entry));
	add(keeps);
	const task = add(identifySelf());
	const waiting = new WaitingTasks(store, (_, task) => task);
	const hasSlot = waiting.wait(task, { isRunnable: true });
	const keeper = `${keeps.pid},${keeps.start}`;
	await until(() => readBeat(store).keeper === keeper, "a keeper");
	await waiting.settle();
	waiting.wake();
	await waiting.settle();
	for (const each of sleeps) {
		each.kill("SIGKILL");
		await each.exited;
	}
	// It looks every 45 s anyway.
	const late = Bun.sleep(40_000).then(() => "too late");
	expect(await Promise.race([hasSlot, late])).toBe(true);
	releaseSlot(store, task);
});

test("a dependent that waits on another machine is left to that machine", async () => {
	const box = sandbox();
	const id = addEnd(box, parent);
	const elsewhere = { ...identifySelf(), machine: "other:1", boot: "other" };
	const add = (supervisor: Identity) =>
		addTask(box, { status: "queued", after: [id], supervisor });
	const [here, there] = [add(identifySelf()), add(elsewhere)];
	const store = openStore({ dir: box.dir, write: true });
	registerDependents(
		store,
		[here, there].map((each) => readTask(store, each)),
	);
	const woken = new Promise((resolve) => process.once("SIGURG", resolve));
	expect(await releaseDependents(store, id)).toBe(true);
	await woken;
	const left = () => readdirSync(dependentsFolder(store, id));
	expect(left()).toEqual([there]);
	expect(await releaseDependents(store, id)).toBe(false);
	expect(left()).toEqual([there]);
});

test("of a long chain each task names the one before it and the first cause", async () => {
	const box = sandbox();
	const lines = Array.from({ length: 60 }, (_, index) =>
		JSON.stringify({
			name: `t${index}`,
			description: `task ${index}`,
			command: ["sh", "-c", "exit 3"],
			...(index && { after: `t${index - 1}` }),
		}),
	);
	const flags = ["launch", "-q", "--batch", "-"];
	const { stdout } = await box.bg(flags, { input: lines.join("\n") });
	const ids = stdout.trim().split("\n");
	expect((await box.bg(["wait", ...ids])).code).toBe(1);
	const [first, second] = ids;
	expect(box.record(second ?? "").error).toBe(
		`not started: ${first} ended as error (exited 3)`,
	);
	for (const [index, id] of ids.entries()) {
		if (index < 2) continue;
		expect(box.record(id)).toMatchObject({
			reason: "dependency",
			error: `not started: ${ids[index - 1]} ended as error; first cause: ${first} ended as error (exited 3)`,
		});
	}
});

test("a place that becomes free at any moment of a round is handed over before settle resolves", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const limits = { ...readLimits({}), BG_MAX_RUNNING: 1 };
	const supervisor = identifySelf();
	const add = (fields = {}) =>
		readTask(store, addTask(box, { supervisor, status: "queued", ...fields }));
	for (let moment = 0; moment < 80; moment++) {
		const running = add();
		enqueue(store, [running], limits);
		for (const entry of listLocalEntries(store, "queue"))
			moveFile(entryPath(store, "queue", entry), slotPath(store, entry));
		const task = add({ after: [addEnd(box, parent)] });
		enqueue(store, [task], limits);
		let isFreed: Promise<boolean> | undefined;
		const free = async () => {
			for (let n = 0; n < moment; n++) await undefined;
			releaseSlot(store, running);
			await waiting.settle();
			return listLocalEntries(store, "slots").some(({ id }) => id === task.id);
		};
		// It is called in the middle of the first round.
		const waiting = new WaitingTasks(store, (_, other) => {
			isFreed ??= free();
			return other;
		});
		const hasSlot = waiting.wait(task, { isRunnable: false });
		expect([moment, await hasSlot, await isFreed]).toEqual([
			moment,
			true,
			true,
		]);
		releaseSlot(store, task);
	}
});
