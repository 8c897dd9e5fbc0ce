import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { checkLiveness, identifyChild } from "../../lib/process/identity.ts";
import { isOwn } from "../../lib/process/proc.ts";
import { findTree, stopTree } from "../../lib/process/process-tree.ts";
import { takeSnapshotAsync } from "../../lib/process/snapshot.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { isAlive, until } from "../tools/harness.ts";
import { unprivileged } from "../tools/namespaces.ts";

/** A process of a task of its own; ended by the test. */
function startTask(script: string, env: Record<string, string> = {}) {
	const id = createTaskId();
	const child = spawn("sh", ["-c", script], {
		detached: true,
		stdio: "ignore",
		env: { PATH: process.env.PATH, BG_TASK_ID: id, ...env },
	});
	return { id, child, root: identifyChild(child.pid ?? 0) };
}

test("the tree has processes that moved to other sessions, lost their parent or cleared their environment", async () => {
	const { id, root } = startTask(
		"setsid sleep 61 & (sleep 62 &) ; env -i sleep 63 & (env -i sleep 64 &); wait; sleep 60",
	);
	await until(() => findTree(id, root).length >= 5, "the whole tree");
	const pids = findTree(id, root).map(({ pid }) => pid);
	expect(await stopTree(id, { root })).toEqual([]);
	for (const pid of pids) expect(isAlive(pid)).toBe(false);
});

test("a supervisor and its processes do not belong to the tree that launched them", async () => {
	const { id, root } = startTask(
		"env -u BG_TASK_ID BG_SUPERVISOR=1 sh -c 'sleep 60; :' & wait",
	);
	const supervised = await until(
		() => childrenOf(root.pid).find((pid) => childrenOf(pid).length > 0),
		"a supervisor that has started its process",
	);
	expect(findTree(id, root).map(({ pid }) => pid)).toEqual([root.pid]);
	await stopTree(id, { root });
	expect(isAlive(supervised)).toBe(true);
	for (const pid of [...childrenOf(supervised), supervised])
		process.kill(pid, "SIGKILL");
});

test("a process that ignores SIGTERM is killed after the grace", async () => {
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
	expect(await stopTree(id, { root, graceMs: 300 })).toEqual([]);
	expect(performance.now() - start).toBeGreaterThan(300);
	expect(checkLiveness(root)).toBe("gone");
});

test("a paused process is stopped like any other", async () => {
	const { id, root } = startTask("sleep 60");
	process.kill(root.pid, "SIGSTOP");
	await until(() => findTree(id, root).some(({ paused }) => paused), "a pause");
	expect(await stopTree(id, { root, graceMs: 4000 })).toEqual([]);
});

test("a process of another user belongs to a task only as a descendant", async () => {
	const { id, root } = startTask("sleep 60");
	const [stranger] = unprivileged.length
		? [
				spawn(
					unprivileged[0] ?? "",
					[...unprivileged.slice(1), "sleep", "61"],
					{
						stdio: "ignore",
						env: { PATH: process.env.PATH, BG_TASK_ID: id },
					},
				),
			]
		: [];
	const pid = stranger?.pid ?? 0;
	if (stranger) await until(() => !isOwn(pid), "a process of another user");
	expect(findTree(id, root).map((each) => each.pid)).not.toContain(pid);
	expect(await stopTree(id, { root })).toEqual([]);
	if (stranger) expect(isAlive(pid)).toBe(true);
	stranger?.kill("SIGKILL");
});

test("processes are read in slices: other work goes on, and none is left out", async () => {
	const { id, root } = startTask(
		"for n in $(seq 300); do sleep 60 & done; wait",
	);
	const pids = () => findTree(id, root).map(({ pid }) => pid);
	await until(() => pids().length > 300, "a large tree");
	let ticks = 0;
	const timer = setInterval(() => ticks++, 0);
	const snapshot = await takeSnapshotAsync();
	clearInterval(timer);
	expect(ticks).toBeGreaterThan(0);
	const found = findTree(id, root, { snapshot }).map(({ pid }) => pid);
	expect(found.sort()).toEqual(pids().sort());
	expect(findTree(createTaskId(), undefined, { snapshot })).toEqual([]);
	expect(await stopTree(id, { root })).toEqual([]);
});

test("snapshots that are asked for at once are one, which is taken after that", async () => {
	const [first, second] = [takeSnapshotAsync(), takeSnapshotAsync()];
	const { id, root } = startTask("exec sleep 60");
	expect(await first).toBe(await second);
	expect((await first).all.map(({ pid }) => pid)).toContain(root.pid);
	expect(await takeSnapshotAsync()).not.toBe(await first);
	expect(await stopTree(id, { root })).toEqual([]);
});

test("stopping a tree that is gone returns at once", async () => {
	expect(await stopTree(createTaskId())).toEqual([]);
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
