import { expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isHookInstalled } from "../../lib/droid/hook-files.ts";
import { hookEvents } from "../../lib/hook/events.ts";
import {
	listDroidFiles,
	listHookFiles,
} from "../../lib/install/droid-files.ts";
import { addHooks } from "../../lib/install/hook-entries.ts";
import { sandbox } from "../tools/harness.ts";

function write(path: string, text: string): void {
	mkdirSync(dirname(path), { recursive: true });
	writeFileSync(path, text);
}

const events = Object.keys(hookEvents);

test.each(["user", "project"] as const)(
	"what bg install writes for the %s is found, in each file that droid reads",
	(kind) => {
		for (const [at] of listHookFiles({ kind, folder: "" }).entries())
			for (const name of ["bg", "bg.mjs"]) {
				const { home } = sandbox();
				const project = join(home, "a project");
				const cwd = join(project, "below", "it");
				const root = kind === "user" ? home : project;
				const target = { kind, folder: join(root, ".factory") };
				const file = listHookFiles(target)[at];
				if (!file) throw new Error("no such file");
				const { path, under } = file;
				const { hook } = listDroidFiles(target, name);
				expect(isHookInstalled(cwd, home)).toBe(false);
				const empty = under ? `{"${under}":{}}` : "{}";
				write(path, empty);
				expect(isHookInstalled(cwd, home)).toBe(false);
				const command = hook(path);
				write(path, addHooks(empty, file, { events, command }).text);
				expect(isHookInstalled(cwd, home)).toBe(true);
			}
	},
);

test("an installed plugin is found, and other hooks are none of bg", () => {
	const { home } = sandbox();
	const factory = join(home, ".factory");
	for (const command of ["notbg hook", "bg hooks", "bg list", "/bin/true"]) {
		const hooks = [{ hooks: [{ type: "command", command }] }];
		write(join(factory, "hooks.json"), JSON.stringify({ Stop: hooks }));
		expect([command, isHookInstalled(home, home)]).toEqual([command, false]);
	}
	const folder = join(factory, "plugins", "installed_plugins");
	write(join(folder, "1.json"), '{"pluginId": "other@market"}');
	expect(isHookInstalled(undefined, home)).toBe(false);
	write(join(folder, "2.json"), '{"pluginId": "bg@market"}');
	expect(isHookInstalled(undefined, home)).toBe(true);
});

test("a file that cannot be read may name a hook", () => {
	const { home } = sandbox();
	mkdirSync(join(home, ".factory"));
	const path = join(home, ".factory", "hooks.json");
	symlinkSync(path, path);
	expect(isHookInstalled(undefined, home)).toBe(true);
});
