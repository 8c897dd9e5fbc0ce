import { expect, test } from "bun:test";
import {
	chmodSync,
	cpSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { identifyMachine } from "../../../lib/process/machine.ts";
import {
	executable,
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../../tools/harness.ts";
import { addTask } from "../../tools/hooks.ts";

const file = program.at(-1) ?? "";

/** The program that installs: the one under test, or the bundle if that is a source. */
const installer = file.endsWith(".ts")
	? [join(root, "dist", "bg.mjs")]
	: program;

type Finding = {
	check: string;
	ok: boolean;
	says: string;
	fix?: string;
	faults?: object[];
};

async function examine(box: Sandbox, env: Record<string, string>) {
	const answer = await box.bg(["doctor"], { env });
	expect(answer.stderr).toBe("");
	const { ok, checks } = answer.json() as { ok: boolean; checks: Finding[] };
	expect(answer.code).toBe(ok ? 0 : 1);
	return { ok, failed: checks.filter((each) => !each.ok), checks };
}

const findingOf = ({ checks }: { checks: Finding[] }, wanted: string) =>
	checks.find(({ check }) => check === wanted);

/** Everything below a folder with its time and mode; what a runtime keeps for itself left out. */
const snapshot = (folder: string): string[] =>
	readdirSync(folder, { recursive: true })
		.map(String)
		.filter((name) => !/^\.(cache|bun)(\/|$)/.test(name))
		.sort()
		.map((name) => {
			const { mtimeMs, mode } = statSync(join(folder, name));
			return `${name} ${mtimeMs} ${mode}`;
		});

/** Runs the fix of a finding. */
async function applyFix(box: Sandbox, found?: Finding) {
	const command = found?.fix?.replace(
		file,
		(found.check === "hooks" ? installer : program).join(" "),
	);
	const done = await box.bg([], { argv: ["sh", "-c", command ?? "false"] });
	expect(`${command}: ${done.code} ${done.stderr}`).toBe(`${command}: 0 `);
}

const droidThat = (box: Sandbox, script: string) =>
	executable(box.home, "a-droid", `#!/bin/sh\n${script}\n`);

test("doctor passes every check of a healthy installation, and changes nothing", async () => {
	const box = sandbox();
	const env = { BG_DROID: droidThat(box, "echo 9.9.9"), FACTORY_API_KEY: "x" };
	await box.bg(["install"], { argv: installer });
	await box.bg(["wait", await box.run(["true"])]);
	await until(() => box.alive().length === 0, "its supervisor to leave");
	const before = [snapshot(box.home), snapshot(box.dir)];
	const { ok, checks } = await examine(box, env);
	expect({ ok, checks }).toMatchObject({ ok: true });
	const says = Object.fromEntries(
		checks.map((each) => [each.check, each.says]),
	);
	expect(says.droid).toStartWith("9.9.9: ");
	expect(says.hooks).toContain(join(box.home, ".factory"));
	expect(says.tasks).toBe("1, 0 unfinished, none lost");
	expect([snapshot(box.home), snapshot(box.dir)]).toEqual(before);
	const text = await box.bg(["doctor", "--text"], { env });
	expect(text.stdout).toContain("✔  droid ");
});

test("the fix of each failed check fixes it", async () => {
	const box = sandbox();
	const droid = droidThat(box, "exit 3");
	const env = { BG_DROID: droid, BG_MAX_RUNNING: "many" };
	await box.bg(["install"], { argv: installer });
	const installed = join(box.home, ".factory", "skills", "task-bg", "SKILL.md");
	writeFileSync(installed, "written by bg install, long ago");
	const gone = {
		...identifyMachine(),
		boot: "an earlier one",
		pid: 1,
		start: "1",
	};
	const id = addTask(box, { supervisor: gone, process: gone });
	await box.bg(["pause", "--queue"]);
	await box.bg(["hook"], { input: "no JSON" });
	chmodSync(box.dir, 0o755);

	const { failed, checks } = await examine(box, env);
	expect(checks.at(-1)?.says).toEndWith("the payload is not a JSON object");
	expect(failed.map(({ check }) => check)).toEqual([
		...["droid", "login", "hooks", "store", "tasks", "queue", "limits"],
	]);
	const found = Object.fromEntries(failed.map((each) => [each.check, each]));
	expect(found.droid?.says).toContain("exit code 3");
	expect(found.hooks?.says).toContain(installed);
	expect(found.tasks?.says).toBe(`lost: ${id}`);
	expect(found.limits).toMatchObject({
		says: 'BG_MAX_RUNNING is "many": it takes a number, 0 for no limit',
		fix: "unset BG_MAX_RUNNING BG_MAX_PER_DROID BG_MAX_DEPTH BG_MAX_QUEUED",
	});
	expect(box.record(id).status).toBe("running");

	for (const check of ["hooks", "store", "tasks", "queue"])
		await applyFix(box, found[check]);
	droidThat(box, "echo 9.9.9");
	const after = await examine(box, { BG_DROID: droid, FACTORY_API_KEY: "x" });
	expect(after.failed).toEqual([]);
});

test("hook commands of an earlier version are out of date; their fix renews them", async () => {
	const box = sandbox();
	await box.bg(["install"], { argv: installer });
	const path = join(box.home, ".factory", "hooks.json");
	const today = readFileSync(path, "utf8");
	const older = today.replace(/\[ -n .* && exit 0; exec /g, "");
	expect(older.match(/\/hooks\/bg(\.mjs)? hook"/g)).toHaveLength(6);
	writeFileSync(path, older);
	const found = findingOf(await examine(box, {}), "hooks");
	expect(found).toMatchObject({ ok: false, says: `out of date: ${path}` });
	await applyFix(box, found);
	expect(readFileSync(path, "utf8")).toBe(today);
	expect(findingOf(await examine(box, {}), "hooks")?.ok).toBe(true);
});

/** Files as droid 0.215.0 was recorded to write them for a plugin of a local marketplace. */
function recordPlugin(box: Sandbox, folder: string): string {
	const plugins = join(box.home, ".factory", "plugins");
	const installPath = join(plugins, "cache", "m", "bg");
	cpSync(join(folder, "bg"), installPath, { recursive: true });
	const write = (kind: string, value: object) => {
		mkdirSync(join(plugins, kind), { recursive: true });
		writeFileSync(join(plugins, kind, "a.json"), JSON.stringify(value));
	};
	const entry = { scope: "user", installPath, source: "market" };
	write("installed_plugins", { pluginId: "bg@market", entry });
	write("known_marketplaces", {
		name: "market",
		entry: {
			source: { source: "local", path: folder },
			installLocation: folder,
		},
	});
	return join(installPath, "hooks", "hooks.json");
}

test("a plugin with hook commands of an earlier version is out of date", async () => {
	const box = sandbox();
	const folder = join(box.home, "a place", "market");
	await box.bg(["install", "--plugin", folder], { argv: installer });
	const path = recordPlugin(box, folder);
	expect(findingOf(await examine(box, {}), "hooks")).toMatchObject({
		ok: true,
		says: "installed: plugin bg@market",
	});
	const today = readFileSync(path, "utf8");
	writeFileSync(path, today.replace(/\[ -n .* && exit 0; exec /g, ""));
	const found = findingOf(await examine(box, {}), "hooks");
	expect(found?.says).toStartWith(`out of date: ${path} (`);
	expect(found?.fix).toEndWith(` install --plugin '${folder}'`);
	rmSync(join(box.home, ".factory", "plugins", "known_marketplaces"), {
		recursive: true,
	});
	expect(findingOf(await examine(box, {}), "hooks")?.fix).toBe(
		"droid plugin update bg@market",
	);
});

test("a check that cannot read its subject fails, names the problem and has a fix", async () => {
	const box = sandbox();
	const id = addTask(box);
	const record = join(box.dir, `${id}.json`);
	writeFileSync(record, "{");
	chmodSync(box.dir, 0o770);
	const unsafe = await examine(box, {});
	const problem = `${box.dir} can be written by others: once you trust its contents, chmod -R go-w ${box.dir}`;
	for (const check of ["store", "tasks", "queue", "disk"])
		expect(findingOf(unsafe, check)?.says).toBe(problem);
	await applyFix(box, findingOf(unsafe, "store"));
	const broken = findingOf(await examine(box, {}), "tasks");
	expect(broken).toMatchObject({
		ok: false,
		fix: `mv ${record} ${record}.broken`,
	});
	await applyFix(box, broken);
	expect(findingOf(await examine(box, {}), "tasks")?.ok).toBe(true);

	const nowhere = join(box.home, "a file", "store");
	writeFileSync(join(box.home, "a file"), "");
	const misled = await examine(box, { BG_DIR: nowhere, BG_DROID: "/nowhere" });
	expect(findingOf(misled, "store")).toMatchObject({
		says: expect.stringContaining(`unable to use ${nowhere}: ENOTDIR`),
		fix: "unset BG_DIR",
	});
	expect(findingOf(misled, "droid")).toMatchObject({
		says: expect.stringContaining("BG_DROID is /nowhere, which is not"),
		fix: "unset BG_DROID",
	});
});

test("a project that install refuses counts as not installed; a broken file of the user fails", async () => {
	const box = sandbox();
	await box.bg(["install"], { argv: installer });
	const cwd = join(box.home, "project");
	mkdirSync(cwd);
	symlinkSync("/usr", join(cwd, ".factory"));
	const answer = await box.bg(["doctor"], { cwd });
	expect(findingOf(answer.json(), "hooks")?.says).toBe(
		`installed: ${join(box.home, ".factory")}`,
	);
	writeFileSync(join(box.home, ".factory", "hooks.json"), "{");
	expect(findingOf(await examine(box, {}), "hooks")?.says).toContain(
		"hooks.json is broken",
	);
});

test("without a home, doctor and uninstall name what is missing", async () => {
	const box = sandbox();
	const options = {
		// Deno wants a folder of its own.
		env: { HOME: undefined, BG_DIR: undefined, DENO_DIR: join(box.home, "d") },
		argv: ["unshare", "--map-user=64999", ...program],
	};
	const { code, json } = await box.bg(["doctor"], options);
	expect(code).toBe(1);
	expect(findingOf(json(), "store")).toMatchObject({
		says: "no home to keep tasks in: set HOME or BG_DIR",
		fix: 'export BG_DIR="$PWD/bg-tasks"',
	});
	const missing = "no home folder for droid's files: set HOME";
	for (const check of ["login", "hooks"])
		expect(findingOf(json(), check)?.says).toBe(missing);
	const other = await box.bg(["uninstall"], options);
	expect(other).toMatchObject({ code: 111, error: `bg: ${missing}\n` });
});

test("doctor tells each kind of fault with how often and when last", async () => {
	const box = sandbox();
	addTask(box);
	const { code } = await box.bg(["supervise", "no-id"]);
	expect(code).not.toBe(0);
	const path = join(box.dir, ".supervisor.log");
	const log = readFileSync(path, "utf8");
	expect(log).toMatch(/^\S+Z no-id Error: not a task id: no-id at [^\n]+\n$/);
	const full = (id: string, at: string) =>
		`2020-01-01T00:00:${at}.000Z ${id} unable to write /x: ENOSPC\n`;
	writeFileSync(
		path,
		`${full("bg_19f0c2a4b5c6", "01")}${full("bg_19f0c2a4ffff", "02")}torn${log}`,
		{ mode: 0o600 },
	);
	writeFileSync(path, log, { flag: "a" });
	const found = findingOf(await examine(box, {}), "faults");
	expect(found?.says).toStartWith("4 logged, the last: ");
	const last = "2020-01-01T00:00:02.000Z";
	const fault = "bg_19f0c2a4ffff unable to write /x: ENOSPC";
	expect(found?.faults).toMatchObject([
		{ times: 1, log: "supervisor" },
		{ times: 2, log: "supervisor", last, fault },
		{ times: 1, last: "", fault: expect.stringMatching(/^torn/) },
	]);
	const { stdout } = await box.bg(["doctor", "--text"]);
	expect(stdout).toMatch(/2 ×, last \d+d ago, supervisor: bg_19f0c2a4ffff /);
});
