import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
	executable,
	type Sandbox,
	sandbox,
	standIn,
} from "../tools/harness.ts";

/** A droid that notes its argv and then is the stand-in, which knows but a few flags of droid's. */
function withDroid() {
	const box = sandbox();
	const log = join(box.home, "argv");
	const said = `exec --auto low -o stream-json -- "SAY[x]"`;
	const droid = executable(
		box.home,
		"a-droid",
		`#!/bin/sh\necho "$*" >>${log}\nexec ${standIn} ${said}\n`,
	);
	const bg = (args: string[], env: object = {}) =>
		box.bg(args, { env: { BG_DROID: droid, ...env } });
	const ended = async (args: string[], env: object = {}) => {
		const answer = await bg(args, env);
		if (answer.code !== 0) throw new Error(answer.error);
		const { taskId } = answer.json();
		await bg(["wait", taskId]);
		return box.record(taskId);
	};
	/** The argv of the droid that started last. */
	const told = () => readFileSync(log, "utf8").trim().split("\n").at(-1);
	return { box, bg, ended, told };
}

async function refused(
	box: Sandbox,
	args: string[],
	words: string,
	code = 111,
	env: Record<string, string> = { BG_DROID: standIn },
) {
	const before = (await box.bg(["list"])).json().total;
	const answer = await box.bg(args, { env });
	expect({ ...answer, stdout: "" }).toMatchObject({ code });
	expect(answer.error).toContain(words);
	expect((await box.bg(["list"])).json().total).toBe(before);
}

describe("retry", () => {
	test("launches a command again as a new task that names the old one", async () => {
		const { box, ended } = withDroid();
		const flags = ["--cwd", "/", "--tag", "t", "--timeout", "9m"];
		const limits = ["--priority", "-3", "--max-output", "9M"];
		const words = ["sh", "-c", "echo hi; exit 3", "a b", ""];
		const old = await ended(["run", ...flags, ...limits, "d", "--", ...words]);
		const again = await ended(["retry", old.id]);
		expect(again.id).not.toBe(old.id);
		expect(again).toMatchObject({
			description: "d",
			command: words,
			cwd: "/",
			tags: ["t"],
			timeout_ms: 540_000,
			priority: -3,
			max_output_bytes: 9 * 1024 * 1024,
			retry_of: old.id,
			exit_code: 3,
			result: "hi",
		});
		expect(box.record(old.id)).toEqual(old);
	});

	test("launches a droid again: the same prompt, droid, autonomy and model", async () => {
		const { ended, told } = withDroid();
		const launch = [
			"launch",
			"d",
			"-do it",
			"code-reviewer",
			"main",
			"high",
			"m-1",
		];
		const old = await ended(launch);
		// The file with the system prompt has the name of the task.
		const toldWithoutId = () => told()?.replace(/bg_[0-9a-f]+/, "ID");
		const before = toldWithoutId();
		const again = await ended(["retry", old.id]);
		expect(toldWithoutId()).toBe(before);
		const { prompt, agent, autonomy, model, via } = old;
		const same = { prompt, agent, autonomy, model, via };
		expect(again).toMatchObject({ ...same, retry_of: old.id });
		expect(again.id).not.toBe(old.id);
	});

	test("is refused while the task is not over, and where its prompt was private", async () => {
		const { box, ended } = withDroid();
		const id = await box.run(["sleep", "60"]);
		await refused(box, ["retry", id], "after it has ended");
		await box.bg(["cancel", id]);
		const hidden = await ended(["launch", "--private", "d", "secret"]);
		await refused(box, ["retry", hidden.id], "private");
		await refused(box, ["retry", "bg_19f0c2a4b1c000000"], "no task", 3);
	});
});

describe("resume", () => {
	test.each([
		[[], "-s"],
		[["--fork"], "--fork"],
	])("%j hands droid the session with %s", async (flags, flag) => {
		const { ended, told } = withDroid();
		const first = [
			"launch",
			"d",
			"begin",
			"code-reviewer",
			"main",
			"low",
			"m-1",
		];
		const old = await ended(first);
		expect(told()).not.toContain(` ${flag} `);
		const next = await ended(["resume", ...flags, old.id, "go on"]);
		expect(old.droid_session_id).toMatch(/^[0-9a-f-]{36}$/);
		expect(told()).toContain(` ${flag} ${old.droid_session_id} `);
		expect(told()?.endsWith(" -- go on")).toBe(true);
		expect(next).toMatchObject({
			prompt: "go on",
			agent: "code-reviewer",
			autonomy: "low",
			model: "m-1",
			resume_of: old.id,
			status: "completed",
		});
		await ended(["retry", next.id]);
		expect(told()).toContain(` ${flag} ${old.droid_session_id} -- go on`);
	});

	test("is refused for a command, for what is not over, and where no session is known", async () => {
		const { box, bg, ended } = withDroid();
		const command = await ended(["run", "d", "--", "true"]);
		await refused(box, ["resume", command.id, "p"], "not a droid's task");
		const env = { BG_DROID: standIn };
		const { taskId } = (await bg(["launch", "d", "RUN[sleep 60]"], env)).json();
		await box.untilTask(taskId, (task) => task.droid_session_id, "a session");
		await refused(box, ["resume", taskId, "p"], "after it has ended");
		await box.bg(["cancel", taskId]);
		const failed = await ended(["launch", "d", "p"], {
			BG_DROID: "/bin/false",
		});
		await refused(box, ["resume", failed.id, "p"], "session");
		await refused(box, ["resume", taskId, " "], "the prompt is empty", 2);
	});
});

describe("--worktree", () => {
	test.each([
		["--worktree", /^exec -w --auto /, ""],
		["--worktree=fix-1.2_x", /^exec -w fix-1.2_x --auto /, "fix-1.2_x"],
	])("%s reaches droid's argv", async (flag, argv, worktree) => {
		const { ended, told } = withDroid();
		const task = await ended(["launch", flag, "d", "p"]);
		expect(told()).toMatch(argv);
		expect(told()?.endsWith(" -- p")).toBe(true);
		expect(task).toMatchObject({ worktree });
		expect(await ended(["retry", task.id])).toMatchObject({ worktree });
		expect(told()).toMatch(argv);
	});

	test.each(["../x", "-x", "a b", "a/b", "x".repeat(65)])(
		"refuses the name %j",
		async (name) => {
			const { box } = withDroid();
			const flag = `--worktree=${name}`;
			await refused(box, ["launch", flag, "d", "p"], "--worktree", 2);
		},
	);

	test("is not for a command", async () => {
		const { box } = withDroid();
		await refused(box, ["run", "--worktree", "d", "--", "true"], "worktree", 2);
	});
});
