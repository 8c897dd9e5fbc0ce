import { expect, test } from "bun:test";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	readdirSync,
	rmSync,
	statSync,
	symlinkSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
	claimName,
	identifyProcess,
	identifySelf,
} from "../../lib/process/identity.ts";
import { openStore } from "../../lib/store/directory.ts";
import { watchEnds } from "../../lib/store/ends.ts";
import { LockHeldError } from "../../lib/store/locks.ts";
import { openOutput, readOutputBytes } from "../../lib/store/output-files.ts";
import {
	outputFile,
	recordFile,
	type Store,
	storeDir,
} from "../../lib/store/paths.ts";
import {
	createTask,
	iterateTasks,
	listTaskIds,
	readTask,
	resolveTaskId,
	type UnreadableRecord,
	updateTask,
	updateTaskAsync,
} from "../../lib/store/records.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { finishTask } from "../../lib/task/states.ts";
import { root, sandbox, until } from "../tools/harness.ts";

const newTask = (fields: Partial<Task> = {}): Task => ({
	...parseTask(JSON.stringify({ id: createTaskId(), status: "running" })),
	...fields,
});

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

/** A store with one running task. */
function openWithTask(): { store: Store; id: string } {
	const store = open();
	const task = newTask();
	createTask(store, task);
	return { store, id: task.id };
}

const end = (task: Task) =>
	finishTask(task, { reason: "manual", at: new Date().toISOString() });

test("the store is the directory of background-manager.py, or $BG_DIR", () => {
	expect(storeDir({ HOME: "/h" })).toBe("/h/.factory/.omd/background-tasks");
	expect(storeDir({ HOME: "/h", BG_DIR: "/d" })).toBe("/d");
});

test("only the owner can read folders and files", () => {
	const { store, id } = openWithTask();
	const mode = (path: string) => statSync(path).mode & 0o777;
	expect(mode(store.dir)).toBe(0o700);
	for (const name of readdirSync(store.dir))
		if (name.startsWith(".")) expect(mode(join(store.dir, name))).toBe(0o700);
	expect(mode(recordFile(store, id))).toBe(0o600);
});

test("a folder that others can read is narrowed by the first write, not by a read", () => {
	const { dir } = sandbox();
	mkdirSync(dir, { mode: 0o755 });
	openStore({ dir });
	expect(statSync(dir).mode & 0o777).toBe(0o755);
	openStore({ dir, write: true });
	expect(statSync(dir).mode & 0o777).toBe(0o700);
});

test("a folder or a file that others can write is refused", () => {
	const { dir } = sandbox();
	mkdirSync(dir);
	chmodSync(dir, 0o777);
	expect(() => openStore({ dir })).toThrow(/can be written by others/);
	rmSync(dir, { recursive: true });
	writeFileSync(dir, "");
	expect(() => openStore({ dir })).toThrow(/not a folder/);
});

test("reading a missing store does not create it", () => {
	const { dir } = sandbox();
	expect([...iterateTasks(openStore({ dir }))]).toEqual([]);
	expect(existsSync(dir)).toBe(false);
});

test("an id that looks like a path never becomes one", () => {
	const store = open();
	for (const id of ["../../etc/passwd", "bg_", "bg_0123456789ab/../x", ""])
		expect(() => recordFile(store, id)).toThrow(/not a task id/);
	expect(() => resolveTaskId(store, "../x")).toThrow(/not a task id/);
});

test("a unique beginning of an id is enough, @last is the newest", () => {
	const store = open();
	const ids = ["bg_0123456789aa01", "bg_0123456789ab01", "bg_0123456789ab02"];
	for (const id of ids) createTask(store, newTask({ id }));
	expect(resolveTaskId(store, "bg_0123456789aa")).toBe("bg_0123456789aa01");
	expect(resolveTaskId(store, "@last")).toBe("bg_0123456789ab02");
	expect(() => resolveTaskId(store, "bg_0123456789ab")).toThrow(
		/could be 2 tasks/,
	);
	expect(() => resolveTaskId(store, "bg_ff")).toThrow(/no task "bg_ff"/);
	expect(() => resolveTaskId(store, "ff")).toThrow(/not a task id/);
});

test("a broken record is reported, and the others stay usable", () => {
	const { store, id } = openWithTask();
	const broken = newTask();
	createTask(store, broken);
	writeFileSync(recordFile(store, broken.id), '{"id":"bg_01');
	const unreadable: UnreadableRecord[] = [];
	const tasks = [...iterateTasks(store, unreadable)];
	expect(tasks.map((task) => task.id)).toEqual([id]);
	expect(unreadable.map(({ taskId }) => taskId)).toEqual([broken.id]);
	expect(() => readTask(store, broken.id)).toThrow(/cannot be read/);
	expect(existsSync(recordFile(store, broken.id))).toBe(true);
});

test("a record that is a link or a pipe is not read", async () => {
	const { store, id } = openWithTask();
	const [link, pipe] = [createTaskId(), createTaskId()];
	symlinkSync(recordFile(store, id), recordFile(store, link));
	await Bun.$`mkfifo ${recordFile(store, pipe)}`;
	const unreadable: UnreadableRecord[] = [];
	const tasks = [...iterateTasks(store, unreadable)];
	expect(tasks).toHaveLength(1);
	expect(unreadable.map(({ taskId }) => taskId).sort()).toEqual([link, pipe]);
});

test("an end is written over a broken record, which is set aside", () => {
	const { store, id } = openWithTask();
	const known = readTask(store, id);
	writeFileSync(recordFile(store, id), "scribble");
	updateTask(store, id, end, { fallback: known });
	expect(readTask(store, id).status).toBe("completed");
	expect(readdirSync(join(store.dir, ".broken"))).toHaveLength(1);
	unlinkSync(recordFile(store, id));
	updateTask(store, id, end, { fallback: known });
	expect(readTask(store, id).status).toBe("completed");
});

test("a record by a newer bg is shown, not rewritten", () => {
	const store = open();
	const task = newTask({ schema: 99 });
	createTask(store, task);
	expect(readTask(store, task.id).schema).toBe(99);
	expect(() => updateTask(store, task.id, end)).toThrow(/newer bg/);
});

test("a write leaves no lock and no temporary file", () => {
	const { store, id } = openWithTask();
	updateTask(store, id, end);
	expect(readdirSync(join(store.dir, ".tmp"))).toEqual([]);
	expect(readdirSync(join(store.dir, ".locks"))).toEqual([]);
});

test("a decision that throws releases the lock and changes nothing", () => {
	const { store, id } = openWithTask();
	expect(() =>
		updateTask(store, id, () => {
			throw new Error("no");
		}),
	).toThrow("no");
	updateTask(store, id, end);
	expect(readTask(store, id).status).toBe("completed");
});

/** A lock with the given holder. */
function holdLock(store: Store, id: string, holder: string): void {
	mkdirSync(join(store.dir, ".locks", id), { recursive: true });
	writeFileSync(join(store.dir, ".locks", id, holder), "");
}

test("the lock of a dead process is broken; the lock of a live one is waited for", () => {
	const { store, id } = openWithTask();
	holdLock(store, id, claimName({ ...identifySelf(), start: "1" }, "0"));
	updateTask(store, id, end);
	const living = identifyProcess(process.ppid);
	if (!living) throw new Error("no parent");
	holdLock(store, id, claimName(living, "0"));
	expect(() => updateTask(store, id, end, { timeoutMs: 50 })).toThrow(
		`held by process ${process.ppid}`,
	);
});

test("a lock that is only tried is taken from a dead process, and not waited for", () => {
	const { store, id } = openWithTask();
	const living = identifyProcess(process.ppid);
	if (!living) throw new Error("no parent");
	holdLock(store, id, claimName(living, "0"));
	const write = () => updateTask(store, id, end, { timeoutMs: 0 });
	expect(write).toThrow(LockHeldError);
	rmSync(join(store.dir, ".locks", id), { recursive: true });
	holdLock(store, id, claimName({ ...identifySelf(), start: "1" }, "0"));
	expect(write().status).toBe("completed");
	expect(readdirSync(join(store.dir, ".tmp"))).toEqual([]);
});

test("an asynchronous change is made at once if the lock is free, and an end once it is on disk", async () => {
	const { store, id } = openWithTask();
	const tag = (task: Task) => ({ ...task, tags: ["a"] });
	const changing = updateTaskAsync(store, id, tag);
	expect(readTask(store, id).tags).toEqual(["a"]);
	await changing;
	// The second one waits for the lock, and comes too late.
	const failed = (task: Task) =>
		finishTask(task, { reason: "lost", at: new Date().toISOString() });
	const ends = [end, failed].map((each) => updateTaskAsync(store, id, each));
	for (const task of await Promise.all(ends))
		expect(task).toMatchObject({ status: "completed", reason: "manual" });
	expect(readTask(store, id).reason).toBe("manual");
});

test("an asynchronous change waits for a lock while other work goes on", async () => {
	const { store, id } = openWithTask();
	const living = identifyProcess(process.ppid);
	if (!living) throw new Error("no parent");
	holdLock(store, id, claimName(living, "0"));
	const failed = updateTaskAsync(store, id, end, { timeoutMs: 1 });
	expect(failed).rejects.toBeInstanceOf(LockHeldError);
	await failed.catch(() => {});
	// Released by a timer of the same process, which would wait in vain if it were blocked.
	const free = () => rmSync(join(store.dir, ".locks", id), { recursive: true });
	setTimeout(free, 50);
	const options = { timeoutMs: 60_000 };
	const changed = await updateTaskAsync(store, id, end, options);
	expect(changed.status).toBe("completed");
	expect(readdirSync(join(store.dir, ".tmp"))).toEqual([]);
});

test.each([
	["on another machine", { machine: "other" }, "on other"],
	[
		"in another pid namespace",
		{ machine: identifySelf().machine.replace(/:.*/, ":1") },
		"in another pid namespace (1)",
	],
])(
	"a lock held %s is never broken; the refusal names the holder and the command that frees it",
	(_, fields, where) => {
		const dir = join(sandbox().dir, "it's $(touch here)");
		mkdirSync(dir, { recursive: true });
		const store = openStore({ dir, write: true });
		const task = newTask();
		createTask(store, task);
		holdLock(store, task.id, claimName({ ...identifySelf(), ...fields }, "0"));
		const write = () => updateTask(store, task.id, end, { timeoutMs: 50 });
		expect(write).toThrow(`held by process ${process.pid} ${where} (if`);
		let command = "";
		try {
			write();
		} catch (error) {
			command = /gone for good: (.*)\)$/.exec(String(error))?.[1] ?? "";
		}
		expect(Bun.spawnSync(["sh", "-c", command]).exitCode).toBe(0);
		expect(write().status).toBe("completed");
	},
);

test("writers that are killed at random lose no change and hold no lock", async () => {
	const { store, id } = openWithTask();
	const script = `
		import { openStore } from ${JSON.stringify(join(root, "lib/store/directory.ts"))};
		import { updateTask } from ${JSON.stringify(join(root, "lib/store/records.ts"))};
		const store = openStore({ dir: ${JSON.stringify(store.dir)}, write: true });
		for (;;) {
			const { seen } = updateTask(store, ${JSON.stringify(id)}, (task) => ({ ...task, seen: (task.seen ?? 0) + 1 }), { timeoutMs: 10_000 });
			console.log(seen);
		}`;
	let told = 0;
	for (let round = 0; round < 12; round++) {
		const writers = [1, 2, 3].map(() =>
			Bun.spawn(["bun", "-e", script], { stdout: "pipe", stderr: "inherit" }),
		);
		const streams = writers.map((each) => each.stdout.tee());
		const outputs = streams.map(([all]) => new Response(all).text());
		await Promise.race(streams.map(([, first]) => first.getReader().read()));
		// A random moment after the first write.
		await Bun.sleep(Math.random() * 60);
		for (const writer of writers) writer.kill("SIGKILL");
		for (const output of await Promise.all(outputs))
			told = Math.max(told, ...output.split("\n").map(Number));
	}
	expect(told).toBeGreaterThan(0);
	// Each number was printed by one writer after its write: none may be lost.
	expect(Number(readTask(store, id).seen)).toBeGreaterThanOrEqual(told);
	updateTask(store, id, end);
});

test("an end wakes the waiters", async () => {
	const { store, id } = openWithTask();
	let ends = 0;
	const disarm = watchEnds(store, () => ends++);
	updateTask(store, id, (task) => ({ ...task, tags: ["no end"] }));
	updateTask(store, id, end);
	await until(() => ends > 0, "the event of an end");
	disarm();
});

test("output is read from any byte to any byte", () => {
	const { store, id } = openWithTask();
	expect(readOutputBytes(store, id, { from: 0, to: 10 })).toHaveLength(0);
	writeFileSync(openOutput(store, id), "0123456789");
	expect(readOutputBytes(store, id, { from: 3, to: 6 }).toString()).toBe("345");
	expect(readOutputBytes(store, id, { from: 8, to: 100 }).toString()).toBe(
		"89",
	);
	expect(readOutputBytes(store, id, { from: 50, to: 60 })).toHaveLength(0);
	rmSync(outputFile(store, id));
	mkdirSync(outputFile(store, id));
	expect(() => readOutputBytes(store, id, { from: 0, to: 1 })).toThrow(
		/not a file/,
	);
});

test("ids are listed oldest first, and nothing else is", () => {
	const store = open();
	const ids = [createTaskId(), createTaskId(), createTaskId()];
	for (const id of ids.toReversed()) createTask(store, newTask({ id }));
	writeFileSync(join(store.dir, "notes.json"), "{}");
	writeFileSync(join(store.dir, "bg_x.json"), "{}");
	expect(listTaskIds(store)).toEqual(ids);
});
