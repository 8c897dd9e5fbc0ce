/** What the machine may be short of, and odd places: each has a clear outcome, and nothing is lost. */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Task } from "../../lib/task/schema.ts";
import {
	isAlive,
	processesWith,
	program,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import {
	handOver,
	pidNamespace,
	setFolderModes,
	smallDisk,
} from "../tools/namespaces.ts";

const recordIn = (dir: string, id: string): Task =>
	JSON.parse(readFileSync(join(dir, `${id}.json`), "utf8"));

const recordsIn = (dir: string) =>
	readdirSync(dir).filter((name) => /^bg_.*\.json$/.test(name));

test("a launch on a full disk is refused, leaves nothing, and works once there is room", async () => {
	const box = sandbox();
	const disk = await smallDisk(box);
	const argv = [...disk.argv, ...program];
	const run = () => box.bg(["run", "-q", "d", "--", "true"], { argv });
	expect(
		(await box.bg(["wait", (await run()).stdout.trim()], { argv })).code,
	).toBe(0);
	disk.fill();
	const { code, error } = await run();
	expect({ code, error }).toEqual({
		code: 111,
		error: expect.stringMatching(/^bg: unable to .*ENOSPC.*\n$/),
	});
	await until(
		() => processesWith(`BG_DIR=${box.dir}`).length === 0,
		"its supervisor gone",
	);
	expect(recordsIn(disk.dir)).toHaveLength(1);
	disk.free();
	const left = [".queue", ".slots", ".prompts", ".launches", ".locks"].flatMap(
		(name) => readdirSync(join(disk.dir, name)),
	);
	expect(left).toEqual([]);
	expect((await run()).code).toBe(0);
	expect((await box.bg(["wait"], { argv })).code).toBe(0);
});

test("a disk that is full when a task ends and the next one begins loses neither end", async () => {
	const box = sandbox();
	const disk = await smallDisk(box);
	const argv = [...disk.argv, ...program];
	const go = join(box.home, "go");
	const script = `echo before; until test -e ${go}; do sleep 0.2; done; exit 3`;
	const run = async (...command: string[]) => {
		const env = { BG_MAX_RUNNING: "1" };
		const words = ["run", "-q", "d", "--", ...command];
		return (await box.bg(words, { argv, env })).stdout.trim();
	};
	const id = await run("sh", "-c", script);
	const isRunning = () => recordIn(disk.dir, id).status === "running";
	await until(isRunning, "its start noted");
	const next = await run("sh", "-c", "exit 4");
	disk.fill();
	expect((await box.bg(["list"], { argv })).json()).toMatchObject({
		running: 1,
		queued: 1,
	});
	writeFileSync(go, "");
	await until(
		() => processesWith(`BG_TASK_ID=${id}`).length === 0,
		"its process gone",
	);
	// What leaves the queue may free just enough for its end to be written.
	const { running } = (await box.bg(["list"], { argv })).json();
	if (!running) expect(recordIn(disk.dir, id)).toMatchObject({ exit_code: 3 });
	disk.free();
	const wait = await box.bg(["wait", id, next], { argv });
	const codes = wait
		.json()
		.tasks.map(
			({ taskId, exit_code }: { taskId: string; exit_code: number }) => [
				taskId,
				exit_code,
			],
		);
	expect(codes.toSorted()).toEqual([
		[id, 3],
		[next, 4],
	]);
});

test("in a store that may only be read verbs answer or are refused, and change nothing", async () => {
	const box = sandbox();
	const argv = [...handOver(box), ...program];
	const done = await box.run(["echo", "hi"], { argv });
	await box.bg(["wait", done], { argv });
	const running = await box.run(["sleep", "600"], { argv });
	await box.untilTask(running, ({ process }) => process, "a start");
	const before = box.state(running);
	await setFolderModes(box, "500");
	const calls: [string[], number, string][] = [
		[["list"], 0, ""],
		[["status", done], 0, ""],
		[["output", done], 0, ""],
		[["wait", done], 0, ""],
		[["prune", "--dry-run"], 0, ""],
		[["cleanup", "--dry-run"], 0, ""],
		[["run", "d", "--", "true"], 111, "unable to write"],
		[["pause", running], 111, "unable to lock"],
		[["complete", running, "x"], 111, "unable to lock"],
		[["prune"], 0, ""],
		[["cleanup"], 111, "unable to lock"],
	];
	for (const [args, code, why] of calls) {
		const answer = await box.bg(args, { argv });
		// The answer of cleanup names the tasks that it kept.
		const kept =
			args[0] === "cleanup" && code ? answer.json().kept[0].note : "";
		const error = answer.error || (kept && `bg: ${kept}\n`);
		expect([args, answer.code, error]).toEqual([
			args,
			code,
			why ? expect.stringMatching(new RegExp(`^bg: ${why} .*EACCES.*\n$`)) : "",
		]);
	}
	expect(box.state(running)).toEqual(before);
	await setFolderModes(box, "700");
	expect((await box.bg(["cancel", running], { argv })).code).toBe(0);
});

test("a store on a path with spaces, quotes, newlines and emoji is as good as any", async () => {
	const box = sandbox();
	const dir = join(box.home, `it's "my"\n $(touch x) \\ 🐟 store`);
	const env = { BG_DIR: dir, BG_SESSION_ID: "par-1" };
	const run = async (...command: string[]) =>
		(await box.bg(["run", "-q", "d", "--", ...command], { env })).stdout.trim();
	const done = await run("sh", "-c", 'echo "$BG_DIR"');
	const sleeping = await run("sleep", "600");
	const [ended] = (
		await box.bg(["wait", done], { env: { ...env, BG_SESSION_ID: "" } })
	).json().tasks;
	expect(ended).toMatchObject({ status: "completed" });
	expect(
		(
			await box.bg(["output", done, "--raw"], {
				env: { ...env, BG_SESSION_ID: "" },
			})
		).stdout,
	).toBe(`${dir}\n`);
	expect((await box.bg(["list"], { env })).json().total).toBe(2);
	const hook = await box.bg(["hook"], {
		env,
		input: JSON.stringify({
			hook_event_name: "PostToolUse",
			session_id: "par-1",
			tool_name: "Execute",
		}),
	});
	expect(hook.stdout).toContain(done);
	expect((await box.bg(["cancel", sleeping], { env })).code).toBe(0);
	expect(existsSync(join(box.home, "x"))).toBe(false);
	await until(() => processesWith(`BG_DIR=${dir}`).length === 0, "all gone");
});

test("without HOME the store is $BG_DIR, or the home that the system knows; else it says so", async () => {
	const box = sandbox();
	const nobody = ["unshare", "--map-user=64999", ...program];
	// Deno wants a folder of its own.
	const env = { HOME: undefined, DENO_DIR: join(box.home, "deno") };
	const known = { ...env, BG_DROID: standIn };
	const launch = ["launch", "-q", "d", "ANSWER[ok]"];
	const droid = await box.bg(launch, { env: known, argv: nobody });
	expect(droid.code).toBe(0);
	await box.bg(["wait", droid.stdout.trim()]);
	const nowhere = { ...env, BG_DIR: undefined };
	for (const verb of [["list"], ["run", "d", "--", "true"]]) {
		const { code, error } = await box.bg(verb, { env: nowhere, argv: nobody });
		expect([verb, code, error]).toEqual([
			verb,
			111,
			"bg: no home to keep tasks in: set HOME or BG_DIR\n",
		]);
	}
});

test("after a reboot what ran is lost, and who has its pids now is left alone", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const rebooted = (who: Task["process"]) => who && { ...who, boot: "before" };
	const record = {
		...task,
		process: rebooted(task.process),
		supervisor: rebooted(task.supervisor),
	};
	process.kill(task.supervisor?.pid ?? 0, "SIGSTOP");
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	const [row] = (await box.bg(["list"])).json().tasks;
	expect(row).toMatchObject({ status: "error", reason: "lost" });
	expect(isAlive(task.pid ?? 0)).toBe(true);
	process.kill(task.supervisor?.pid ?? 0, "SIGKILL");
	process.kill(task.pid ?? 0, "SIGKILL");
});

test("a task in another pid namespace is shown as that, left alone, and takes up no place here", async () => {
	const box = sandbox();
	const inside = { argv: [...(await pidNamespace()), ...program] };
	const env = { BG_MAX_RUNNING: "1" };
	const id = await box.run(["sleep", "600"], inside);
	await box.untilTask(id, ({ process }) => process, "a start");
	const note = expect.stringMatching(/^in another pid namespace \(\d+\)$/);
	expect((await box.bg(["list"])).json().tasks).toMatchObject([
		{ id, status: "running", note },
	]);
	const { code, json } = await box.bg(["cancel", id]);
	expect([code, json().tasks]).toMatchObject([1, [{ cancelled: false, note }]]);
	expect((await box.bg(["prune", "--ttl", "0s"])).json()).toMatchObject({
		removed: [],
		unknown: [{ taskId: id, note }],
	});
	expect((await box.bg(["wait", await box.run(["true"], { env })])).code).toBe(
		0,
	);
	expect((await box.bg(["status", id], inside)).json().note).toBeUndefined();
	expect((await box.bg(["cancel", id], inside)).code).toBe(0);
});
