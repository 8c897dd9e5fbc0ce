import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Sandbox, sandbox, standIn, until } from "../tools/harness.ts";
import { entries, isOver, kill, parkOne } from "../tools/queue.ts";
import { script } from "../tools/scripts.ts";

describe("--wait", () => {
	test.each([
		["echo hi", 0, { status: "completed", exit_code: 0, result: "hi" }],
		["echo oh; exit 7", 7, { status: "error", exit_code: 7, result: "oh" }],
		["kill -9 $$", 137, { status: "error", error: "killed by SIGKILL" }],
	])("ends with the result and the code of %j", async (text, code, end) => {
		const box = sandbox();
		const call = ["run", "--wait", "d", "--", "sh", "-c", text];
		const answer = await box.bg(call);
		expect(answer).toMatchObject({ code, stderr: "" });
		const { id } = answer.json();
		expect(answer.json()).toMatchObject({ id, taskId: id, ...end });
	});

	test("in text has what a launch says and what wait says; with -q the id alone", async () => {
		const box = sandbox();
		const call = ["run", "--wait", "--text", "d", "--", "sh", "-c"];
		const text = await box.bg([...call, "echo hi; exit 3"]);
		expect(text).toMatchObject({ code: 3, stderr: "" });
		expect(text.stdout).toMatch(
			/^launched (bg_\w+) .*\n\1 {2}✖ error .* d\n {4}exited 3\n$/,
		);
		const quiet = await box.bg(["run", "-q", "--wait", "d", "--", "false"]);
		expect(quiet.code).toBe(1);
		expect(quiet.stdout).toMatch(/^bg_\w+\n$/);
	});

	concurrentTest(
		"an end that is not the command's own is 1, and a batch is 0 or 1",
		async () => {
			const box = sandbox();
			const flags = ["--wait", "--timeout", "0.2s"];
			const late = await box.bg(["run", ...flags, "d", "--", "sleep", "60"]);
			expect(late).toMatchObject({ code: 1 });
			expect(late.json().error).toContain("timed out");
			const input = [["true"], ["sh", "-c", "exit 9"]]
				.map((command) => JSON.stringify({ description: "d", command }))
				.join("\n");
			const batch = await box.bg(["launch", "--wait", "--batch", "-"], {
				input,
			});
			expect(batch.code).toBe(1);
			expect(batch.json().tasks).toMatchObject([
				{ status: "completed" },
				{ status: "error", exit_code: 9 },
			]);
		},
	);

	test("a droid that completes is 0, and its answer is collected", async () => {
		const box = sandbox();
		const env = { BG_DROID: standIn, BG_SESSION_ID: "s1" };
		const call = ["launch", "--wait", "d", "SAY[the answer]"];
		const answer = await box.bg(call, { env });
		expect(answer).toMatchObject({ code: 0 });
		expect(answer.json()).toMatchObject({ result: "the answer" });
		const notices = join(box.dir, ".notices", "s1");
		expect(existsSync(notices) ? readdirSync(notices) : []).toEqual([]);
	});
});

describe("--stdin -", () => {
	/** The files of standard input that the store has. */
	const inputs = (box: Sandbox) =>
		readdirSync(join(box.dir, ".prompts")).filter((name) =>
			name.endsWith(".stdin"),
		);

	concurrentTest(
		"gives a task all of it, for each attempt, in a private file that goes with the task",
		async () => {
			const box = sandbox();
			const input = "a line\n".repeat(20_000);
			const text = 'cat >"$BG_ATTEMPT"; exec <&-; test "$BG_ATTEMPT" = 2';
			const flags = ["--stdin", "-", "--retries", "1"];
			const call = ["run", "-q", ...flags, "d", "--", "sh", "-c", text];
			const { stdout } = await box.bg(call, { input });
			const id = stdout.trim();
			const path = box.record(id).stdin ?? "";
			const mode = existsSync(path) ? statSync(path).mode & 0o777 : 0o600;
			expect(mode).toBe(0o600);
			await isOver(box, id);
			for (const attempt of ["1", "2"])
				expect(await Bun.file(join(box.home, attempt)).text()).toBe(input);
			await until(() => inputs(box).length === 0, "the file gone");
			const again = await box.bg(["retry", id]);
			expect(again.code).toBe(111);
			expect(again.error).toContain("came from its launcher");
		},
	);

	test("that is empty, too large or taken twice", async () => {
		const box = sandbox();
		const call = ["run", "--stdin", "-", "--wait", "d", "--", "wc", "-c"];
		expect((await box.bg(call, { input: "" })).json().result).toBe("0");
		const input = new Uint8Array(16 * 1024 * 1024 + 1);
		const large = await box.bg(call, { input });
		expect(large.code).toBe(2);
		expect(large.error).toContain("--stdin -: more than 16 MiB");
		const twice = ["launch", "--stdin", "-", "--prompt-file", "-", "d"];
		const env = { BG_DROID: standIn };
		expect((await box.bg(twice, { input: "p", env })).error).toContain("both");
		const line = { description: "d", command: ["cat"], stdin: "-" };
		const batch = await box.bg(["launch", "--batch", "-"], {
			input: JSON.stringify(line),
		});
		expect(batch.error).toContain("line 1: stdin takes a file");
		expect(inputs(box)).toEqual([]);
		expect((await box.bg(["list"])).json().total).toBe(1);
	});
});

describe("--delay", () => {
	concurrentTest(
		"a task starts after it, also one that waits as a shell",
		async () => {
			const box = sandbox();
			const first = await script(box, ["--delay", "10m"], "true");
			const launchedAt = Date.now();
			const id = await script(box, ["--delay", "5"], "true");
			const notBefore = Date.parse(box.record(id).not_before ?? "");
			expect(notBefore).toBeGreaterThanOrEqual(launchedAt + 5000);
			const { started_at = "", status } = await isOver(box, id);
			expect(status).toBe("completed");
			expect(Date.parse(started_at)).toBeGreaterThanOrEqual(notBefore);
			expect(box.record(first).status).toBe("queued");
			await box.bg(["cancel", first]);
		},
	);

	concurrentTest(
		"many wait as shells, say when they start, and start although the process that would start them is killed",
		async () => {
			const box = sandbox();
			const far = await script(box, ["--delay", "10m"], "true");
			const park = (delay: string) =>
				parkOne(box, () => script(box, ["--delay", delay], "true"));
			const later = await park("2h");
			// Last, because it starts by itself in the end.
			const near = await park("20s");
			expect(entries(box, "parked")).toContain(later);
			// The first one in line is awake, for all of them.
			await until(
				() => !entries(box, "parked").some((name) => name.startsWith(far)),
				"the first one awake",
			);
			const { waits_for } = (await box.bg(["status", later])).json();
			expect(waits_for).toBe("queued: starts in 2h");
			kill(box.record(far).supervisor?.pid);
			const waited = await box.bg(["wait", far, near]);
			expect(box.record(far)).toMatchObject({ reason: "lost" });
			expect(waited.json().tasks).toContainEqual(
				expect.objectContaining({ id: near, status: "completed" }),
			);
			expect(box.record(later).status).toBe("queued");
			await box.bg(["cancel", later]);
		},
	);

	concurrentTest("comes in a batch, and is not for a retry", async () => {
		const box = sandbox();
		const lines = [{ delay: 10 }, { delay: "0" }, { retries: 1 }];
		const input = lines
			.map((line) =>
				JSON.stringify({ description: "d", command: ["false"], ...line }),
			)
			.join("\n");
		const batch = await box.bg(["launch", "-q", "--batch", "-"], { input });
		const ids = batch.stdout.trim().split("\n");
		const [first = "", second = ""] = ids;
		expect((await box.bg(["wait", ...ids])).code).toBe(1);
		const { not_before, started_at = "", queued_at = "" } = box.record(first);
		expect(not_before).toBeUndefined();
		expect(Date.parse(started_at)).toBeGreaterThanOrEqual(
			Date.parse(queued_at) + 10_000,
		);
		expect(started_at > (box.record(second).started_at ?? "")).toBe(true);
		const { id } = (await box.bg(["retry", first, "--wait"])).json();
		expect(box.record(id).not_before).toBeUndefined();
	});

	test("of more than a year, or of no time, is refused", async () => {
		const box = sandbox();
		for (const given of ["366d", "soon", "-1s"]) {
			const call = ["run", `--delay=${given}`, "d", "--", "true"];
			const answer = await box.bg(call);
			expect(answer.code).toBe(2);
			expect(answer.error).toContain(`--delay ${given}: it takes`);
		}
	});
});

test("retry takes another model, droid and autonomy, inside a task at most its own", async () => {
	const box = sandbox();
	const env = { BG_DROID: standIn };
	const call = ["launch", "--wait", "d", "SAY[x]", "--autonomy", "low"];
	const { id } = (await box.bg(call, { env })).json();
	const flags = ["--model", "m2", "--droid", "executor-high"];
	const more = ["--autonomy", "high", "--wait"];
	const again = await box.bg(["retry", id, ...flags, ...more], { env });
	expect(box.record(again.json().id)).toMatchObject({
		retry_of: id,
		prompt: "SAY[x]",
		model: "m2",
		agent: "executor-high",
		autonomy: "high",
		status: "completed",
	});
	const inside = { ...env, BG_TASK_ID: id, BG_DEPTH: "1" };
	const capped = await box.bg(["retry", id, ...more], { env: inside });
	expect(box.record(capped.json().id).autonomy).toBe("low");
});
