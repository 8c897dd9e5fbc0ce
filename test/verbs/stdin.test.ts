import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { isAlive, sandbox, standIn, until } from "../tools/harness.ts";
import { outputOf, running, script } from "../tools/scripts.ts";

const keep = ["--stdin", "keep"];

/** Prints what it reads, a line at a time, and how its input ended. */
const echo = 'while read -r line; do echo "got $line"; done; echo end';

concurrentTest(
	"bg send writes to the input of a command, which ends on request only",
	async () => {
		const box = sandbox();
		const id = await script(box, keep, echo);
		const task = await running(box, id);
		const send = async (words: string[], input?: string) => {
			const answer = await box.bg(
				["send", id, ...words],
				input === undefined ? {} : { input },
			);
			expect([words, answer.error]).toEqual([words, ""]);
			return answer.json();
		};
		expect(await send(["a line"])).toEqual({
			id,
			taskId: id,
			status: "running",
			input: { bytes: 7, eof: false },
		});
		const file = join(box.home, "file");
		writeFileSync(file, "in a file\n");
		await send(["--file", file]);
		await send(["-"], "from ");
		await send(["--no-newline", "several "]);
		await send(["calls"]);
		// A supervisor that is killed ends no input.
		process.kill(task.supervisor?.pid ?? 0, "SIGKILL");
		await until(() => !isAlive(task.supervisor?.pid ?? 0), "its end");
		await box.bg(["list"]);
		await send(["after that"]);
		const text = "got a line\ngot in a file\ngot from several calls\n";
		const all = `${text}got after that\n`;
		await until(() => outputOf(box, id) === all, "all lines");
		await send(["--eof", "the last"]);
		await until(() => outputOf(box, id) === `${all}got the last\nend\n`, "end");
		await box.bg(["wait", id]);
		expect(readdirSync(join(box.dir, ".input"))).toEqual([]);
	},
);

concurrentTest(
	"a command that does not read makes no writer wait, and is stopped as any other",
	async () => {
		const box = sandbox();
		const id = await script(box, keep, "exec sleep 60");
		await running(box, id);
		await box.bg(["pause", id]);
		const input = Buffer.alloc(100_000, "x");
		const words = ["send", id, "-", "--eof", "--timeout", "0.05s"];
		const full = await box.bg(words, { input });
		expect(full.code).toBe(111);
		expect(full.error).toMatch(
			/took \d+ of 100000 bytes, \d+ were not sent: its input is full, and it read nothing for 0.05s/,
		);
		await box.bg(["unpause", id]);
		expect((await box.bg(["cancel", id])).code).toBe(0);
		const late = await box.bg(["send", id, "x"]);
		expect([late.code, late.error]).toEqual([
			111,
			expect.stringContaining(`${id} is cancelled: its input is closed`),
		]);
		expect(readdirSync(join(box.dir, ".input"))).toEqual([]);
	},
);

concurrentTest("each attempt has an input of its own", async () => {
	const box = sandbox();
	const text = 'read -r line; echo "$BG_ATTEMPT $line"; exit "$((line))"';
	const id = await script(box, [...keep, "--retries", "1"], text);
	const attempt = (n: number) =>
		box.untilTask(
			id,
			(task) => task.status === "running" && (task.attempt ?? 1) === n,
			"its attempt",
		);
	await attempt(1);
	await box.bg(["send", id, "3"]);
	await attempt(2);
	await box.bg(["send", id, "0"]);
	expect((await box.bg(["wait", id])).code).toBe(0);
	expect([outputOf(box, `${id}.1`), outputOf(box, id)]).toEqual([
		"1 3\n",
		"2 0\n",
	]);
	const { stdout } = await box.bg(["retry", "-q", id]);
	const again = stdout.trim();
	await running(box, again);
	await box.bg(["send", again, "--eof"]);
	await box.bg(["wait", again]);
	expect(outputOf(box, again)).toBe("1 \n");
});

test("what cannot be sent to is said, and who must not send", async () => {
	const box = sandbox();
	const plain = await script(box, [], "exec sleep 60");
	const env = { BG_DROID: standIn };
	const parent = (
		await box.bg(["launch", "-q", "d", "SAY[hi]"], { env })
	).stdout.trim();
	const inside = { BG_TASK_ID: parent, BG_DEPTH: "1" };
	const child = await script(box, keep, "exec cat", inside);
	await box.bg(["wait", parent]);
	await running(box, child);
	const refuse = async (
		words: string[],
		code: number,
		error: string,
		env = {},
	) =>
		expect([words, await box.bg(words, { env })]).toEqual([
			words,
			expect.objectContaining({
				code,
				error: expect.stringContaining(error),
			}),
		]);
	await refuse(["send", plain, "x"], 111, "without --stdin keep");
	await refuse(["send", child], 2, "no message");
	await refuse(["send", child, "x", "--file", "y"], 2, "given twice");
	await refuse(["send", child, "x", "--wait"], 2, "--wait is for a droid");
	await refuse(
		["launch", "d", "p", ...keep],
		2,
		"--stdin keep is for a command",
		env,
	);
	await refuse(
		["send", plain, "x"],
		111,
		"was not launched by the task",
		inside,
	);
	expect((await box.bg(["send", child, "x"], { env: inside })).code).toBe(0);
	const record = join(box.dir, `${parent}.json`);
	const low = readFileSync(record, "utf8").replace('"medium"', '"low"');
	writeFileSync(record, low);
	await refuse(["send", child, "x"], 111, "needs autonomy medium", inside);
	await refuse(["send", child, "--eof"], 111, "needs autonomy medium", inside);
	expect((await box.bg(["send", child, "--eof"])).code).toBe(0);
	await refuse(["send", child, "x"], 111, " input");
	await box.bg(["cancel", plain]);
	await box.bg(["wait", child]);
	expect(outputOf(box, child)).toBe("x\n");
});
