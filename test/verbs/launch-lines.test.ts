/** What a launch line means: it starts exactly that, or it is refused and shows the right line. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { listTaskIds } from "../../lib/store/records.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox, standIn } from "../tools/harness.ts";

/** Launches with the stand-in. Returns the record; the task has ended. */
async function launched(args: string[], input?: string): Promise<Task> {
	const box = sandbox();
	box.env.BG_DROID = standIn;
	writeFileSync(join(box.home, "p.md"), "from a file");
	const answer = await box.bg(["launch", ...args], { input });
	expect(answer).toMatchObject({ code: 0, stderr: "" });
	const { id, warnings } = answer.json();
	expect(warnings).toBeUndefined();
	await box.bg(["wait", id]);
	return box.record(id);
}

const search = [
	"--only-tools",
	"Read,LS,Grep,Glob",
	"--append-system-prompt-file",
];

/** The examples of the skill that came with background-manager.py. */
const oldLines: [string[], Partial<Task>, string[]][] = [
	[
		["Find auth patterns", "Find all.", "explorer", "main", "low"],
		{ agent: "explorer", autonomy: "low", parent_session_id: "main" },
		search,
	],
	[
		["Fix API errors", "Fix all.", "executor-med", "main", "medium"],
		{ agent: "executor-med", autonomy: "medium" },
		["--append-system-prompt-file"],
	],
	[
		["Refactor auth", "Refactor.", "executor-high", "main", "high", "opus"],
		{ agent: "executor-high", autonomy: "high", model: "opus" },
		["-m", "opus", "-r", "high"],
	],
	...["Fix the login.", "Fix the logout.", "Fix the tests."].map(
		(prompt): [string[], Partial<Task>, string[]] => [
			["Fix auth", prompt, "executor-med", "main"],
			{ prompt, agent: "executor-med", autonomy: "medium" },
			[],
		],
	),
	[
		["a description", "a prompt", "librarian", "ses-1"],
		{ agent: "librarian", parent_session_id: "ses-1" },
		["--only-tools", "Read,LS,Grep,Glob,WebSearch,FetchUrl"],
	],
];

test.each(oldLines)(
	"the old line launch %j is launched as it reads",
	async (words, fields, argv) => {
		const task = await launched(words);
		const [description, prompt] = words;
		expect(task).toMatchObject({ description, prompt, ...fields });
		const command = task.command?.join(" ") ?? "";
		expect(command).toContain(argv.join(" "));
		if (!argv.includes("--only-tools")) expect(command).not.toContain("--only");
	},
);

const want = {
	description: "d",
	prompt: "p",
	agent: "explore",
	autonomy: "low",
};

test.each([
	[["d", "p", "explore", "ses-1", "low", "m"]],
	[
		[
			"d",
			"p",
			"--droid",
			"explore",
			"--session",
			"ses-1",
			"--autonomy=low",
			"--model",
			"m",
		],
	],
	[["--model=m", "d", "--autonomy", "low", "p", "--session=ses-1", "explore"]],
	[["d", "--model", "m", "p", "explore", "ses-1", "--autonomy", "low"]],
	[
		[
			"--droid",
			"explore",
			"--autonomy",
			"low",
			"--session",
			"ses-1",
			"--model",
			"m",
			"--",
			"d",
			"p",
		],
	],
])("launch %j: places and flags mean the same", async (words) => {
	expect(await launched(words)).toMatchObject({
		...want,
		parent_session_id: "ses-1",
		model: "m",
	});
});

test.each([
	[["d", "--prompt-file", "p.md"], "from a file"],
	[["--prompt-file=p.md", "d", "explore"], "from a file"],
	[["d", "explore", "--prompt-file", "p.md"], "from a file"],
	[["d", "--private", "-"], undefined],
	[["d", "-"], "-"],
	[["d", "- a list\n- of things"], "- a list\n- of things"],
	[["d", "--auto high is what I want"], "--auto high is what I want"],
	[["d", "--\thelp"], "--\thelp"],
	[["--", "d", "--help"], "--help"],
	[["d", "--", "--prompt-file"], "--prompt-file"],
	[["d", "--tag=two words", "--", "--tag=x"], "--tag=x"],
	[["-t at the start", "p"], "p"],
])("launch %j has the prompt %j", async (words, prompt) => {
	const task = await launched(words);
	expect(task.prompt).toBe(prompt);
});

test("what is behind -- is text, byte for byte", async () => {
	const words = ["-q", "  --x\n\t-y\\ $HOME `id` \u{1F980} "];
	const task = await launched(["--autonomy", "low", "--", ...words]);
	expect(task).toMatchObject({
		description: words[0],
		prompt: words[1],
		autonomy: "low",
	});
});

test.each([
	[
		["d", "p", "reviewer", "low"],
		"low is an autonomy level, but stands in the place of the session",
		"launch d p --droid reviewer --autonomy low",
	],
	[
		["d", "p", "low"],
		"low is an autonomy level, but stands in the place of the droid",
		"launch d p --autonomy low",
	],
	[
		["d", "p", "HIGH"],
		"HIGH is an autonomy level",
		"launch d p --autonomy high",
	],
	[
		["d", "p", "explore", "low", "opus"],
		"low is an autonomy level",
		"launch d p --droid explore --autonomy low --model opus",
	],
	[
		["it's", "p", "low", "--tag", "a b"],
		"low is",
		"launch 'it'\\''s' p --tag 'a b' --autonomy low",
	],
	[
		["d", "p".repeat(300), "low"],
		"low is",
		"launch d '<prompt>' --autonomy low",
	],
	[
		["d", "--prompt-file", "p.md", "low"],
		"low is",
		"launch d --prompt-file p.md --autonomy low",
	],
	[["--worktree=w", "--worktree", "d", "p", "low"], "given twice", ""],
	[
		["--worktree", "d", "p", "low"],
		"low is",
		"launch d p --worktree --autonomy low",
	],
	[
		["low", "--", "-p", "medium"],
		"medium is",
		"launch --autonomy medium -- low -p",
	],
	[
		["d", "p", "explore", "--droid", "oracle"],
		"the droid is given twice",
		"launch d p --droid oracle",
	],
	[
		["d", "p", "explore", "main", "--session", "s"],
		"the session is given twice",
		"launch d p --session s --droid explore",
	],
	[
		["d", "p", "explore", "main", "low", "--autonomy", "high"],
		"the autonomy is given twice",
		"--autonomy high --droid explore",
	],
	[
		["d", "p", "explore", "main", "low", "m", "--model", "n"],
		"the model is given twice",
		"--model n --droid explore --session main --autonomy low",
	],
])("launch %j is refused: %s, and shows %s", async (words, says, line) => {
	const box = sandbox();
	const { code, error } = await box.bg(["launch", ...words]);
	expect(code).toBe(2);
	expect(error).toContain(says);
	expect(error).toContain(line);
	expect(listTaskIds(box)).toEqual([]);
});

test.each([
	[["launch", "x", "--prompt"], "no flag --prompt"],
	[["launch", "d", "-x", "p"], "no flag -x"],
	[["launch", "d", "p", "--verbose"], "no flag --verbose"],
	[["launch", "d", "--droid=x is broken"], "needs <prompt>"],
	[["resume", "@last", "-go"], "no flag -go"],
	[["complete", "@last", "-1"], "no flag -1"],
])(
	"%j: a word that looks like a flag: the error says how to write text",
	async (words, says) => {
		const { code, error } = await sandbox().bg(words);
		expect(code).toBe(2);
		expect(error).toContain(says);
		expect(error).toContain(": put -- before it if it is text");
	},
);

test.each([
	[["build", "make", "-j4"], "bg run build -- make -j4"],
	[["build", "make"], "bg run build -- make"],
	[
		["--timeout", "9m", "build it", "make", "-C", "a b"],
		"run --timeout 9m 'build it' -- make -C 'a b'",
	],
	[["build", "make", "--", "-j4"], "run build -- make -j4"],
	[["make", "-j4"], "put -- before the command"],
])("run %j says to put -- before the command", async (words, line) => {
	const { code, error } = await sandbox().bg(["run", ...words]);
	expect(code).toBe(2);
	expect(error).toContain("put -- before the command");
	expect(error).toContain(line.replace(/^bg /, ""));
});
