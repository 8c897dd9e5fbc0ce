import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { executable, isAlive, sandbox, until } from "../tools/harness.ts";

describe("--on-end", () => {
	/** A sandbox with a program that notes how it was called. */
	function withNote() {
		const box = sandbox();
		const file = join(box.home, "noted");
		const text = `#!/bin/sh
printf '%s|' "$@" "$BG_ENDED_ID" "$BG_ENDED_STATUS" "\${BG_TASK_ID-none}" >>${file}
echo >>${file}
`;
		const note = executable(box.home, "note", text);
		const noted = () =>
			existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
		const run = async (flags: string[], command: string[], env = {}) => {
			const words = ["run", "-q", ...flags, "d", "--", ...command];
			const { stdout, error } = await box.bg(words, { env });
			if (error) throw new Error(error);
			return stdout.trim();
		};
		/** Notes once, however often and by how many the task is looked at. */
		const notedOnce = async (line: string) => {
			const looks = ["list", "wait", "list"].map((verb) => box.bg([verb]));
			await Promise.all(looks);
			await until(() => noted().length, "a note");
			await until(() => box.alive().length === 0, "all at rest");
			await box.bg(["list"]);
			expect(noted()).toEqual([line]);
		};
		return { box, note, noted, run, notedOnce };
	}

	test.each([
		[["true"], "completed"],
		[["false"], "error"],
		[["/none/such"], "error"],
	])("runs once after %j, and is told %s", async (command, status) => {
		const { note, run, notedOnce } = withNote();
		const id = await run(["--on-end", `${note} a "b`], command);
		await notedOnce(`a|"b|${id}|${status}|none|`);
	});

	test("takes a JSON array, whose words may hold anything", async () => {
		const { note, run, notedOnce } = withNote();
		const argv = JSON.stringify([note, "a b", "$(x)", ""]);
		const id = await run(["--on-end", argv], ["true"]);
		await notedOnce(`a b|$(x)||${id}|completed|none|`);
	});

	test("runs once after a cancel, of what runs and of what is queued", async () => {
		const { box, note, run, noted, notedOnce } = withNote();
		const flags = ["--on-end", note];
		const id = await run(flags, ["sleep", "60"]);
		await box.untilTask(id, ({ process }) => process, "its process");
		await box.bg(["cancel", id]);
		await notedOnce(`${id}|cancelled|none|`);
		const before = await box.run(["sleep", "60"]);
		const queued = await run([...flags, "--after", before], ["true"]);
		await box.bg(["cancel", queued]);
		await until(() => noted().length > 1, "the other note");
		expect(noted().at(-1)).toBe(`${queued}|cancelled|none|`);
		await box.bg(["cancel", before]);
	});

	test("runs once after a task that never could start", async () => {
		const { note, run, notedOnce } = withNote();
		const failed = await run([], ["false"]);
		const id = await run(["--on-end", note, "--after", failed], ["true"]);
		await notedOnce(`${id}|error|none|`);
	});

	test("runs after the last attempt, not after each", async () => {
		const { note, run, notedOnce } = withNote();
		const id = await run(["--on-end", note, "--retries", "1"], ["false"]);
		await notedOnce(`${id}|error|none|`);
	});

	test.each([["status"], ["wait"], ["cancel"]])(
		"runs once where the task was lost, and %s finds that",
		async (verb) => {
			const { box, note, run, notedOnce } = withNote();
			const id = await run(["--on-end", note], ["sleep", "60"]);
			const task = await box.untilTask(id, ({ pid }) => pid, "its process");
			for (const pid of [task.supervisor?.pid ?? 0, task.pid ?? 0]) {
				process.kill(pid, "SIGKILL");
				await until(() => !isAlive(pid), "its death");
			}
			await Promise.all([1, 2, 3].map(() => box.bg([verb, id])));
			expect(box.record(id)).toMatchObject({ status: "error", reason: "lost" });
			await notedOnce(`${id}|error|none|`);
		},
	);

	test("does no harm where its program is missing, or none", async () => {
		const { box, run } = withNote();
		writeFileSync(join(box.home, "plain"), "x");
		for (const program of ["/none/such", "no-such-program", "./plain"]) {
			const id = await run(["--on-end", program], ["true"]);
			expect((await box.bg(["wait", id])).code).toBe(0);
			expect(box.record(id).status).toBe("completed");
		}
	});

	test.each(["[1", "[]", "[1]", '["a", 1]', '[""]', "", " "])(
		"refuses %j",
		async (given) => {
			const { box } = withNote();
			const flag = `--on-end=${given}`;
			const answer = await box.bg(["run", flag, "d", "--", "true"]);
			expect(answer).toMatchObject({ code: 2 });
			expect(answer.error).toContain("--on-end");
			expect((await box.bg(["list"])).json().total).toBe(0);
		},
	);
});
