import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import * as fc from "fast-check";
import {
	findTree,
	formatHolder,
	identify,
	identifyChild,
	liveness,
	parseHolder,
	self,
	signal,
	stopTree,
} from "../lib/process.ts";
import { newTaskId } from "../lib/task.ts";
import { isAlive, until } from "./harness.ts";

/** A process of a task of its own; ended by the test. */
function startTask(script: string, env: Record<string, string> = {}) {
	const id = newTaskId();
	const child = spawn("sh", ["-c", script], {
		detached: true,
		stdio: "ignore",
		env: { PATH: process.env.PATH, BG_TASK_ID: id, ...env },
	});
	return { id, child, root: identifyChild(child.pid ?? 0) };
}

test("a process is who it was until it ends, a zombie is gone", async () => {
	const { child, root } = startTask("sleep 60");
	expect(liveness(root)).toBe("alive");
	child.kill("SIGKILL");
	await until(() => liveness(root) === "gone", "the process gone");
	expect(identify(root.pid)).toBeUndefined();
});

test("a pid that was taken by another process is another identity", () => {
	expect(liveness({ ...self(), start: "1" })).toBe("gone");
	expect(liveness({ ...self(), boot: "before" })).toBe("gone");
	expect(liveness({ ...self(), machine: "other" })).toBe("elsewhere");
});

test("no signal reaches a process whose identity does not match", async () => {
	const { child, root } = startTask("sleep 60");
	signal({ ...root, start: "1" }, "SIGKILL");
	signal({ ...root, machine: "other" }, "SIGKILL");
	await Bun.sleep(50);
	expect(liveness(root)).toBe("alive");
	signal(root, "SIGKILL");
	await until(() => child.signalCode === "SIGKILL", "its end");
});

test("a holder's name is read back as it was, and nothing else is one", () => {
	fc.assert(
		fc.property(
			fc.record({
				machine: fc.string({ minLength: 1 }),
				boot: fc.string({ minLength: 1 }),
				pid: fc.integer({ min: 1 }),
				start: fc.string({ minLength: 1 }),
			}),
			fc.string(),
			(identity, junk) => {
				const name = formatHolder(identity, "7");
				expect(name).not.toMatch(/[/\0]/);
				expect(parseHolder(name)).toEqual(identity);
				parseHolder(junk);
			},
		),
	);
	for (const name of ["", "1,2", "x,2,3,4,5", ".DS_Store", "1,%zz,3,4,5"])
		expect(parseHolder(name)).toBeUndefined();
});

test("the tree has what moved to other sessions, lost its parent or its environment", async () => {
	const { id, root } = startTask(
		"setsid sleep 61 & (sleep 62 &) ; env -i sleep 63 & (env -i sleep 64 &); wait; sleep 60",
	);
	await until(() => findTree(id, root).length >= 5, "the whole tree");
	const pids = findTree(id, root).map(({ pid }) => pid);
	expect(await stopTree(id, { root })).toEqual([]);
	for (const pid of pids) expect(isAlive(pid)).toBe(false);
});

test("a supervisor and what it runs are no part of the tree that launched them", async () => {
	const { id, root } = startTask(
		"env -u BG_TASK_ID BG_SUPERVISOR=1 sh -c 'sleep 60; :' & wait",
	);
	await until(() => findTree(id, root).length === 1, "the shell alone");
	const supervised = await until(
		() => childrenOf(root.pid)[0],
		"the supervisor",
	);
	await stopTree(id, { root });
	expect(isAlive(supervised)).toBe(true);
	for (const pid of [...childrenOf(supervised), supervised])
		process.kill(pid, "SIGKILL");
});

test("what ignores SIGTERM is killed after the grace", async () => {
	const { id, root } = startTask(
		"trap '' TERM; echo x; while :; do sleep 1; done",
	);
	await until(
		async () =>
			(await Bun.file(`/proc/${root.pid}/status`).text()).match(
				/^SigIgn:\s+0*4\d{3}$/m,
			),
		"the trap set",
	);
	const start = performance.now();
	expect(await stopTree(id, { root, grace: 300 })).toEqual([]);
	expect(performance.now() - start).toBeGreaterThan(300);
	expect(liveness(root)).toBe("gone");
});

test("a stopped process is stopped for good", async () => {
	const { id, root } = startTask("sleep 60");
	process.kill(root.pid, "SIGSTOP");
	await until(() => findTree(id, root).some(({ paused }) => paused), "a pause");
	expect(await stopTree(id, { root, grace: 4000 })).toEqual([]);
});

test("stopping a tree that is gone is done at once", async () => {
	expect(await stopTree(newTaskId())).toEqual([]);
});

// --- internal ---

function childrenOf(pid: number): number[] {
	const { stdout } = Bun.spawnSync(["ps", "-o", "pid=", "--ppid", String(pid)]);
	return stdout
		.toString()
		.split("\n")
		.map(Number)
		.filter((each) => each);
}
