import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { program, root, type Sandbox, sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
import { endsOf, openPty, type PtyOptions } from "../tools/pty.ts";

/** What can be installed: the program under test, or the bundle of a source. */
const installer = program.at(-1)?.endsWith(".ts")
	? [join(root, "dist", "bg.mjs")]
	: program;

/** A store with a finished task that ended long ago. */
const boxWithOldTask = () => {
	const box = sandbox();
	const id = addTask(box, {
		status: "completed",
		completed_at: "2020-01-01T00:00:00.000Z",
	});
	return { box, id, isThere: () => existsSync(join(box.dir, `${id}.json`)) };
};

const question =
	/delete 1 finished task with its output \(\d+ bytes\)\? \[y\/N\] /;

const cleanup = (box: Sandbox, flags: string[] = [], options?: PtyOptions) =>
	openPty(box, ["cleanup", "--delete", ...flags], options);

test.each([
	["y\n", 0],
	["yes\n", 0],
	["YES\n", 0],
	["n\n", 1],
	["\n", 1],
	["yes please\n", 1],
	["\u0004", 1],
])(
	"cleanup --delete asks; %j ends it with exit code %d",
	async (typed, code) => {
		const { box, isThere } = boxWithOldTask();
		const pty = cleanup(box);
		await pty.untilText(question);
		expect(isThere()).toBe(true);
		pty.type(typed);
		expect(await pty.ended).toBe(code);
		expect(isThere()).toBe(code !== 0);
		expect(pty.text()).toContain(code ? "nothing was done" : "1 deleted");
		expect(pty.isCooked()).toBe(true);
	},
);

test("Ctrl-C at the question ends cleanup by the signal, and deletes nothing", async () => {
	const { box, isThere } = boxWithOldTask();
	const pty = cleanup(box);
	await pty.untilText(question);
	pty.type("\u0003");
	expect(endsOf("SIGINT")).toContain(await pty.ended);
	expect(isThere()).toBe(true);
});

test("a terminal that hangs up at the question is no answer", async () => {
	const { box, isThere } = boxWithOldTask();
	const pty = cleanup(box);
	await pty.untilText(question);
	pty.close();
	await pty.ended;
	expect(isThere()).toBe(true);
});

test.each([
	["--yes", ["--yes"], {}],
	["-y", ["-y"], {}],
	["--json", ["--json"], {}],
	["BG_TASK_ID", [], { env: { BG_TASK_ID: "bg_12345678" } }],
	["BG_SESSION_ID", [], { env: { BG_SESSION_ID: "ses_1" } }],
	["CI", [], { env: { CI: "true" } }],
] as [string, string[], PtyOptions][])(
	"cleanup --delete does not ask with %s",
	async (_, flags, options) => {
		const { box, isThere } = boxWithOldTask();
		const pty = cleanup(box, flags, options);
		expect(await pty.ended).toBe(0);
		expect(isThere()).toBe(false);
		expect(pty.text()).not.toContain("[y/N]");
	},
);

test.each([
	["stdin", "</dev/null"],
	["stderr", "2>errors"],
	["stdout (a program reads the reply)", ">reply"],
])(
	"cleanup --delete does not ask if %s is no terminal",
	async (_, redirect) => {
		const { box, isThere } = boxWithOldTask();
		const argv = ["sh", "-c", `"$@" ${redirect}`, "sh", ...program];
		const pty = cleanup(box, [], { argv });
		expect(await pty.ended).toBe(0);
		expect(isThere()).toBe(false);
		expect(pty.text()).not.toContain("[y/N]");
	},
);

test("with --text in a pipe the question is on stderr, and the reply is plain", async () => {
	const { box, isThere } = boxWithOldTask();
	const argv = ["sh", "-c", '"$@" >reply', "sh", ...program];
	const pty = cleanup(box, ["--text"], { argv });
	await pty.untilText(question);
	pty.type("y\n");
	expect(await pty.ended).toBe(0);
	expect(isThere()).toBe(false);
	expect(readFileSync(join(box.home, "reply"), "utf8")).toMatch(
		/^0 archived \(bg list --all shows them\), 1 deleted, \d+ bytes freed\n$/,
	);
});

test("cleanup does not ask if nothing is to be deleted, or in a dry run", async () => {
	const box = sandbox();
	const none = cleanup(box);
	expect(await none.ended).toBe(0);
	const { box: other, isThere } = boxWithOldTask();
	const dry = cleanup(other, ["--dry-run"]);
	expect(await dry.ended).toBe(0);
	expect(isThere()).toBe(true);
	expect(none.text() + dry.text()).not.toContain("[y/N]");
});

test("cancel asks before it stops several tasks by selector, and only then", async () => {
	const box = sandbox();
	const ids = [
		await box.run(["sleep", "600"]),
		await box.run(["sleep", "600"]),
	];
	const ask = /stop 2 tasks with everything they started\? \[y\/N\] /;
	const refused = openPty(box, ["cancel", "--all"]);
	await refused.untilText(ask);
	refused.type("\n");
	expect(await refused.ended).toBe(1);
	for (const id of ids) expect(box.record(id).status).not.toBe("cancelled");
	const third = await box.run(["sleep", "600"]);
	const fourth = await box.run(["sleep", "600"]);
	const named = openPty(box, ["cancel", third, fourth]);
	expect(await named.ended).toBe(0);
	expect(named.text()).not.toContain("[y/N]");
	const confirmed = openPty(box, ["cancel", "--all"]);
	await confirmed.untilText(ask);
	confirmed.type("y\n");
	expect(await confirmed.ended).toBe(0);
	for (const id of ids) expect(box.record(id).status).toBe("cancelled");
	const single = await box.run(["sleep", "600"]);
	const only = openPty(box, ["cancel", "--all"]);
	expect(await only.ended).toBe(0);
	expect(only.text()).not.toContain("[y/N]");
	expect(box.record(single).status).toBe("cancelled");
});

test("uninstall asks, and removes files only after yes", async () => {
	const box = sandbox();
	const installed = await box.bg(["install"], { argv: installer });
	expect(installed.code).toBe(0);
	const skill = join(box.home, ".factory", "skills", "task-bg", "SKILL.md");
	const ask = /remove bg from \S+\.factory \(\d+ files\)\? \[y\/N\] /;
	const refused = openPty(box, ["uninstall"]);
	await refused.untilText(ask);
	refused.type("no\n");
	expect(await refused.ended).toBe(1);
	expect(existsSync(skill)).toBe(true);
	const confirmed = openPty(box, ["uninstall"]);
	await confirmed.untilText(ask);
	confirmed.type("yes\n");
	expect(await confirmed.ended).toBe(0);
	expect(existsSync(skill)).toBe(false);
	const again = openPty(box, ["uninstall"]);
	expect(await again.ended).toBe(0);
	expect(again.text()).not.toContain("[y/N]");
});

test("consola writes every line as it is, without control characters", () => {
	const script = `
		const { openConsola } = await import(${JSON.stringify(join(root, "lib/cli/ask.ts"))});
		const { log } = openConsola();
		for (let n = 0; n < 20; n++) log(${JSON.stringify("a\u0007 \u001b[31m%s `b` _c_\nd")});
	`;
	const { stdout } = Bun.spawnSync([process.execPath, "-e", script], {
		env: { ...process.env, CONSOLA_LEVEL: "0" },
	});
	expect(stdout.toString()).toBe("a\\x07 %s `b` _c_\nd\n".repeat(20));
});

test("doctor prints plain marks in a pipe", async () => {
	const { stdout } = await sandbox().bg(["doctor", "--text"]);
	expect(stdout).toMatch(/^✔ {2}program /);
	expect(stdout).toMatch(/\n✖ {2}\w+ .*\n {3} +→ /);
	expect(stdout).not.toContain("\u001b");
});

/** Runs bg's source and returns the files of consola that it loaded. */
async function consolaFilesOf(args: string[]): Promise<string[]> {
	const box = sandbox();
	const [preload, log] = [join(box.home, "preload.ts"), join(box.home, "log")];
	writeFileSync(log, "");
	writeFileSync(
		preload,
		`import { plugin } from "bun";
import { appendFileSync, readFileSync } from "node:fs";
plugin({ name: "log", setup: (build) => build.onLoad({ filter: /consola/ }, ({ path }) => {
	appendFileSync(${JSON.stringify(log)}, path + "\\n");
	return { contents: readFileSync(path, "utf8"), loader: "js" };
}) });`,
	);
	const argv = [process.execPath, "--preload", preload, join(root, "bg.ts")];
	const { stdout, stderr } = await box.bg(args, { argv });
	expect(`${args}: ${stdout}${stderr}`).toMatch(/: ./s);
	return readFileSync(log, "utf8").split("\n").filter(Boolean);
}

test.each([
	"cleanup --json",
	"cleanup --delete",
	"doctor",
	"install --dry-run --json",
	"uninstall",
	"cancel --all --text",
	"list --text",
	"wait --text",
])("bg %s loads nothing of consola", async (call) => {
	expect(await consolaFilesOf(call.split(" "))).toEqual([]);
});

test.each(["cleanup --text", "doctor --text"])(
	"consola writes the text of bg %s",
	async (call) => {
		expect(await consolaFilesOf(call.split(" "))).not.toEqual([]);
	},
);
