import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { applyChanges, createReader } from "../../lib/install/apply.ts";
import { type InstallTarget, marker } from "../../lib/install/droid-files.ts";
import { planInstall } from "../../lib/install/install.ts";
import { executable, type Sandbox, sandbox } from "../tools/harness.ts";

/** A project with a program that prints its own path and BG_STOP; install adds the hooks. */
function prepare(box: Sandbox, folder = join(box.home, "a project")) {
	const target: InstallTarget = {
		kind: "project",
		folder: join(folder, ".factory"),
	};
	const file = join(target.folder, "hooks.json");
	const script = `#!/bin/sh\n# ${marker}\necho "$0: \${BG_STOP-nothing is set}"\n`;
	const bg = executable(join(target.folder, "hooks"), "bg", script);
	const install = () => {
		const program = { name: "bg", bytes: readFileSync(bg) } as const;
		applyChanges(target, planInstall(target, program, createReader(target)));
	};
	return { folder, file, bg, install };
}

const commandIn = (file: string): string =>
	JSON.parse(readFileSync(file, "utf8")).Stop[0].hooks[0].command;

/** Runs a hook as droid does in a folder, and returns what it prints. It must exit. */
function runHook(command: string, folder: string): string {
	const { stdout, stderr, exitCode } = Bun.spawnSync(["sh", "-c", command], {
		env: { ...process.env, FACTORY_PROJECT_DIR: folder, BG_STOP: undefined },
		timeout: 20_000,
	});
	expect([exitCode, stderr.toString()]).toEqual([0, ""]);
	return stdout.toString().trim();
}

test("a project's hook runs the program of that project, and none above it", () => {
	const box = sandbox();
	const above = prepare(box, box.home);
	const { folder, file, bg, install } = prepare(box);
	for (const each of [above, { install }]) each.install();
	const command = commandIn(file);
	const below = join(folder, "src", "deep");
	expect(runHook(command, below)).toStartWith(`${bg}: `);
	Bun.spawnSync(["chmod", "-x", bg]);
	expect(existsSync(above.bg)).toBe(true);
	for (const at of [folder, below]) expect(runHook(command, at)).toBe("");
});

test("hooks of a folder below do not hide those of the project", () => {
	const { folder, file, bg, install } = prepare(sandbox());
	install();
	const below = join(folder, "src", "deep");
	const theirs = join(folder, "src", ".factory", "hooks.json");
	mkdirSync(dirname(theirs), { recursive: true });
	writeFileSync(theirs, '{"Stop": []}');
	expect(runHook(commandIn(file), below)).toStartWith(`${bg}: `);
});

test.each(["hooks/hooks.json", "settings.json"])(
	"a hook in %s searches for that file",
	(name) => {
		const { folder, file, bg, install } = prepare(sandbox());
		const path = join(file, "..", name);
		const theirs = { Stop: [{ hooks: [] }] };
		const isOlder = name.startsWith("hooks");
		writeFileSync(path, JSON.stringify(isOlder ? theirs : { hooks: theirs }));
		install();
		const table = JSON.parse(readFileSync(path, "utf8"));
		const { command } = (isOlder ? table : table.hooks).Stop[1].hooks[0];
		expect(runHook(command, join(folder, "src"))).toStartWith(`${bg}: `);
	},
);

test.each(["", "src", "a\n/b", "!", "/", "/nowhere"])(
	"if FACTORY_PROJECT_DIR is %j nothing is run, and the hook exits",
	(at) => {
		const { file, install } = prepare(sandbox());
		install();
		expect(runHook(commandIn(file), at)).toBe("");
	},
);

test("variables that the user set for the hook reach bg after every install", () => {
	const { folder, file, install } = prepare(sandbox());
	install();
	const edit = (change: (command: string) => string) => {
		const next = change(commandIn(file));
		const entry = { hooks: [{ type: "command", command: next }] };
		writeFileSync(file, JSON.stringify({ Stop: [entry] }));
	};
	edit((command) => `BG_STOP='a wait' ${command}`);
	for (const _ of "twice") {
		install();
		expect(runHook(commandIn(file), folder)).toEndWith(": a wait");
	}
	edit((command) => command.replace("BG_STOP='a wait' ", ""));
	install();
	expect(runHook(commandIn(file), folder)).toEndWith(": nothing is set");
});

test("install replaces the search of an earlier version", () => {
	const { file, install } = prepare(sandbox());
	install();
	const today = commandIn(file);
	const older = `d=$FACTORY_PROJECT_DIR; until [ -z "$d" ] || [ -x "$d/x" ]; do d=\${d%/*}; done; [ -z "$d" ] || "$d/.factory/hooks/bg" hook`;
	writeFileSync(
		file,
		JSON.stringify({ Stop: [{ hooks: [{ command: older }] }] }),
	);
	install();
	expect(commandIn(file)).toBe(today);
});
