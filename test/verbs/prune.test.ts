import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	utimesSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";

const sleeper = ["sleep", "600"];

const prune = async (box: Sandbox, ...args: string[]) =>
	(await box.bg(["prune", ...args])).json();

const cleanup = async (box: Sandbox, ...args: string[]) =>
	(await box.bg(["cleanup", ...args])).json();

const listed = async (box: Sandbox, ...args: string[]) =>
	(await box.bg(["list", ...args]))
		.json()
		.tasks.map(({ id }: { id: string }) => id);

/** Names below the dot folders, but for the marks and folders that stay. */
const leftIn = (box: Sandbox, ...folders: string[]) =>
	folders
		.flatMap((folder) => readdirSync(join(box.dir, folder)))
		.filter((name) => !/^(swept|swept-session|archived)$/.test(name));

/** A running task that was measured, and has been quiet and old for an hour. */
async function quietTask(box: Sandbox): Promise<string> {
	const id = await box.run(sleeper);
	await box.untilTask(id, ({ status }) => status === "running", "a start");
	const hour = 3_600_000;
	const record = {
		...box.record(id),
		elapsed_ms: hour,
		quiet_ms: hour,
		started_at: new Date(Date.now() - hour).toISOString(),
	};
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	return id;
}

test("what is old and quiet is stopped; the dry run says so before", async () => {
	const box = sandbox();
	const quiet = await quietTask(box);
	const young = await box.run(sleeper);
	await box.untilTask(young, ({ status }) => status === "running", "a start");
	const planned = await prune(box, "--dry-run");
	expect(planned.tasks).toEqual([
		{ id: quiet, taskId: quiet, reason: "stale" },
	]);
	expect(box.record(quiet).status).toBe("running");
	const { dryRun: _, ...plan } = planned;
	expect(await prune(box)).toEqual(plan);
	expect(box.record(quiet)).toMatchObject({ status: "error", reason: "stale" });
	expect(box.record(quiet).error).toStartWith("no output and no CPU time for");
	expect(box.record(young).status).toBe("running");
	await box.bg(["cancel", young]);
});

test("what is old and wrote a moment ago is overdue, and goes on", async () => {
	const box = sandbox();
	const id = await quietTask(box);
	writeFileSync(join(box.dir, `${id}.out`), "words\n");
	expect(await prune(box)).toMatchObject({
		removed: [],
		overdue: [{ id, taskId: id, age: "60m" }],
	});
	const old = new Date(Date.now() - 3_600_000);
	utimesSync(join(box.dir, `${id}.out`), old, old);
	expect(await prune(box)).toMatchObject({ removed: [id] });
});

test("a TTL that was typed decides alone", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", "while :; do echo x; sleep 0.1; done"]);
	await box.untilTask(id, ({ status }) => status === "running", "a start");
	// Older than the TTL, of which 1 s is the least.
	await Bun.sleep(1100);
	expect((await prune(box, "--ttl", "1s")).tasks).toEqual([
		{ id, taskId: id, reason: "timeout" },
	]);
	expect(box.record(id)).toMatchObject({ error: "timed out after 1s" });
});

test("what is lost is marked, and what it held is swept", async () => {
	const box = sandbox();
	const env = { BG_MAX_RUNNING: "1" };
	const id = await box.run(sleeper, { env });
	const { process: task, supervisor } = await box.untilTask(
		id,
		({ status }) => status === "running",
		"a start",
	);
	const queued = (
		await box.bg(["run", "-q", "--unique", "key", "x", "--", ...sleeper], {
			env,
		})
	).stdout.trim();
	const { supervisor: waiting } = await box.untilTask(
		queued,
		(each) => each.supervisor,
		"a supervisor",
	);
	for (const each of [supervisor, task, waiting])
		process.kill(each?.pid ?? 0, "SIGKILL");
	await until(() => box.alive().length === 0, "all gone");
	writeFileSync(
		join(box.dir, ".tmp", "99999999,1,not-this-boot,nowhere,0"),
		"",
	);
	const { removed } = await prune(box);
	expect(removed.toSorted()).toEqual([id, queued]);
	expect(box.record(id)).toMatchObject({ status: "error", reason: "lost" });
	expect(leftIn(box, ".slots", ".queue", ".locks", ".unique")).toEqual([]);
});

test("records of another machine and old ones are left alone and named", async () => {
	const box = sandbox();
	mkdirSync(box.dir, { mode: 0o700 });
	const write = (id: string, fields: object) =>
		writeFileSync(
			join(box.dir, `${id}.json`),
			JSON.stringify({ id, description: "x", status: "running", ...fields }),
		);
	const who = { machine: "elsewhere:1", boot: "b", pid: 1, start: "1" };
	const started_at = "2020-01-01T00:00:00.000Z";
	write("bg_00000001", { started_at, process: who, supervisor: who });
	write("bg_00000002", { started_at: new Date().toISOString() });
	write("bg_00000003", { started_at });
	const { tasks, unknown } = await prune(box);
	expect(tasks).toEqual([
		{ id: "bg_00000003", taskId: "bg_00000003", reason: "timeout" },
	]);
	expect(unknown).toEqual([
		{
			id: "bg_00000002",
			taskId: "bg_00000002",
			note: "no supervisor is known",
		},
		{ id: "bg_00000001", taskId: "bg_00000001", note: "on elsewhere" },
	]);
	const words = (await box.bg(["prune", "--text"])).stdout;
	expect(words).toContain("on elsewhere (bg complete records its result)");
	await box.bg(["complete", "bg_00000001", "", "its machine is gone"]);
	expect((await prune(box)).unknown).toHaveLength(1);
});

test("cleanup takes finished tasks off the list and deletes nothing", async () => {
	const box = sandbox();
	const done = await box.run(["echo", "hi"]);
	const failed = await box.run(["false"]);
	const running = await box.run(sleeper);
	await box.bg(["wait", done, failed]);
	const planned = await cleanup(box, "--dry-run");
	expect(planned.archived.toSorted()).toEqual([done, failed]);
	expect(await listed(box)).toHaveLength(3);
	const { dryRun: _, ...plan } = planned;
	expect(await cleanup(box)).toEqual(plan);
	expect(await listed(box)).toEqual([running]);
	expect((await listed(box, "--all")).length).toBe(3);
	expect(await cleanup(box)).toMatchObject({ archived: [], deleted: [] });
	expect((await box.bg(["output", done])).stdout).toBe("hi\n");
	await box.bg(["cancel", running]);
});

test("cleanup --delete removes what is old enough, with all it left", async () => {
	const box = sandbox();
	const done = await box.run(["echo", "hi"]);
	const tried = (
		await box.bg(["run", "-q", "--retries", "1", "x", "--", "false"])
	).stdout.trim();
	await box.bg(["wait", done, tried]);
	await until(() => box.alive().length === 0, "the supervisors to leave");
	expect((await cleanup(box, "--delete")).deleted).toEqual([]);
	const { deleted, freedBytes } = await cleanup(
		box,
		"--delete",
		"--older-than",
		"0s",
	);
	expect(deleted.toSorted()).toEqual([done, tried]);
	expect(freedBytes).toBeGreaterThan(0);
	expect(readdirSync(box.dir).filter((name) => name.startsWith("bg_"))).toEqual(
		[],
	);
	expect(leftIn(box, ".progress", ".locks", ".notices")).toEqual([]);
	expect(leftIn(box, ".sessions")).toEqual([".whole"]);
});

test("cleanup --max-size deletes the oldest, but not what another waits for", async () => {
	const box = sandbox();
	const write = ["head", "-c", "20000", "/dev/zero"];
	const [oldest, older, newest] = [
		await box.run(write),
		await box.run(write),
		await box.run(write),
	];
	await box.bg(["wait"]);
	const gate = await box.run(sleeper);
	const waiting = (
		await box.bg([
			"run",
			"-q",
			"--after",
			`${gate},${oldest}`,
			"x",
			"--",
			"true",
		])
	).stdout.trim();
	await until(
		async () =>
			(await cleanup(box, "--delete", "--max-size", "60K", "--dry-run")).deleted
				.length === 1,
		"the supervisors to leave",
	);
	const { deleted } = await cleanup(box, "--delete", "--max-size", "60K");
	expect(deleted).toEqual([older]);
	expect(existsSync(join(box.dir, `${newest}.out`))).toBe(true);
	expect(existsSync(join(box.dir, `${oldest}.out`))).toBe(true);
	await box.bg(["cancel", waiting, gate]);
});

test("what has a process is not put away", async () => {
	const box = sandbox();
	const id = await box.run(sleeper);
	await box.untilTask(id, ({ status }) => status === "running", "a start");
	await box.bg(["complete", id, "early"]);
	expect(await cleanup(box)).toMatchObject({ archived: [] });
	await box.bg(["cancel", id]);
});

test.each([
	[["prune", "--ttl", "soon"], "--ttl soon"],
	[["prune", "--stale", "-1s"], "--stale -1s"],
	[["cleanup", "--older-than", "7d"], "add --delete"],
	[["cleanup", "--delete", "--max-size", "big"], "--max-size big"],
])("%p is a usage error", async (args, words) => {
	const answer = await sandbox().bg(args);
	expect(answer.code).toBe(2);
	expect(answer.error).toContain(words);
});
