import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { identifySelf } from "../../lib/process/identity.ts";
import { reconcileTask } from "../../lib/prune/reconcile.ts";
import { openStore } from "../../lib/store/directory.ts";
import { withLock } from "../../lib/store/locks.ts";
import { keepAttemptOutput } from "../../lib/store/output-files.ts";
import { outputFile } from "../../lib/store/paths.ts";
import { readTask } from "../../lib/store/records.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

const dead = { ...identifySelf(), start: "999999999999" };

test("a task whose supervisor died in the queue never started", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = addTask(store, { status: "queued", supervisor: dead });
	expect(reconcileTask(store, readTask(store, id))).toMatchObject({
		reason: "lost",
		error: "never started: its supervisor died",
	});
});

test("a queued task that wrote output has started, although its record does not say so", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = addTask(store, { status: "queued", supervisor: dead });
	writeFileSync(outputFile(store, id), "half of it\n");
	expect(reconcileTask(store, readTask(store, id))).toMatchObject({
		reason: "lost",
		error: "its supervisor died while it started",
		result: "half of it",
	});
});

test("the output of an attempt is the task's if its supervisor died before the next one", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const died = { supervisor: dead, process: dead, retries: 1 };
	const id = addTask(store, died);
	writeFileSync(outputFile(store, id), "all of it\n");
	keepAttemptOutput(store, id, 1);
	expect(reconcileTask(store, readTask(store, id))).toMatchObject({
		reason: "lost",
		result: "all of it",
	});
	expect(readdirSync(store.dir)).toContain(`${id}.out`);
	expect(readdirSync(store.dir)).not.toContain(`${id}.1.out`);
});

test("a queued task whose process has started is shown as running if that cannot be recorded", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = addTask(store, { status: "queued", supervisor: dead });
	const env = { ...box.env, BG_TASK_ID: id, BG_ATTEMPT: "1" };
	const child = Bun.spawn(["sleep", "60"], { env });
	try {
		// A lock that is held keeps the record from being written.
		const task = withLock(store, { name: id, timeoutMs: 100 }, () =>
			reconcileTask(store, readTask(store, id)),
		);
		expect(task).toMatchObject({
			status: "running",
			pid: child.pid,
			recorded: false,
		});
		expect(box.record(id).status).toBe("queued");
	} finally {
		child.kill();
		await child.exited;
	}
});

test("a supervisor only tries the lock of a task: if it is held, the task is returned unchanged", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = addTask(store, { supervisor: dead, process: dead });
	const task = readTask(store, id);
	const reconcile = () => reconcileTask(store, task, { timeoutMs: 0 });
	expect(withLock(store, { name: id, timeoutMs: 100 }, reconcile)).toBe(task);
	expect(reconcile()).toMatchObject({ reason: "lost" });
});
