import { expect, test } from "bun:test";
import {
	existsSync,
	lstatSync,
	mkdirSync,
	readdirSync,
	rmSync,
	truncateSync,
	writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { maxFileBytes } from "../../lib/store/files.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import {
	formatRecordText,
	maxRecordBytes,
} from "../../lib/task/record-size.ts";
import type { Task } from "../../lib/task/schema.ts";
import { finishTask, requeueForRetry } from "../../lib/task/states.ts";
import { executable, sandbox, until } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

const at = "2026-01-02T03:04:05.678Z";

const task = (fields: Partial<Task> = {}): Task => ({
	...parseTask(JSON.stringify({ id: createTaskId(), status: "running" })),
	...fields,
});

test("a record of more than 1 MiB is not read, and the list shows the others", async () => {
	const box = sandbox();
	const [id, large] = [addTask(box), addTask(box)];
	const path = join(box.dir, `${large}.json`);
	truncateSync(path, 2 ** 32);
	const problem = `${path} is too large (more than 1 MiB): move it away`;
	expect((await box.bg(["list"])).json()).toMatchObject({
		tasks: [{ id }],
		unreadable: [{ taskId: large, problem }],
	});
	const { code, error } = await box.bg(["status", large]);
	expect([code, error]).toEqual([111, `bg: ${problem}\n`]);
});

test("a record that bg writes can be read again", () => {
	expect(maxRecordBytes).toBe(maxFileBytes);
	const prompt = "\u0001".repeat(174_000);
	const before = task({ prompt, command: ["true"] });
	expect(JSON.parse(formatRecordText(before))).toEqual(before);
	const facts = { result: "x".repeat(16_384), exit_code: 3 };
	const ended = finishTask(before, { reason: "exit", failed: true, at, facts });
	const text = formatRecordText(ended);
	expect(Buffer.byteLength(text)).toBeLessThanOrEqual(maxRecordBytes);
	expect(parseTask(text)).toMatchObject({
		status: "error",
		exit_code: 3,
		command: ["true"],
	});
	const command = ["x".repeat(maxRecordBytes)];
	expect(() => formatRecordText(task({ command }))).toThrow(
		/larger than 1 MiB/,
	);
});

test("what a task adds to its record stays small, however often it fails", () => {
	const error = `never started: no program ${"\u0001".repeat(100_000)}`;
	const end = { reason: "spawn", at, error } as const;
	let now = task({ retries: 100 });
	for (let attempt = 0; attempt < 100; attempt++)
		now = requeueForRetry(now, finishTask(now, end));
	const ended = finishTask(now, end);
	expect(ended.attempts).toHaveLength(100);
	expect(ended.error).toStartWith("never started: no program ");
	expect(formatRecordText(ended).length).toBeLessThan(200_000);
});

test("a droid's stream adds little to the record, whatever its content", async () => {
	const box = sandbox();
	const long = "x".repeat(300_000);
	const events = [
		{ type: "system", subtype: "init", session_id: long, model: long },
		{ type: "tool_call", toolName: long },
		{ type: "completion", finalText: long, usage: { long } },
	];
	const stream = join(box.home, "stream");
	const lines = events.map((event) => `${JSON.stringify(event)}\n`);
	writeFileSync(stream, lines.join(""));
	const script = `#!/bin/sh\ncat ${stream}\n`;
	box.env.BG_DROID = executable(box.home, "droid", script);
	const launch = await box.bg(["launch", "-q", "d", "p"]);
	const id = launch.stdout.trim();
	expect((await box.bg(["wait", id])).code).toBe(0);
	const { result, droid_session_id, usage } = box.record(id);
	expect([result?.length, droid_session_id, usage]).toEqual([
		16_384,
		undefined,
		undefined,
	]);
	expect(lstatSync(join(box.dir, `${id}.json`)).size).toBeLessThan(40_000);
});

test("a launch with a record that would be too large is refused, in a batch with its line number", async () => {
	const box = sandbox();
	const command = ["true", "x".repeat(800_000)];
	const lines = [["true"], command].map((command) =>
		JSON.stringify({ description: "d", command }),
	);
	const input = lines.join("\n");
	const { code, error } = await box.bg(["launch", "--batch", "-"], { input });
	expect(code).toBe(2);
	expect(error).toContain(
		"nothing was launched: line 2: the record of this task would be larger than 768 KiB: put long text into a file or a script",
	);
	expect(existsSync(box.dir)).toBe(false);
});

/** What may replace a record; each is removed with the store. */
const specials: Record<string, (path: string) => unknown> = {
	"a socket": (path) =>
		new Promise<void>((resolve) =>
			createServer().unref().listen(path, resolve),
		),
	"a pipe": (path) => Bun.spawnSync(["mkfifo", path]),
	"a folder": (path) => mkdirSync(path),
};

const isFile = (path: string) =>
	lstatSync(path, { throwIfNoEntry: false })?.isFile();

test.each(Object.entries(specials))(
	"an end whose record became %s is written, and that is set aside",
	async (_, make) => {
		const box = sandbox();
		const go = join(box.home, "go");
		const script = `until test -e ${go}; do sleep 0.2; done; exit 3`;
		const id = await box.run(["sh", "-c", script]);
		await box.untilTask(id, ({ process }) => process, "a start");
		const path = join(box.dir, `${id}.json`);
		rmSync(path);
		await make(path);
		expect((await box.bg(["list"])).json().unreadable).toHaveLength(1);
		writeFileSync(go, "");
		await until(() => isFile(path), "its end");
		expect(box.record(id)).toMatchObject({ status: "error", exit_code: 3 });
		const [aside = "", ...others] = readdirSync(join(box.dir, ".broken"));
		expect(aside).toStartWith(`${id}.`);
		expect(others).toEqual([]);
		expect(isFile(join(box.dir, ".broken", aside))).toBe(false);
	},
);
