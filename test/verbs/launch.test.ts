import { describe, expect, test } from "bun:test";
import {
	copyFileSync,
	existsSync,
	mkdirSync,
	readFileSync,
	writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { root, sandbox, standIn, until } from "../tools/harness.ts";

/** A sandbox whose droid is the stand-in, and what that one was told. */
function withDroid() {
	const box = sandbox();
	const log = join(box.home, "told.jsonl");
	const env = { BG_DROID: standIn, STAND_IN_LOG: log };
	const launch = (args: string[], more: object = {}) =>
		box.bg(["launch", ...args], { env, ...more });
	const told = () =>
		JSON.parse(readFileSync(log, "utf8").trim().split("\n").at(-1) ?? "");
	const ended = async (args: string[], more: object = {}) => {
		const answer = await launch(["-q", ...args], more);
		expect(answer).toMatchObject({ code: 0 });
		const id = answer.stdout.trim();
		await box.bg(["wait", id]);
		// After the end it removes the prompt and counts the stream.
		await until(() => box.alive().length === 0, "its supervisor gone");
		return { id, task: box.record(id), told: told() };
	};
	return { box, env, launch, told, ended };
}

test("launch answers at once with id, session, description and status", async () => {
	const { box, launch } = withDroid();
	const answer = await launch(["say hello", "SAY[hi]"]);
	const { id } = answer.json();
	expect(answer.json()).toEqual({
		id: expect.stringMatching(/^bg_[0-9a-f]+$/),
		taskId: id,
		sessionId: expect.stringMatching(/^ses_[0-9a-f]{12}$/),
		description: "say hello",
		status: "queued",
	});
	await box.bg(["wait"]);
});

test("a droid's final text is its task's result, beside session, tools and usage", async () => {
	const { ended } = withDroid();
	const { task } = await ended(["run", "RUN[echo hello]"]);
	expect(task).toMatchObject({
		status: "completed",
		reason: "exit",
		exit_code: 0,
		result: "DONE. hello\n\n\n[Process exited with code 0]",
		droid_session_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
		progress: { toolCalls: 1, lastTool: "Execute" },
		usage: { input_tokens: 20, output_tokens: 10 },
	});
});

test("a droid that fails says why", async () => {
	const { ended } = withDroid();
	const { task } = await ended(["fail", "FAIL[400]"]);
	expect(task).toMatchObject({
		status: "error",
		exit_code: 1,
		error: "exited 1: 400 scripted failure",
	});
});

test.each([
	`it's "quoted" $(touch evaluated) \`touch evaluated\` $HOME \\`,
	"-leading dash",
	"-",
	"--help me, please",
	"-x\u00a0",
	"first\nsecond\r\n\tthird\n",
	"ünïcödé 日本語 😀 e\u0301",
	"* ? [a-z] ~ ; | & > /dev/null",
	" spaces around ",
])("the prompt %j reaches droid byte for byte", async (prompt) => {
	const { box, ended } = withDroid();
	const { told, task } = await ended(["as it is", prompt]);
	expect(told.prompt).toBe(prompt);
	expect(task.prompt).toBe(prompt);
	expect(existsSync(join(box.home, "evaluated"))).toBe(false);
});

test("a prompt of half a MiB comes by file", async () => {
	const { box, ended } = withDroid();
	const prompt = `${"0123456789 ünïcödé\n".repeat(25_000)}end`;
	const path = join(box.home, "prompt.md");
	writeFileSync(path, prompt);
	const byFile = await ended(["--prompt-file", path, "big"]);
	expect(byFile.told.prompt === prompt).toBe(true);
	expect(byFile.task.prompt === prompt).toBe(true);
	expect(byFile.told.argv).toContain("-f");
	expect(existsSync(join(box.dir, ".prompts", byFile.id))).toBe(false);
});

test("a prompt too long for a record is refused, and one of 16 MiB is launched with --private", async () => {
	const { box, launch, ended } = withDroid();
	const path = join(box.home, "prompt.md");
	const prompt = `${"x".repeat(16 * 1024 * 1024 - 4)}end\n`;
	writeFileSync(path, prompt.slice(-800_000));
	const refusal = await launch(["--prompt-file", path, "too long"]);
	expect(refusal).toMatchObject({
		code: 2,
		error: expect.stringMatching(
			/^bg: the record of this task would be larger than 768 KiB: --private keeps the prompt out of it[^\n]*\n$/,
		),
	});
	expect(existsSync(box.dir)).toBe(false);
	writeFileSync(path, prompt);
	const { told, task } = await ended(["--private", "--prompt-file", path, "d"]);
	expect(told.prompt === prompt).toBe(true);
	expect(task).toMatchObject({ status: "completed", via: "private" });
});

test("--prompt-file - reads standard input", async () => {
	const { ended } = withDroid();
	const { told } = await ended(["--prompt-file", "-", "piped"], {
		input: "from a pipe",
	});
	expect(told.prompt).toBe("from a pipe");
});

test("a prompt too long for argv goes by file by itself", async () => {
	const { ended } = withDroid();
	const prompt = "x".repeat(100_000);
	const { told } = await ended(["long", prompt]);
	expect(told.prompt).toBe(prompt);
	expect(told.argv).toContain("-f");
});

test("--private keeps the prompt out of argv and record", async () => {
	const { box, ended } = withDroid();
	const { id, told, task } = await ended(["--private", "hush", "SAY[secret7]"]);
	expect(told.prompt).toBe("SAY[secret7]");
	expect(told.argv.join(" ")).not.toContain("secret7");
	expect(task.prompt).toBeUndefined();
	expect(task.command?.join(" ")).not.toContain("secret7");
	expect(existsSync(join(box.dir, ".prompts", id))).toBe(false);
});

describe("what is refused launches nothing and records nothing", () => {
	test.each([
		[["d", ""], 2, "the prompt is empty"],
		[["d", " \n"], 2, "the prompt is empty"],
		[["", "p"], 2, "the description is empty"],
		[["d"], 2, "needs <prompt>"],
		[["d", "broken \uFFFD"], 2, "--prompt-file"],
		[["d", "p", "../x"], 2, "not a droid name"],
		[["d", "p", "explorer", "../../s"], 2, "not a session id"],
		[["d", "p", "explorer", "main", "root"], 2, "low, medium, high"],
		[["d", "p", "explorer", "main", "low", "-x"], 2, "has no flag -x"],
		[["d", "p", "explore", "main", "low", "m", "more"], 2, '"more"'],
		[["--cwd", "/none", "d", "p"], 2, "no such folder"],
		[["--env", "1=2", "d", "p"], 2, "NAME=VALUE"],
		[["--stdin", "/none", "d", "p"], 2, "no such file"],
		[["--prompt-file", "/none", "d"], 2, "--prompt-file /none"],
		[["--prompt-file", "-", "d", "explore", "main", "low", "m", "x"], 2, '"x"'],
		[["--promt-file", "x", "d"], 2, "did you mean --prompt-file?"],
	])("bg launch %j exits %p: %s", async (args, code, words) => {
		const { box, launch } = withDroid();
		const answer = await launch(args);
		expect(answer).toMatchObject({ code });
		expect(answer.error).toContain(words);
		expect(answer.error.trim().split("\n")).toHaveLength(1);
		expect(answer.json().error).toContain(words);
		expect((await box.bg(["list"])).json().total).toBe(0);
	});

	test("without a droid, which says how to get it", async () => {
		const box = sandbox();
		const { code, error } = await box.bg(["launch", "d", "p"]);
		expect(code).toBe(111);
		expect(error).toBe(
			"bg: no droid on PATH: npm install -g droid, or set BG_DROID to it\n",
		);
		const wrong = await box.bg(["launch", "d", "p"], {
			env: { BG_DROID: "/etc/passwd" },
		});
		expect(wrong.code).toBe(111);
		expect((await box.bg(["list"])).json().total).toBe(0);
	});
});

describe("the droid's name", () => {
	const text =
		"---\nmodel: from-definition\nreasoningEffort: high\ntools: read-only\n---\nYou are a reviewer.\n";

	function define(folder: string, name: string, definition = text): void {
		const path = join(folder, ".factory", "droids", `${name}.md`);
		mkdirSync(dirname(path), { recursive: true });
		writeFileSync(path, definition);
	}

	test("means its definition: model, effort, tools and system prompt", async () => {
		const { box, launch, told } = withDroid();
		define(box.home, "reviewer");
		const answer = await launch(["look", "SAY[x]", "reviewer"]);
		expect(answer.json().warnings).toBeUndefined();
		await box.bg(["wait"]);
		expect(told().argv.join(" ")).toContain(
			"-m from-definition -r high --only-tools Read,LS,Grep,Glob",
		);
		expect(told().system).toBe("You are a reviewer.");
	});

	test("means the project's definition before the home's, from any folder of it", async () => {
		const { box, ended } = withDroid();
		const project = join(box.home, "project");
		const deep = join(project, "deep");
		mkdirSync(join(project, ".git"), { recursive: true });
		mkdirSync(deep);
		define(project, "reviewer", "---\nmodel: of-project\n---\n");
		define(box.home, "reviewer", "---\nmodel: of-home\n---\n");
		const words = ["look", "SAY[x]", "reviewer"];
		const inside = await ended(words, { cwd: deep });
		expect(inside.told.argv).toContain("of-project");
		const outside = await ended(words);
		expect(outside.told.argv).toContain("of-home");
	});

	test("means at last the definition of the plugin that the program lies in", async () => {
		const { box, launch, told } = withDroid();
		const plugin = join(box.home, "plugin");
		mkdirSync(join(plugin, "hooks"), { recursive: true });
		mkdirSync(join(plugin, "droids"));
		copyFileSync(join(root, "dist", "bg.mjs"), join(plugin, "hooks", "bg.mjs"));
		writeFileSync(join(plugin, "droids", "plugged.md"), text);
		const argv = ["node", join(plugin, "hooks", "bg.mjs")];
		const answer = await launch(["look", "SAY[x]", "plugged"], { argv });
		expect(answer.json().warnings).toBeUndefined();
		await box.bg(["wait"]);
		expect(told().argv).toContain("from-definition");
	});

	test("gives way to an explicit model", async () => {
		const { box, ended } = withDroid();
		define(box.home, "reviewer");
		const { told } = await ended([
			"look",
			"SAY[x]",
			"reviewer",
			"main",
			"low",
			"custom:mine",
		]);
		expect(told.argv.join(" ")).toContain(
			"--auto low -o stream-json -m custom:mine",
		);
		expect(told.argv.join(" ")).not.toContain("from-definition");
	});
});

test("the parent is $BG_SESSION_ID where none or main is given", async () => {
	const { box, env, ended } = withDroid();
	const within = { env: { ...env, BG_SESSION_ID: "outer-1" } };
	const { task, told } = await ended(["d", "SAY[x]"], within);
	expect(task.parent_session_id).toBe("outer-1");
	expect(told.env.BG_SESSION_ID).toBeUndefined();
	const named = await ended(["d", "SAY[x]", "explore", "mine"], within);
	expect(named.task.parent_session_id).toBe("mine");
	expect(box.record(named.id).agent).toBe("explore");
});

test("inside a task a launch gets at most that task's autonomy, and run is refused under low", async () => {
	const { box, env, ended } = withDroid();
	const outer = await ended(["outer", "SAY[x]", "explore", "main", "low"]);
	const within = { env: { ...env, BG_TASK_ID: outer.id, BG_DEPTH: "1" } };
	const { task } = await ended(
		["d", "SAY[x]", "explore", "main", "high"],
		within,
	);
	expect(task).toMatchObject({
		autonomy: "low",
		depth: 2,
		parent_task_id: outer.id,
	});
	const refused = await box.bg(["run", "d", "--", "true"], within);
	expect(refused.code).toBe(111);
	expect(refused.error).toContain("under autonomy low");
});
