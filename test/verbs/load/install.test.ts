import { expect, test } from "bun:test";
import {
	chmodSync,
	copyFileSync,
	existsSync,
	lstatSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { hookEvents } from "../../../lib/hook/events.ts";
import { hookGuards } from "../../../lib/hook/guard.ts";
import {
	type CallOptions,
	program,
	type Sandbox,
	sandbox,
} from "../../tools/harness.ts";

const file = program.find((part) => /bg(\.mjs|\.ts)?$/.test(part)) ?? "";
const isSource = file.endsWith(".ts");
const name = basename(file);

/** Runs install or uninstall and returns the action for each file. */
async function act(box: Sandbox, args: string[], options: CallOptions = {}) {
	const answer = await box.bg(args, options);
	expect(answer.stderr).toBe("");
	const { files } = answer.json() as {
		files: { path: string; action: string }[];
	};
	return Object.fromEntries(
		files.map(({ path, action }) => [path.replace(`${box.home}/`, ""), action]),
	);
}

const read = (...path: string[]) => readFileSync(join(...path), "utf8");

type Hooks = Record<string, { hooks: { command: string }[] }[]>;

/** The command of the last hook of an event. */
const commandIn = (text: string, event = "PostToolUse"): string =>
	(Bun.JSONC.parse(text) as Hooks)[event]?.at(-1)?.hooks[0]?.command ?? "";

/** Runs a hook's command in a folder, as droid does. */
function runHook(box: Sandbox, command: string, env: Record<string, string>) {
	const argv = ["sh", "-c", command];
	const input = JSON.stringify({
		hook_event_name: "SessionStart",
		session_id: "s1",
	});
	const { home, dir } = box;
	return box.bg([], {
		argv,
		input,
		cwd: env.FACTORY_PROJECT_DIR ?? home,
		env: { ...env, BG_DIR: dir },
	});
}

if (isSource)
	test("install refuses to install a source, and touches nothing", async () => {
		const box = sandbox();
		const answer = await box.bg(["install"]);
		expect(answer.code).toBe(111);
		expect(answer.error).toContain("npm run build, then dist/bg install");
		expect(existsSync(join(box.home, ".factory"))).toBe(false);
	});
else {
	test("install adds a hook that works; a second install changes nothing; uninstall restores the files", async () => {
		const box = sandbox();
		const factory = join(box.home, ".factory");
		const guard = '// mine\n{"Stop": [ {"hooks": []} ]}\n';
		mkdirSync(factory);
		writeFileSync(join(factory, "hooks.json"), guard, { mode: 0o600 });
		const own = `.factory/hooks/${name}`;
		const made = {
			[own]: "create",
			".factory/skills/task-bg/SKILL.md": "create",
			".factory/commands/task-bg.md": "create",
			".factory/hooks.json": "change",
		};
		expect(await act(box, ["install", "--dry-run"])).toEqual(made);
		expect(existsSync(join(box.home, own))).toBe(false);
		expect(await act(box, ["install"])).toEqual(made);
		expect(new Set(Object.values(await act(box, ["install"])))).toEqual(
			new Set(["same"]),
		);
		expect(statSync(join(factory, "hooks.json")).mode & 0o777).toBe(0o600);
		expect(statSync(join(box.home, own)).mode & 0o100).toBe(0o100);

		const command = commandIn(read(factory, "hooks.json"), "SessionStart");
		expect(command).toBe(`${join(box.home, own)} hook`);
		const session = join(box.home, "session.env");
		const hook = await runHook(box, command, { CLAUDE_ENV_FILE: session });
		expect([hook.code, hook.stderr]).toEqual([0, ""]);
		expect(read(session)).toBe("export BG_SESSION_ID=s1\n");

		// The installed program removes itself.
		const gone = await act(box, ["uninstall"], {
			argv: [...program.slice(0, -1), join(box.home, own)],
		});
		expect(Object.keys(gone).toSorted()).toEqual(Object.keys(made).toSorted());
		expect(read(factory, "hooks.json")).toBe(guard);
		expect(existsSync(join(factory, "hooks"))).toBe(false);
		expect(existsSync(join(factory, "skills"))).toBe(false);
	});

	test("a project's hook finds bg from a folder below, and reads no configuration there", async () => {
		const box = sandbox();
		const project = join(box.home, "a project");
		const below = join(project, "src", "deep");
		mkdirSync(below, { recursive: true });
		for (const [name, text] of Object.entries({
			"bunfig.toml": 'preload = ["./evil.cjs"]\n',
			"evil.cjs": `require("node:fs").writeFileSync(${JSON.stringify(join(box.home, "evil"))}, "")`,
			".env": "BG_DIR=/nowhere\n",
		}))
			writeFileSync(join(below, name), text);
		await act(box, ["install", "--project"], { cwd: project });
		const session = join(box.home, "session.env");
		const hook = await runHook(
			box,
			commandIn(read(project, ".factory/hooks.json")),
			{
				CLAUDE_ENV_FILE: session,
				FACTORY_PROJECT_DIR: below,
			},
		);
		expect([hook.code, hook.stderr]).toEqual([0, ""]);
		expect(read(session)).toBe("export BG_SESSION_ID=s1\n");
		expect(existsSync(join(box.home, "evil"))).toBe(false);
		expect(existsSync(join(box.home, ".factory"))).toBe(false);
		const gone = await act(box, ["uninstall", "--project"], { cwd: project });
		expect(Object.keys(gone)).toHaveLength(4);
		expect(readdirSync(project)).toEqual(["src"]);
	});

	test("a project gets the script; an executable that has none beside it is told first, with its size", async () => {
		const box = sandbox();
		const project = join(box.home, "project");
		mkdirSync(project);
		const made = await act(box, ["install", "--project"], { cwd: project });
		expect(Object.keys(made)[0]).toBe("project/.factory/hooks/bg.mjs");
		if (name !== "bg") return;
		const alone = join(box.home, "bin", "bg");
		mkdirSync(join(box.home, "bin"));
		copyFileSync(file, alone);
		const answer = await box.bg(["install", "--project", "--text"], {
			argv: [alone],
			cwd: project,
		});
		expect(answer.stderr).toMatch(/gets an executable of \d+ MiB for \w+ \w+/);
		expect(answer.stdout).toContain(`created ${project}/.factory/hooks/bg (`);
		expect(answer.stdout).toContain(`removed ${project}/.factory/hooks/bg.mjs`);
	});

	test("install tells in text what each hook does", async () => {
		const { stdout } = await sandbox().bg(["install", "--text"]);
		for (const event of Object.keys(hookEvents))
			expect(stdout).toMatch(new RegExp(`^    ${event} +\\S.{20}`, "m"));
	});

	test("a running program continues when install replaces its file", async () => {
		const box = sandbox();
		const own = join(box.home, ".factory", "hooks", name);
		mkdirSync(join(own, ".."), { recursive: true });
		copyFileSync(file, own);
		writeFileSync(own, "// written by bg install\n", { flag: "a" });
		chmodSync(own, 0o755);
		const argv = [...program.slice(0, -1), own];
		const id = await box.run(["sleep", "60"], { argv });
		await box.untilTask(id, ({ status }) => status === "running", "a start");
		expect((await act(box, ["install"]))[`.factory/hooks/${name}`]).toBe(
			"change",
		);
		expect(readFileSync(own).equals(readFileSync(file))).toBe(true);
		expect((await box.bg(["cancel", id], { argv })).code).toBe(0);
	});

	test("a broken file, a foreign file and a link are named and left alone", async () => {
		const box = sandbox();
		const factory = join(box.home, ".factory");
		mkdirSync(join(factory, "commands"), { recursive: true });
		const hooks = join(factory, "hooks.json");
		writeFileSync(hooks, '{"Stop": [],}');
		for (const verb of ["install", "uninstall"]) {
			const answer = await box.bg([verb]);
			expect(answer.code).toBe(111);
			expect(answer.error).toContain(`${hooks} is broken`);
		}
		expect(read(hooks)).toBe('{"Stop": [],}');
		expect(existsSync(join(factory, "hooks"))).toBe(false);

		writeFileSync(hooks, "{}");
		writeFileSync(join(factory, "commands", "task-bg.md"), "my own");
		expect((await act(box, ["install"]))[".factory/commands/task-bg.md"]).toBe(
			"foreign",
		);
		await act(box, ["uninstall"]);
		expect(read(factory, "commands", "task-bg.md")).toBe("my own");
		expect(read(hooks)).toBe("{}");

		const project = join(box.home, "project");
		mkdirSync(project);
		symlinkSync(factory, join(project, ".factory"));
		const answer = await box.bg(["install", "--project"], { cwd: project });
		expect(answer.error).toContain("is a link");
		expect(existsSync(join(factory, "hooks"))).toBe(false);
	});

	test("the user's own link to hooks.json is followed", async () => {
		const box = sandbox();
		const kept = join(box.home, "dotfiles.json");
		writeFileSync(kept, "{}");
		mkdirSync(join(box.home, ".factory"));
		const link = join(box.home, ".factory", "hooks.json");
		symlinkSync(kept, link);
		await act(box, ["install"]);
		expect(lstatSync(link).isSymbolicLink()).toBe(true);
		expect(Object.keys(JSON.parse(read(kept)))).toEqual(
			Object.keys(hookEvents),
		);
	});

	test("--plugin writes a marketplace and prints the commands that install it", async () => {
		const box = sandbox();
		const folder = join(box.home, "my-market");
		const { next } = (await box.bg(["install", "--plugin", folder])).json();
		expect(next.slice(-2)).toEqual([
			`droid plugin marketplace add ${folder}`,
			"droid plugin install bg@my-market --scope user",
		]);
		const market = JSON.parse(read(folder, ".factory-plugin/marketplace.json"));
		expect(market).toMatchObject({
			name: "my-market",
			plugins: [{ name: "bg", source: "./bg" }],
		});
		const hooks = read(folder, "bg/hooks/hooks.json");
		const call = `"\${DROID_PLUGIN_ROOT}/hooks/${name}" hook`;
		expect(commandIn(hooks, "Stop")).toBe(call);
		expect(commandIn(hooks)).toBe(`${hookGuards.PostToolUse}exec ${call}`);
		await act(box, ["uninstall", "--plugin", folder]);
		expect(existsSync(folder)).toBe(false);
	});

	test("control characters in the name of a folder are not printed", async () => {
		const box = sandbox();
		const folder = join(box.home, "a\u001b]0;b\u0007", "my-market");
		const { stdout } = await box.bg(["install", "--text", "--plugin", folder]);
		expect(stdout).toContain("then type:\n    git -C ");
		// biome-ignore lint/suspicious/noControlCharactersInRegex: the test is about control characters
		expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
	});
}

test.each([
	[["install", "--user", "--project"], "cannot be combined"],
	[["uninstall", "--plugin", ""], "droid names the plugin after its folder"],
	[["install", "--user", "--force"], "no flag --force"],
])("%p is a usage error", async (args, words) => {
	const answer = await sandbox().bg(args);
	expect(answer.code).toBe(2);
	expect(answer.error).toContain(words);
});
