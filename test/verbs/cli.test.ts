import { expect, test } from "bun:test";
import { realpathSync } from "node:fs";
import { version } from "../../package.json";
import { program, sandbox } from "../tools/harness.ts";

test.each([
	[["lunch"], 'no verb "lunch" (did you mean launch?)'],
	[["--hepl"], "no verb"],
	[["toString"], "no verb"],
	[["ls"], 'no verb "ls": '],
	[["kill", "1a2b", "--now"], " cancel ID"],
	[["list", "--ful"], "did you mean --full?"],
	[["list", "--nonsense"], "list --help lists them)"],
	[["list", "extra"], 'does not take "extra"'],
	[["list", "--full=yes"], "takes no value"],
	[["list", "--session"], "needs a value"],
	[["list", "--cwd", "a", "--cwd", "b"], "given twice"],
	[["list", "--json", "--text"], "cannot be combined ("],
	[["wait", "--timeout", "1w"], "it takes a duration like 90s, 30m, 2h or 7d"],
	[["complete", "bg_12345678"], "the result ("],
	[["status"], "needs <id>"],
	[["status", "../../etc/passwd"], "is not a task id"],
	[["status", "bg_"], "no task"],
	[["run", "d"], "no command to run"],
	[["run", "d", "true"], "put -- before the command"],
	[["launch", "d", "p", "--prompt-file", "f"], 'there is no droid "p"'],
	[["run", "d", "--"], "no command to run"],
	[["complete", "bg_12345678"], "needs <result>"],
])("bg %j says %j, once, as JSON in one line", async (args, words) => {
	const box = sandbox();
	const { code, stdout, stderr } = await box.bg(args);
	expect(code).toBe(args[1] === "bg_" ? 3 : 2);
	expect(stderr).toBe("");
	expect(stdout.trimEnd().split("\n")).toHaveLength(1);
	expect(JSON.parse(stdout)).toEqual({ error: expect.stringContaining(words) });
});

test.each([
	[["list", "--ful", "--text"], "--ful"],
	[["list", "--format", "table", "--ful"], "--ful"],
	[["launch", "-q", "d"], "<prompt>"],
	[["run", "--quiet", "d", "--"], "no command to run"],
	[["lunch", "-q", "d", "p"], "did you mean launch?"],
	[["output", "--raw", "bg_12345678"], "no task"],
	[["output", "-f", "bg_12345678"], "no task"],
	[["report", "--ful"], "no flag --ful"],
	[["help", "lunch"], "did you mean launch?"],
	[["help", "list", "--man"], "help --man"],
	[["completion", "tcsh"], "completion takes bash, zsh, fish"],
])(
	"where bg %j answers in words, %j is said on stderr alone",
	async (args, words) => {
		const { stdout, stderr } = await sandbox().bg(args);
		expect(stderr).toContain(words);
		expect(stdout).toBe("");
	},
);

test("behind -- nothing decides how a fault is told", async () => {
	const call = ["run", "--cwd", "/nowhere", "d", "--", "true", "--text", "-q"];
	expect((await sandbox().bg(call)).json().error).toContain("/nowhere");
});

test("a hint that a program reads can be typed: it begins with this program's path", async () => {
	const box = sandbox();
	const call = ["status", "bg_12345678"];
	const file = realpathSync(program.at(-1) ?? "");
	const words = `no task "bg_12345678" (${file} list shows them)`;
	expect((await box.bg(call)).json()).toEqual({ error: words });
	const inText = await box.bg([...call, "--text"]);
	expect([inText.stdout, inText.stderr]).toEqual(["", `bg: ${words}\n`]);
});

test("--version is the package's", async () => {
	const box = sandbox();
	expect((await box.bg(["--version"])).stdout).toBe(`${version}\n`);
});

test("--help is heard wherever a flag may stand", async () => {
	const box = sandbox();
	for (const args of [
		["list", "--json", "--help"],
		["launch", "d", "p", "--help"],
		["run", "d", "-h"],
		["status", "-h"],
	])
		expect((await box.bg(args)).stdout).toContain(`bg ${args[0]}`);
});

test("--help names every verb, and each verb has its own", async () => {
	const box = sandbox();
	const { stdout } = await box.bg(["--help"]);
	const verbs = "launch run list status output wait cancel complete".split(" ");
	for (const verb of verbs) {
		expect(stdout).toContain(verb);
		for (const args of [
			[verb, "--help"],
			["help", verb],
		]) {
			const help = await box.bg(args);
			expect(help.code).toBe(0);
			expect(help.stdout).toContain(`bg ${verb}`);
			expect(help.stdout).toContain("--json");
			expect(help.stdout).not.toContain("\u001b");
		}
	}
});
