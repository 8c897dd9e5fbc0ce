/**
 * "Cannot tell" is never taken for "gone": what the kernel does not say changes no task, no slot and
 * no lock, and the verb says why.
 */
import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import {
	failing,
	inNamespaceOf,
	namespace,
	withFile,
} from "../tools/faults.ts";
import {
	isAlive,
	processesWith,
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";

const bootId = "/proc/sys/kernel/random/boot_id";

const forms = [
	program,
	["node", join(root, "dist/bg.mjs")],
	["deno", "run", "-A", join(root, "dist/bg.mjs")],
];

/** Three tasks that run in three slots. */
async function threeRunning() {
	const box = sandbox();
	const env = { BG_MAX_RUNNING: "3" };
	const ids: string[] = [];
	for (let n = 0; n < 3; n++) {
		const id = await box.run(["sleep", "600"], { env });
		ids.push(id);
		await box.untilTask(id, ({ process }) => process, "a start");
	}
	return { box, env, ids, records: ids.map(box.state) };
}

const slotsOf = (box: Sandbox) => readdirSync(join(box.dir, ".slots"));

test.each([
	["the boot id", bootId],
	["the machine id", "/etc/machine-id"],
])(
	"while %s cannot be read, no task is lost and none starts",
	async (_, path) => {
		const { box, env, ids, records } = await threeRunning();
		const argv = [
			...failing({ calls: "open,openat", path, error: "ENFILE" }),
			...program,
		];
		const { tasks } = (await box.bg(["list"], { argv })).json();
		for (const { status, note } of tasks)
			expect({ status, note }).toEqual({
				status: "running",
				note: expect.stringMatching(
					new RegExp(`^cannot tell .*${path}.*ENFILE`),
				),
			});
		const pruned = (await box.bg(["prune"], { argv })).json();
		expect(pruned).toMatchObject({ removed: [], tasks: [] });
		expect(pruned.unknown).toHaveLength(3);
		const cancelled = await box.bg(["cancel", "--all"], { argv });
		expect(cancelled.code).toBe(1);
		for (const { note } of cancelled.json().tasks)
			expect(note).toMatch(/^cannot tell /);
		const fourth = await box.bg(["run", "d", "--", "true"], { argv, env });
		expect(fourth).toMatchObject({ code: 111 });
		expect(fourth.json().error).toContain(path);
		expect(ids.map(box.state)).toEqual(records);
		expect(slotsOf(box)).toHaveLength(3);
		expect(readdirSync(join(box.dir, ".queue"))).toEqual([]);
		await box.bg(["cancel", "--all"]);
	},
);

test("a boot id that is covered by another file is no boot id", async () => {
	const { box, ids, records } = await threeRunning();
	const argv = [...withFile(box, bootId, ""), ...program];
	for (const verb of ["list", "prune", "wait --timeout 0", "cancel --all"])
		await box.bg(verb.split(" "), { argv });
	expect(ids.map(box.state)).toEqual(records);
	await box.bg(["cancel", "--all"]);
});

test.each(forms)(
	"a read that fails once is tried again: %s",
	async (...form) => {
		const { box, ids, records } = await threeRunning();
		const fault = { calls: "open,openat", error: "ENFILE", when: "1" };
		for (const path of [
			bootId,
			"/etc/machine-id",
			`/proc/${records[0]?.supervisor?.pid}/stat`,
		]) {
			const argv = [...failing({ ...fault, path }), ...form];
			const { tasks } = (await box.bg(["list"], { argv })).json();
			for (const { status, note } of tasks)
				expect([status, note]).toEqual(["running", undefined]);
		}
		expect(ids.map(box.state)).toEqual(records);
		await box.bg(["cancel", "--all"]);
	},
);

test("a start time that cannot be read makes no task lost", async () => {
	const { box, ids, records } = await threeRunning();
	const [first] = records;
	for (const error of ["EIO", "EACCES"]) {
		const path = `/proc/${first?.supervisor?.pid}/stat`;
		const argv = [
			...failing({ calls: "open,openat", path, error }),
			...program,
		];
		const status = (await box.bg(["status", ids[0] ?? ""], { argv })).json();
		expect(status).toMatchObject({
			status: "running",
			note: expect.stringContaining(path),
		});
		await box.bg(["prune"], { argv });
		const cancelled = await box.bg(["cancel", ids[0] ?? ""], { argv });
		expect(cancelled.code).toBe(1);
	}
	expect(ids.map(box.state)).toEqual(records);
	await box.bg(["cancel", "--all"]);
});

test("an environment that cannot be read hides no process of a lost supervisor", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	// As if its supervisor had died right after it started the process.
	process.kill(task.supervisor?.pid ?? 0, "SIGKILL");
	await until(() => !isAlive(task.supervisor?.pid ?? 0), "its death");
	const { process: _, pid: __, started_at: ___, ...queued } = task;
	await Bun.write(
		join(box.dir, `${id}.json`),
		JSON.stringify({ ...queued, status: "queued" }),
	);
	for (const error of ["EACCES", "EIO"]) {
		const path = `/proc/${task.pid}/environ`;
		const argv = [
			...failing({ calls: "open,openat", path, error }),
			...program,
		];
		const listed = (await box.bg(["status", id], { argv })).json();
		expect(listed.status).toBe("queued");
		await box.bg(["prune"], { argv });
		expect(box.record(id).status).toBe("queued");
	}
	const found = (await box.bg(["status", id])).json();
	expect(found).toMatchObject({ status: "running", pid: task.pid });
	await box.bg(["cancel", id]);
});

test.each([
	["the boot id", bootId],
	["the machine id", "/etc/machine-id"],
])(
	"a launcher that cannot read %s launches a task that runs, or none",
	async (_, path) => {
		const box = sandbox();
		for (const when of ["1", "1..2", "1+"]) {
			const fault = { calls: "open,openat", path, error: "ENFILE", when };
			// Not in what it starts: the supervisor reads the same files.
			const strace = failing(fault).filter((each) => each !== "-f");
			const { code, stdout } = await box.bg(["run", "-q", "d", "--", "true"], {
				argv: [...strace, ...program],
			});
			if (code === 0)
				expect(
					await box.untilTask(stdout.trim(), isFinal, "an end"),
				).toMatchObject({ status: "completed" });
			else expect(code).toBe(111);
		}
		await until(() => box.alive().length === 0, "nobody left");
		expect(readdirSync(join(box.dir, ".queue"))).toEqual([]);
	},
);

test("a supervisor that cannot identify its own child supervises it all the same", async () => {
	const box = sandbox();
	const go = (attempt: number) => join(box.home, `go-${attempt}`);
	const script = `until [ -e ${go(0).slice(0, -1)}$BG_ATTEMPT ]; do sleep 0.2; done; exit 3`;
	const argv = [...namespace, ...program];
	const words = ["run", "-q", "--retries", "1", "d", "--", "sh", "-c", script];
	const id = (await box.bg(words, { argv })).stdout.trim();
	const { supervisor } = await box.untilTask(
		id,
		(now) => now.process,
		"a start",
	);
	inNamespaceOf(supervisor?.pid ?? 0, "mount -t tmpfs none /proc");
	writeFileSync(go(1), "");
	await box.untilTask(
		id,
		({ attempt }) => attempt === 2,
		"an attempt that failed",
	);
	const started = () =>
		processesWith("BG_ATTEMPT=2").some(({ command }) =>
			command.includes(script),
		);
	await until(started, "the second process");
	await box.untilTask(
		id,
		({ status }) => status === "queued",
		"a state that is not known",
	);
	inNamespaceOf(supervisor?.pid ?? 0, "umount /proc");
	const task = await box.untilTask(id, (now) => now.process, "its identity");
	expect(task.status).toBe("running");
	writeFileSync(go(2), "");
	expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
		status: "error",
		exit_code: 3,
		attempt: 2,
	});
});

test("/proc of another pid namespace identifies no process", async () => {
	const box = sandbox();
	const enter = [
		"unshare",
		"--map-root-user",
		"--pid",
		"--fork",
		"--kill-child",
	];
	const id = await box.run(["sleep", "600"]);
	await box.untilTask(id, ({ process }) => process, "a start");
	const task = box.state(id);
	const argv = [...enter, ...program];
	const cancelled = await box.bg(["cancel", id], { argv });
	expect(cancelled.code).toBe(1);
	expect(cancelled.json().tasks[0].note).toContain("another pid namespace");
	const launched = await box.bg(["run", "d", "--", "true"], { argv });
	expect(launched.code).toBe(111);
	expect(launched.json().error).toContain("mount -t proc");
	expect(box.state(id)).toEqual(task);
	await box.bg(["cancel", id]);
});
