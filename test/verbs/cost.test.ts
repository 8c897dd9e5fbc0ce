import { expect, test } from "bun:test";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Sandbox, sandbox, standIn, until } from "../tools/harness.ts";

const env = { BG_DROID: standIn };

/** Launches a droid in a session and returns its id. */
async function launch(box: Sandbox, prompt: string, ...flags: string[]) {
	const words = ["launch", "-q", "a droid", prompt, "--session", "s1"];
	const { stdout, error } = await box.bg([...words, ...flags], { env });
	if (error) throw new Error(error);
	return stdout.trim();
}

const statusOf = async (box: Sandbox, id: string) =>
	(await box.bg(["status", id, "--full"])).json();

const hold = "RUN[until [ -e go ]; do sleep 0.2; done]";

const release = (box: Sandbox) => writeFileSync(join(box.home, "go"), "");

/** The settings files that droids of this test wrote. */
function settingsOf(box: Sandbox): string[] {
	const sessions = join(box.home, ".factory", "sessions");
	return readdirSync(sessions, { recursive: true })
		.map((name) => join(sessions, String(name)))
		.filter((path) => path.endsWith(".settings.json"));
}

concurrentTest(
	"the tokens of running, failed and finished droids are in each answer",
	async () => {
		const box = sandbox();
		const done = await launch(box, "TOKENS[2000]\nSAY[hi]");
		await box.bg(["wait", done]);
		const id = await launch(box, `TOKENS[12000]\n${hold}`);
		const used = { input_tokens: 12_000, output_tokens: 5 };
		const running = await until(async () => {
			const task = await statusOf(box, id);
			return task.usage?.input_tokens ? task : undefined;
		}, "the tokens of its first turn");
		expect(running).toMatchObject({ status: "running", usage: used });
		expect(box.record(id).usage).toBeUndefined();

		const list = (await box.bg(["list", "--full"])).json();
		expect(list.tasks[0].usage).toMatchObject(used);
		expect(list.usage.s1).toMatchObject({
			input_tokens: 14_000,
			output_tokens: 10,
		});
		const { stdout: table } = await box.bg(["list", "--full", "--text"]);
		expect(table).toMatch(/running +\S+ +12k +executor-med/);
		const { stdout: report } = await box.bg(["report", "--session", "s1"]);
		expect(report).toContain("| 12k |");
		expect(report).toContain("Used: 14k tokens in, 10 out.");
		const { stdout: text } = await box.bg(["status", id, "--text"]);
		expect(text).toContain("12k tokens in, 5 out");

		// A session that is continued counts for each task what that one used.
		const { stdout } = await box.bg(["resume", "-q", done, "SAY[on]"], { env });
		const resumed = stdout.trim();
		await box.bg(["wait", resumed]);
		expect(box.record(resumed)).toMatchObject({
			usage_before: { input_tokens: 2000, output_tokens: 5 },
			usage: { input_tokens: 10, output_tokens: 5 },
		});

		// What is recorded at the end does not need droid's files.
		release(box);
		await box.bg(["wait", id]);
		for (const file of settingsOf(box)) rmSync(file);
		expect((await statusOf(box, id)).usage).toMatchObject({
			input_tokens: 24_000,
			output_tokens: 10,
		});
	},
);

concurrentTest(
	"a droid past --max-tokens is stopped, and tried no more",
	async () => {
		const box = sandbox();
		const flags = ["--max-tokens", "10k", "--retries", "2"];
		const id = await launch(box, `TOKENS[12000]\n${hold}`, ...flags);
		await box.bg(["wait", id]);
		expect(box.record(id)).toMatchObject({
			status: "error",
			reason: "budget",
			error: "used more than 10k tokens",
			max_tokens: 10_000,
		});
		expect(box.record(id).usage?.input_tokens).toBeGreaterThan(10_000);
		expect(box.record(id).attempt).toBeUndefined();
		// The same again may use more.
		const again = ["retry", "-q", id, "--max-tokens", "1M"];
		const { stdout } = await box.bg(again, { env });
		const next = stdout.trim();
		release(box);
		await box.bg(["wait", next]);
		expect(box.record(next)).toMatchObject({
			status: "completed",
			max_tokens: 1_000_000,
		});
	},
);

concurrentTest("--max-tokens counts all attempts together", async () => {
	const box = sandbox();
	// Each attempt uses 6000 tokens in its only turn, and fails.
	const flags = ["--max-tokens", "10000", "--retries", "5"];
	const droid = join(box.home, "droid");
	writeFileSync(droid, `#!/bin/sh\n'${standIn}' "$@"\nexit 3\n`, {
		mode: 0o755,
	});
	const words = ["launch", "-q", "d", "TOKENS[6000]", ...flags];
	const { stdout } = await box.bg(words, { env: { BG_DROID: droid } });
	const id = stdout.trim();
	await box.bg(["wait", id]);
	const { attempts, ...task } = box.record(id);
	expect(task).toMatchObject({
		status: "error",
		reason: "exit",
		attempt: 2,
		usage: { input_tokens: 12_000, output_tokens: 10 },
	});
	expect(attempts).toMatchObject([{ usage: { input_tokens: 6000 } }]);
});

concurrentTest(
	"a count that cannot be read stops nothing, and status says so",
	async () => {
		const box = sandbox();
		// The droid cannot write what it used.
		writeFileSync(join(box.home, ".factory"), "");
		const droid = join(box.home, "droid");
		const home = `${box.home}/other`;
		writeFileSync(droid, `#!/bin/sh\nHOME='${home}' exec '${standIn}' "$@"\n`, {
			mode: 0o755,
		});
		const flags = ["--max-tokens", "1"];
		const words = ["launch", "-q", "d", hold, ...flags];
		const { stdout } = await box.bg(words, { env: { BG_DROID: droid } });
		const id = stdout.trim();
		const task = await until(async () => {
			const now = await statusOf(box, id);
			return now.usage ? now : undefined;
		}, "its usage");
		expect(task).toMatchObject({ status: "running", max_tokens: 1 });
		expect(task.usage.input_tokens).toBeUndefined();
		expect(task.usage.unread).toContain(".settings.json");
		const { stdout: text } = await box.bg(["status", id, "--text"]);
		expect(text).toMatch(/usage +not known now: .*; at most 1 tokens/);
		release(box);
		await box.bg(["wait", id]);
		expect(box.record(id).status).toBe("completed");
	},
);

test("--max-tokens is a number of tokens, of a droid", async () => {
	const box = sandbox();
	for (const wrong of ["0", "-1", "1.5k", "many", ""]) {
		const words = ["launch", "d", "p", "--max-tokens", wrong];
		const { code, error } = await box.bg(words, { env });
		expect([wrong, code]).toEqual([wrong, 2]);
		expect(error).toContain("--max-tokens");
	}
	const lines = [
		{ description: "d", prompt: "p", max_tokens: "5x" },
		{ description: "d", command: ["true"], max_tokens: 5 },
	];
	for (const line of lines) {
		const words = ["launch", "--batch", "-"];
		const input = JSON.stringify(line);
		const { code, error } = await box.bg(words, { env, input });
		expect(code).toBe(2);
		expect(error).toMatch(/max.tokens/);
	}
	const id = await box.run(["true"]);
	await box.bg(["wait", id]);
	const { code, error } = await box.bg(["retry", id, "--max-tokens", "5"]);
	expect([code, error]).toEqual([2, expect.stringContaining("for a droid")]);
});
