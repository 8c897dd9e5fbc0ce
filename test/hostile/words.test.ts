/** Ids, names and keys that are paths, empty, huge, or look like flags: refused, or taken as they are. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodes } from "../../lib/error.ts";
import { identifySelf } from "../../lib/process/identity.ts";
import { createOnEndMark } from "../../lib/spawn/command.ts";
import { executable, type Sandbox, sandbox, until } from "../tools/harness.ts";
import { addTask, parent } from "../tools/hooks.ts";

const words = {
	empty: "",
	"a path": "../../../etc/passwd",
	"a flag": "--help",
	"a short flag": "-rf",
	"a command": "$(touch made)",
	huge: "x".repeat(100_000),
	"orders to a terminal": "\x1b[2J\x9b31m",
	"a property": "__proto__",
};

/** Where a word goes, and which of them are right there; every other one is a usage error. */
const places: Record<
	string,
	{ call: (word: string) => string[]; right?: (keyof typeof words)[] }
> = {
	"an id": { call: (word) => ["status", "--", word] },
	"--after": { call: (word) => ["run", `--after=${word}`, "d", "--", "true"] },
	"--unique": {
		call: (word) => ["run", `--unique=${word}`, "d", "--", "true"],
		right: ["a path", "a flag", "a short flag", "a command", "a property"],
	},
	"--tag": {
		call: (word) => ["run", `--tag=${word}`, "d", "--", "true"],
		right: ["a path", "a flag", "a short flag", "a command", "a property"],
	},
	"a droid": { call: (word) => ["launch", "d", "p", "--", word] },
	"a parent session": {
		call: (word) => ["launch", "d", "p", "--", "explore", word],
		// None, or what may be one.
		right: ["empty", "a flag", "a short flag", "a property"],
	},
	"an autonomy": {
		call: (word) => ["launch", "d", "p", "--", "explore", "main", word],
	},
	"a model": {
		call: (word) => ["launch", "d", "p", "--", "explore", "main", "low", word],
		// It goes to droid as it is, and is no path of ours.
		right: ["empty", "a path", "a command", "a property"],
	},
	"a worktree": {
		call: (word) => ["launch", `--worktree=${word}`, "d", "p"],
		right: ["empty"],
	},
	"--session": {
		call: (word) => ["list", `--session=${word}`],
		right: Object.keys(words).slice(1) as (keyof typeof words)[],
	},
	"a tag to list": {
		call: (word) => ["list", `--tag=${word}`],
		right: Object.keys(words).slice(1) as (keyof typeof words)[],
	},
	"a verb": { call: (word) => [word, "x"] },
};

const recordsOf = ({ dir }: Sandbox) =>
	readdirSync(dir).filter((name) => name.endsWith(".json"));

test.each(Object.entries(places))(
	"%s that is no such thing is refused in one line, and nothing is launched or made by it",
	async (_, { call, right = [] }) => {
		const box = sandbox();
		box.env.BG_DROID = executable(box.home, "droid", "#!/bin/sh\necho done\n");
		box.env.BUN_RUNTIME_TRANSPILER_CACHE_PATH = "0";
		addTask(box, { status: "completed" });
		for (const [what, word] of Object.entries(words)) {
			const before = recordsOf(box);
			const { code, error } = await box.bg(call(word));
			if (right.some((each) => each === what)) {
				expect({ what, code, error }).toMatchObject({ code: 0 });
				continue;
			}
			expect({ what, code, error }).toEqual({
				what,
				code: exitCodes.usage,
				error: expect.stringMatching(/^bg: [^\n]{1,2000}\n$/),
			});
			expect(error).not.toMatch(/(?!\n)\p{Cc}/u);
			expect(recordsOf(box)).toEqual(before);
		}
		await until(() => box.alive().length === 0, "every task over");
		expect(readdirSync(box.home)).toEqual(["droid"]);
	},
);

test("a session that is empty is not every session", async () => {
	const box = sandbox();
	const id = addTask(box, { parent_session_id: parent });
	for (const args of [["cancel", "--all"], ["cancel"], ["wait"], ["list"]]) {
		const answer = await box.bg([...args, "--session", ""]);
		expect(answer).toMatchObject({ code: 2 });
		expect(answer.error).toContain("--session is empty");
	}
	expect(box.record(id).status).toBe("running");
});

test("a flag that has no short form has none called -undefined", async () => {
	const { code, error } = await sandbox().bg(["list", "-undefined"]);
	expect({ code, error }).toMatchObject({ code: 2 });
	expect(error).toContain("no flag -undefined");
});

test("a prompt or a batch that never ends is refused", async () => {
	const box = sandbox();
	box.env.BG_DROID = "/bin/true";
	for (const flag of ["--prompt-file", "--batch"]) {
		const answer = await box.bg(
			["launch", flag, "/dev/zero", "d"].slice(0, flag === "--batch" ? 3 : 4),
		);
		expect(answer).toMatchObject({ code: 2 });
		expect(answer.error).toContain(`${flag} /dev/zero: more than 16 MiB`);
	}
});

test("a NUL, which JSON can hold and no argv, is refused with its line", async () => {
	const box = sandbox();
	box.env.BG_DROID = "/bin/true";
	const fields = {
		cwd: "/\0",
		stdin: "/dev/null\0",
		command: ["true", "\0"],
		env: { A: "\0" },
		on_end: ["\0"],
		tags: ["\0"],
		unique: "\0",
	};
	const lines = Object.entries(fields).map(([key, value]) =>
		JSON.stringify({ description: "d", command: ["true"], [key]: value }),
	);
	lines.push(JSON.stringify({ description: "d", prompt: "\0" }));
	const input = lines.join("\n");
	const { code, error } = await box.bg(["launch", "--batch", "-"], { input });
	expect(code).toBe(2);
	for (const [index] of lines.entries())
		expect(error).toContain(`line ${index + 1}: `);
	expect(existsSync(box.dir)).toBe(false);
});

const gone = { ...identifySelf(), start: "999999999999" };

test("a record whose droid is a path, huge or no name keeps no list from its answer, and removes nothing", async () => {
	const box = sandbox();
	writeFileSync(join(box.home, "file"), "mine");
	const agents = [words["a path"], words.huge, "x/../../../home/file", "\0"];
	const ids = agents.map((agent) =>
		addTask(box, { kind: "droid", agent, status: "queued", supervisor: gone }),
	);
	const list = await box.bg(["list"]);
	expect(list).toMatchObject({ code: 0, stderr: "" });
	expect(list.json().error).toBe(ids.length);
	expect(existsSync(join(box.home, "file"))).toBe(true);
});

test("what is to be run at an end is run, whatever stands where a supervisor has the variables of its tasks", async () => {
	const box = sandbox();
	const made = join(box.home, "made");
	const on_end = ["touch", made];
	for (const BG_TASK_ENV of ["{", "null", "[]"]) {
		const id = addTask(box, { supervisor: gone, on_end, cwd: "/" });
		createOnEndMark({ dir: box.dir }, id);
		const answer = await box.bg(["status", id], { env: { BG_TASK_ENV } });
		expect(answer).toMatchObject({ code: 0, stderr: "" });
	}
	await until(() => existsSync(made), "the command at the end");
});

test("a session that a stream calls like a flag is not carried on", async () => {
	const box = sandbox();
	box.env.BG_DROID = "/bin/true";
	for (const name of [
		"--append-system-prompt-file=/etc/passwd",
		"-f",
		"",
		"a b",
	]) {
		const fields = {
			kind: "droid",
			status: "completed",
			command: ["droid", "-s", name],
		} as const;
		const id = addTask(box, {
			...fields,
			command: [...fields.command],
			droid_session_id: name,
			agent: "worker",
			prompt: "p",
			resume_of: "bg_0123456789ab",
		});
		expect(await box.bg(["resume", id, "go on"])).toMatchObject({ code: 111 });
		if (name) expect(await box.bg(["retry", id])).toMatchObject({ code: 111 });
	}
});

test("numbers of a droid that are objects are shown as unknown", async () => {
	const box = sandbox();
	const usage = { input_tokens: { toString: 1, valueOf: 2 } };
	const id = addTask(box, { kind: "droid", usage, status: "completed" });
	const out = JSON.stringify({ type: "completion", usage });
	writeFileSync(join(box.dir, `${id}.out`), out, { mode: 0o600 });
	const status = await box.bg(["status", "--text", id]);
	expect(status.stdout).toContain("? tokens in, ? out");
	expect((await box.bg(["output", "--text", id])).stdout).toContain(
		"? tokens in",
	);
});

test("what is nested too deep to be written again is told, and keeps no other", async () => {
	const box = sandbox();
	const [id, other] = [
		addTask(box),
		addTask(box, { kind: "droid", command: ["droid"] }),
	];
	const deep = "[".repeat(100_000) + "]".repeat(100_000);
	const text = JSON.stringify(box.record(id)).replace("{", `{"more":${deep},`);
	writeFileSync(join(box.dir, `${id}.json`), text);
	const out = `{"type":"tool_call","toolName":"x","parameters":${deep}}\n`;
	writeFileSync(join(box.dir, `${other}.out`), out, { mode: 0o600 });
	const list = (await box.bg(["list", "--full"])).json();
	expect(list).toMatchObject({
		tasks: [{ id: other }],
		unreadable: [{ taskId: id, problem: "its more is too deep" }],
	});
	expect(await box.bg(["output", other])).toMatchObject({ code: 0 });
	expect(await box.bg(["status", id])).toMatchObject({ code: 111 });
});

test("a home that is no absolute path is below the folder bg is called in, for the supervisor too", async () => {
	const box = sandbox();
	mkdirSync(join(box.home, "here"));
	const env = {
		HOME: "here",
		BG_DIR: "",
		BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0",
	};
	const run = await box.bg(["run", "-q", "d", "--", "true"], { env });
	const wait = await box.bg(["wait", run.stdout.trim()], { env });
	expect(wait.json().tasks).toMatchObject([{ status: "completed" }]);
	expect(existsSync(join(box.home, "here", ".factory"))).toBe(true);
});
