import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	executable,
	isAlive,
	linesOf,
	sandbox,
	until,
} from "../tools/harness.ts";

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
		const noted = () => linesOf(file);
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
		const line = `${note} a "b  $BG_ENDED_STATUS" 'c'`;
		const id = await run(["--on-end", line], command);
		await notedOnce(`a|b  ${status}|c|${id}|${status}|none|`);
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

	test("gets its status and id by the environment, and no text of the task", async () => {
		const { box, run } = withNote();
		const file = join(box.home, "f");
		const line = '[ "$BG_ENDED_STATUS" = error ] && echo "$BG_ENDED_ID $#" > f';
		const words = ["sh", "-c", "echo '$(touch evil)'; exit 1", "$(touch evil)"];
		const id = await run(["--on-end", line], words);
		await until(() => existsSync(file), "what the line writes");
		await until(() => box.alive().length === 0, "all at rest");
		expect(readFileSync(file, "utf8")).toBe(`${id} 0\n`);
		expect(existsSync(join(box.home, "evil"))).toBe(false);
		expect(box.record(id).on_end).toEqual(["/bin/sh", "-c", line]);
	});

	test("an argv in a record of an older bg is run as it is, by no shell", async () => {
		const { box, note, run, notedOnce } = withNote();
		const gate = join(box.home, "gate");
		const script = 'until test -e "$0"; do sleep 0.2; done';
		const id = await run(["--on-end", "true"], ["sh", "-c", script, gate]);
		await box.untilTask(id, ({ process }) => process, "its process");
		const old = { ...box.record(id), on_end: [note, "a b", '"', "$HOME"] };
		writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(old));
		writeFileSync(gate, "");
		await notedOnce(`a b|"|$HOME|${id}|completed|none|`);
	});

	test("a failure, and a program that is missing, are faults that doctor shows", async () => {
		const { box, run } = withNote();
		writeFileSync(join(box.home, "plain"), "x");
		const log = join(box.dir, ".supervisor.log");
		const faults = () => linesOf(log);
		for (const [line, fault] of [
			["/none/such", "exited 127"],
			["./plain", "exited 126"],
			["exit 3", "exited 3"],
			['["no-such-program"]', "ENOENT"],
			['["false"]', "exited 1"],
			['["sh","-c","kill -9 $$"]', "exited 137"],
		] as const) {
			const id = await run(["--on-end", line], ["true"]);
			expect((await box.bg(["wait", id])).code).toBe(0);
			const isNoted = (each: string) =>
				each.includes(`${id} --on-end: `) && each.includes(fault);
			await until(
				() => faults().some(isNoted),
				fault,
				() => faults().join(),
			);
			expect(box.record(id).status).toBe("completed");
		}
		expect((await box.bg(["doctor", "--text"])).stdout).toContain("--on-end");
		const { length } = faults();
		await run(["--on-end", "true"], ["false"]);
		await until(() => box.alive().length === 0, "all at rest");
		expect(faults()).toHaveLength(length);
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
