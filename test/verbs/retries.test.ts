import { describe, expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { isAlive, sandbox, until } from "../tools/harness.ts";
import { endOf, outputOf, running, script } from "../tools/scripts.ts";

describe("--retries", () => {
	/** Counts its attempts in a file, and ends with their number. */
	const counting = `n=$(($(cat n 2>/dev/null) + 1)); echo $n >n; echo attempt $n`;

	concurrentTest(
		"tries again after an error, and keeps of each attempt how it ended and what it wrote",
		async () => {
			const box = sandbox();
			const id = await script(box, ["--retries", "2"], `${counting}; exit $n`);
			const task = await endOf(box, id);
			expect(task).toMatchObject({
				status: "error",
				reason: "exit",
				exit_code: 3,
				attempt: 3,
				attempts: [
					{ attempt: 1, exit_code: 1, error: "exited 1" },
					{ attempt: 2, exit_code: 2, error: "exited 2" },
				],
			});
			const wrote = [`${id}.1`, `${id}.2`, id].map((each) =>
				outputOf(box, each),
			);
			expect(wrote).toEqual(["attempt 1\n", "attempt 2\n", "attempt 3\n"]);
			for (const { started_at, completed_at } of task.attempts ?? [])
				expect((started_at ?? "z") <= (completed_at ?? "")).toBe(true);
		},
	);

	concurrentTest(
		"ends as completed with the first attempt that succeeds",
		async () => {
			const box = sandbox();
			const id = await script(
				box,
				["--retries", "5"],
				`${counting}; test $n = 2`,
			);
			const task = await endOf(box, id);
			expect(task).toMatchObject({
				status: "completed",
				exit_code: 0,
				attempt: 2,
				result: "attempt 2",
			});
			expect(task.attempts).toHaveLength(1);
			expect(task).not.toHaveProperty("error");
		},
	);

	concurrentTest(
		"leaves its place to others until the next attempt, and is queued meanwhile",
		async () => {
			const box = sandbox();
			const env = { BG_MAX_RUNNING: "1" };
			const id = await script(
				box,
				["--retries", "1"],
				"until test -e go; do sleep 0.2; done; test -e other",
				env,
			);
			await running(box, id);
			const record = join(box.dir, `${id}.json`);
			const other = await script(
				box,
				[],
				`until grep -q '"status": "queued"' ${record}; do sleep 0.2; done; touch other`,
				env,
			);
			expect(box.record(other).status).toBe("queued");
			writeFileSync(join(box.home, "go"), "");
			expect(await endOf(box, other)).toMatchObject({ status: "completed" });
			expect(await endOf(box, id)).toMatchObject({
				status: "completed",
				attempts: [{ attempt: 1, exit_code: 1 }],
			});
		},
	);

	concurrentTest("tries again what could not be started", async () => {
		const box = sandbox();
		const words = ["run", "-q", "--retries", "1", "d", "--", "/none/such"];
		const { stdout } = await box.bg(words);
		expect(await endOf(box, stdout.trim())).toMatchObject({
			status: "error",
			reason: "spawn",
			attempts: [
				{ attempt: 1, error: expect.stringContaining("never started") },
			],
		});
	});

	concurrentTest(
		"does not try again what was cancelled, timed out or never could start",
		async () => {
			const box = sandbox();
			const flags = ["--retries", "3"];
			const late = await script(box, [...flags, "--timeout", "1s"], "sleep 60");
			const failed = await script(box, [], "exit 1");
			const after = await script(box, [...flags, "--after", failed], "true");
			const cancelled = await script(box, flags, "sleep 60");
			await running(box, cancelled);
			await box.bg(["cancel", cancelled]);
			const between = await script(box, ["--retries", "99"], "exit 1");
			await box.untilTask(between, ({ attempt = 1 }) => attempt > 2, "a try");
			await box.bg(["cancel", between]);
			const ends = await Promise.all(
				[late, after, cancelled, between].map((id) => endOf(box, id)),
			);
			expect(ends.map(({ reason, attempts }) => [reason, !attempts])).toEqual([
				["timeout", true],
				["dependency", true],
				["cancel", true],
				["cancel", false],
			]);
		},
	);
});

concurrentTest(
	"what an attempt left behind is not taken for the next one",
	async () => {
		const box = sandbox();
		const id = await script(
			box,
			["--retries", "5"],
			"setsid sleep 600 & exit 3",
		);
		const between = await box.untilTask(
			id,
			({ status, attempt = 1 }) => status === "queued" && attempt > 4,
			"a pause between two attempts",
		);
		process.kill(between.supervisor?.pid ?? 0, "SIGKILL");
		await until(() => !isAlive(between.supervisor?.pid ?? 0), "its death");
		expect((await box.bg(["status", id])).json()).toMatchObject({
			status: "error",
			reason: "lost",
			error: "its supervisor died between two attempts",
		});
		await box.bg(["cancel", id]);
	},
);
