import { expect, test } from "bun:test";
import { chmodSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { thisMachine } from "../../lib/process.ts";
import {
	executable,
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../harness.ts";
import { addTask } from "../hooks.ts";

const file = program.at(-1) ?? "";

/** What is installed, and by whom: the program under test, or for a source its bundle. */
const installer = file.endsWith(".ts")
	? [join(root, "dist", "bg.mjs")]
	: program;

type Finding = { check: string; ok: boolean; says: string; mend?: string };

async function examine(box: Sandbox, env: Record<string, string>) {
	const answer = await box.bg(["doctor"], { env });
	expect(answer.stderr).toBe("");
	const { ok, checks } = answer.json() as { ok: boolean; checks: Finding[] };
	expect(answer.code).toBe(ok ? 0 : 1);
	return { ok, ill: checks.filter((each) => !each.ok), checks };
}

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

const droidThat = (box: Sandbox, script: string) =>
	executable(box.home, "a-droid", `#!/bin/sh\n${script}\n`);

test("doctor says that all is well, and changes nothing", async () => {
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
	expect(says.tasks).toBe("1, 0 not over, none lost");
	expect([snapshot(box.home), snapshot(box.dir)]).toEqual(before);
	const text = await box.bg(["doctor", "--text"], { env });
	expect(text.stdout).toContain("✔  droid ");
});

test("what is not well is mended by what doctor says", async () => {
	const box = sandbox();
	const droid = droidThat(box, "exit 3");
	const env = { BG_DROID: droid, BG_MAX_RUNNING: "many" };
	await box.bg(["install"], { argv: installer });
	const installed = join(box.home, ".factory", "skills", "task-bg", "SKILL.md");
	writeFileSync(installed, "written by bg install, long ago");
	const gone = { ...thisMachine(), boot: "an earlier one", pid: 1, start: "1" };
	const id = addTask(box, { supervisor: gone, process: gone });
	await box.bg(["pause", "--queue"]);
	await box.bg(["hook"], { input: "no JSON" });
	chmodSync(box.dir, 0o755);

	const { ill, checks } = await examine(box, env);
	expect(checks.at(-1)?.says).toEndWith("a payload that is no JSON object");
	expect(ill.map(({ check }) => check)).toEqual([
		...["droid", "login", "hooks", "store", "tasks", "queue", "limits"],
	]);
	const found = Object.fromEntries(ill.map((each) => [each.check, each]));
	expect(found.droid?.says).toContain("exit code 3");
	expect(found.hooks?.says).toContain(installed);
	expect(found.tasks?.says).toBe(`lost: ${id}`);
	expect(found.limits?.says).toBe('BG_MAX_RUNNING is "many"');
	expect(box.record(id).status).toBe("running");

	for (const check of ["hooks", "store", "tasks", "queue"]) {
		const mend = found[check]?.mend?.replace(
			file,
			(check === "hooks" ? installer : program).join(" "),
		);
		const done = await box.bg([], { argv: ["sh", "-c", mend ?? "false"] });
		expect(`${mend}: ${done.code} ${done.stderr}`).toBe(`${mend}: 0 `);
	}
	droidThat(box, "echo 9.9.9");
	const after = await examine(box, { BG_DROID: droid, FACTORY_API_KEY: "x" });
	expect(after.ill).toEqual([]);
});

test("a file that others could have put there, or that is broken, is a finding and no fault", async () => {
	const box = sandbox();
	const id = addTask(box);
	writeFileSync(join(box.dir, `${id}.json`), "{");
	writeFileSync(join(box.home, "not-a-folder"), "");
	const { checks } = await examine(box, {});
	expect(checks.find(({ check }) => check === "tasks")).toMatchObject({
		ok: false,
		mend: `mend or remove ${join(box.dir, `${id}.json`)}`,
	});
	const other = await examine(box, { BG_DIR: join(box.home, "not-a-folder") });
	expect(other.checks.find(({ check }) => check === "store")).toMatchObject({
		ok: false,
		mend: "set BG_DIR to one",
	});
});
