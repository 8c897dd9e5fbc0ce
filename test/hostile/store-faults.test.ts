/**
 * A store that cannot be written for a while: a full disk, a read-only one, a folder without
 * permission, a file size limit. Stops still happen, and each end is recorded once the
 * store can be written again.
 */
import { expect, onTestFinished, test } from "bun:test";
import {
	chmodSync,
	existsSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmSync,
	statSync,
	symlinkSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { failOnce, inNamespaceOf, namespace } from "../tools/faults.ts";
import { isAlive, program, root, sandbox, until } from "../tools/harness.ts";
import { handOver, smallDisk } from "../tools/namespaces.ts";
import { listStoreProcesses } from "../tools/processes.ts";
import { parkOne } from "../tools/queue.ts";

/** A task that fills the disk of its store. */
async function filling(MiB: number, ...flags: string[]) {
	const box = sandbox();
	const disk = await smallDisk(box, MiB * 1024);
	const argv = [...disk.argv, ...program];
	const script = "cat /dev/zero; sleep 600";
	const words = ["run", "-q", ...flags, "d", "--", "sh", "-c", script];
	const { stdout, error } = await box.bg(words, { argv });
	const id = stdout.trim();
	if (!id) throw new Error(error);
	const record = (): Task =>
		JSON.parse(readFileSync(join(disk.dir, `${id}.json`), "utf8"));
	const started = await until(
		() => (record().process ? record() : undefined),
		"a start",
	);
	const output = join(disk.dir, `${id}.out`);
	const isFull = () => statSync(output).size >= (MiB - 1) * 2 ** 20;
	const bg = (...args: string[]) => box.bg(args, { argv });
	/** Gives space back, which the task's output took. */
	const free = () => truncateSync(output);
	return { id, record, started, isFull, bg, free };
}

const gone = (task: Task) =>
	until(() => !isAlive(task.pid ?? 0), "the process gone");

const ended = (record: () => Task) =>
	until(
		() => (isFinal(record()) ? record() : undefined),
		"an end",
		() => JSON.stringify(record()),
	);

test("on a full disk a time limit stops its task, and is recorded once there is space", async () => {
	const { started, record, isFull, free } = await filling(
		32,
		"--timeout",
		"10s",
	);
	await until(isFull, "a full disk");
	await gone(started);
	free();
	expect(await ended(record)).toMatchObject({
		status: "error",
		reason: "timeout",
		error: "timed out after 10s",
	});
});

test("on a full disk a task is cancelled, and that is recorded once there is space", async () => {
	const { id, started, record, isFull, bg, free } = await filling(32);
	await until(isFull, "a full disk");
	const answer = await bg("cancel", id);
	expect(isAlive(started.pid ?? 0)).toBe(false);
	expect(answer).toMatchObject({ code: 0 });
	expect(answer.json().tasks[0]).toMatchObject({
		cancelled: true,
		survivors: [],
		note: expect.stringMatching(/^stopped, but its end is not recorded yet/),
	});
	free();
	expect(await ended(record)).toMatchObject({
		status: "cancelled",
		reason: "cancel",
		error: "stopped by bg cancel",
	});
});

test("on a full disk a supervisor that is told to leave stops its task", async () => {
	const { started, record, isFull, free } = await filling(32);
	await until(isFull, "a full disk");
	process.kill(started.supervisor?.pid ?? 0, "SIGTERM");
	await gone(started);
	free();
	expect(await ended(record)).toMatchObject({
		status: "cancelled",
		reason: "shutdown",
	});
});

test.each([
	["at once", "exec cat /dev/zero"],
	["after a rest", "sleep 1.5; exec cat /dev/zero"],
	["after some words", "echo hello; sleep 1.5; cat /dev/zero; sleep 600"],
])(
	"an output that grows %s is stopped soon after its limit",
	async (_, script) => {
		const MiB = 2 ** 20;
		const box = sandbox();
		const disk = await smallDisk(box, 4096 * 1024);
		const argv = [...disk.argv, ...program];
		const words = ["run", "-q", "--max-output", "10M", "d", "--"];
		const id = (
			await box.bg([...words, "sh", "-c", script], { argv })
		).stdout.trim();
		const read = (): Task =>
			JSON.parse(readFileSync(join(disk.dir, `${id}.json`), "utf8"));
		const output = join(disk.dir, `${id}.out`);
		let most = 0;
		await until(
			() => {
				most = Math.max(
					most,
					statSync(output, { throwIfNoEntry: false })?.size ?? 0,
				);
				return isFinal(read());
			},
			"an end",
			() => JSON.stringify(read()),
		);
		expect(read()).toMatchObject({ status: "error", reason: "output-limit" });
		expect(most).toBeGreaterThan(10 * MiB);
		expect(most).toBeLessThanOrEqual((10 + 64) * MiB);
		expect(statSync(output).size).toBeLessThan(10 * MiB + 100);
	},
);

test("ends under a read-only store are recorded once it can be written", async () => {
	const box = sandbox();
	const disk = await smallDisk(box, 4096);
	const argv = [...disk.argv, ...program];
	const go = join(box.home, "go");
	// A file that is open for writing would keep the disk from becoming read-only.
	const ready = join(box.home, "ready");
	const wait = `exec >/dev/null 2>&1; echo >> ${ready}; until [ -e ${go} ]; do sleep 0.2; done`;
	const ids: string[] = [];
	for (let n = 0; n < 6; n++)
		ids.push(await box.run(["sh", "-c", `${wait}; exit ${n % 2}`], { argv }));
	const record = (id: string): Task =>
		JSON.parse(readFileSync(join(disk.dir, `${id}.json`), "utf8"));
	for (const id of ids) await until(() => record(id).process, "a start");
	const [first] = ids.map(record);
	await until(() => statSync(ready).size === ids.length, "closed outputs");
	const remount = (mode: string) =>
		inNamespaceOf(
			first?.supervisor?.pid ?? 0,
			`mount -o remount,${mode} ${box.dir}`,
		);
	remount("ro");
	writeFileSync(go, "");
	for (const { pid = 0 } of ids.map(record))
		await until(() => !isAlive(pid), "its end");
	// Long enough for a first and a second try.
	await Bun.sleep(1200);
	remount("rw");
	for (const [n, id] of ids.entries())
		expect(
			await until(() => isFinal(record(id)) && record(id), "an end"),
		).toMatchObject({
			status: n % 2 ? "error" : "completed",
			exit_code: n % 2,
		});
	const slots = () => readdirSync(join(disk.dir, ".slots"));
	await until(() => slots().length === 0, "free slots");
});

test.each([".slots", ".queue", ".locks", ".tmp", ".ends"])(
	"an end is recorded although %s cannot be written for a while",
	async (folder) => {
		const box = sandbox();
		const user = handOver(box);
		const argv = [...user, ...program];
		const go = join(box.home, "go");
		const wait = `until [ -e ${go} ]; do sleep 0.2; done; exit 3`;
		const id = await box.run(["sh", "-c", wait], { argv });
		const task = await box.untilTask(id, ({ process }) => process, "a start");
		chmodSync(join(box.dir, folder), 0o500);
		writeFileSync(go, "");
		await gone(task);
		await Bun.sleep(200);
		chmodSync(join(box.dir, folder), 0o700);
		expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
			status: "error",
			exit_code: 3,
		});
		const slots = () => readdirSync(join(box.dir, ".slots"));
		await until(() => slots().length === 0, "a free slot");
	},
);

concurrentTest(
	"a task that waits as a shell starts after its store had no permission for a while",
	async () => {
		const box = sandbox();
		const argv = [...handOver(box), ...program];
		const env = { BG_MAX_RUNNING: "1" };
		const go = join(box.home, "go");
		const wait = `until [ -e ${go} ]; do sleep 0.2; done`;
		const first = await box.run(["sh", "-c", wait], { argv, env });
		await box.untilTask(first, ({ process }) => process, "a start");
		const launch = () => box.run(["true"], { argv, env });
		const others = [await launch(), await parkOne(box, launch, { argv })];
		const shells = () =>
			listStoreProcesses(box.dir).filter(({ kind }) => kind === "parked");
		await until(() => shells().length === 1, "a parked shell");
		chmodSync(box.dir, 0);
		// At the end of its nap the shell polls, finds no record and becomes a supervisor, which cannot open the store.
		const [shell] = shells();
		for (const { pid, parent } of listStoreProcesses(box.dir))
			if (parent === shell?.pid) process.kill(pid, "SIGKILL");
		await until(() => shells().length === 0, "a supervisor in its place");
		await Bun.sleep(10_500);
		chmodSync(box.dir, 0o700);
		writeFileSync(go, "");
		for (const id of others)
			expect(await box.untilTask(id, isFinal, "its end")).toMatchObject({
				status: "completed",
			});
	},
);

test("the other tasks of a batch go on if the store cannot be read right after one of them", async () => {
	const box = sandbox();
	const go = join(box.home, "go");
	const script = `until [ -e ${go} ]; do sleep 0.2; done; exit 3`;
	const lines = [["sh", "-c", script], ["true"]].map((command) =>
		JSON.stringify({ description: "d", command }),
	);
	const { stdout } = await box.bg(["launch", "-q", "--batch", "-"], {
		env: { BG_MAX_RUNNING: "1" },
		input: lines.join("\n"),
	});
	const [first = "", second = ""] = stdout.trim().split("\n");
	await box.untilTask(first, ({ process }) => process, "a start");
	// Whoever deletes a record takes its task from the supervisor, which writes nothing for it.
	const temporary = join(box.dir, ".tmp");
	renameSync(temporary, `${temporary}.kept`);
	symlinkSync(".tmp", temporary);
	rmSync(join(box.dir, `${second}.json`));
	const log = join(box.dir, ".supervisor.log");
	await until(
		() => existsSync(log) && readFileSync(log, "utf8").includes("/archived"),
		"a failure to archive",
	);
	rmSync(temporary);
	renameSync(`${temporary}.kept`, temporary);
	writeFileSync(go, "");
	expect(await box.untilTask(first, isFinal, "an end")).toMatchObject({
		exit_code: 3,
	});
});

test("a stop that fails is tried again", async () => {
	const box = sandbox();
	const words = ["run", "-q", "--timeout", "10s", "d", "--", "sleep", "600"];
	const argv = [...namespace, ...program];
	const id = (await box.bg(words, { argv })).stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const supervisor = task.supervisor?.pid ?? 0;
	const failed = await failOnce(box, supervisor, {
		calls: "open,openat",
		path: `/proc/${task.pid}/stat`,
		error: "EIO",
	});
	await failed();
	expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
		reason: "timeout",
	});
	await gone(task);
});

test("a stop does not wait for a process list that cannot be read", async () => {
	const box = sandbox();
	const words = ["run", "-q", "--timeout", "10s", "d", "--", "sleep", "600"];
	const argv = [...namespace, ...program];
	const id = (await box.bg(words, { argv })).stdout.trim();
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const supervisor = task.supervisor?.pid ?? 0;
	inNamespaceOf(supervisor, "mount -t tmpfs none /proc");
	await gone(task);
	inNamespaceOf(supervisor, "umount /proc");
	expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
		reason: "timeout",
	});
});

test("a lock whose release failed is released again by its holder", async () => {
	const box = sandbox();
	const go = join(box.home, "go");
	const wait = `until [ -e ${go} ]; do sleep 0.2; done; exit 3`;
	const id = await box.run(["sh", "-c", wait]);
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const store = { dir: box.dir };
	// A holder that lives, and whose unlink fails once.
	const script = join(box.home, "hold.ts");
	writeFileSync(
		script,
		`import { withLock } from ${JSON.stringify(join(root, "lib/store/locks.ts"))};
		process.stdin.once("data", () => {
			withLock(${JSON.stringify(store)}, ${JSON.stringify({ name: id, timeoutMs: 20_000 })}, () => {});
			console.log("held");
		});
		console.log("here");
		setTimeout(() => process.exit(0), 60_000);`,
	);
	const holder = Bun.spawn(["bun", script], {
		env: { PATH: box.env.PATH },
		stdin: "pipe",
		stdout: "pipe",
	});
	onTestFinished(async () => {
		holder.kill("SIGKILL");
		await holder.exited;
	});
	const lines = holder.stdout.getReader();
	await lines.read();
	const failed = await failOnce(box, holder.pid, {
		calls: "unlink,unlinkat",
		error: "EIO",
	});
	holder.stdin.write("go\n");
	holder.stdin.flush();
	await failed();
	writeFileSync(go, "");
	expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
		exit_code: 3,
	});
	expect(isAlive(holder.pid)).toBe(true);
	await gone(task);
});
