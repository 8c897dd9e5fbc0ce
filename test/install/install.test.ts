import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { hookEvents } from "../../lib/hook/events.ts";
import { type InstallTarget, marker } from "../../lib/install/droid-files.ts";
import {
	type FileChange,
	type InstallProgram,
	planInstall,
	planUninstall,
	type ReadPath,
} from "../../lib/install/install.ts";
import { root } from "../tools/harness.ts";

const folder = "/home/dev/.factory";
const user: InstallTarget = { kind: "user", folder };
const program: InstallProgram = {
	name: "bg",
	bytes: Buffer.from(`a program, ${marker}`),
};

/** Files by their paths. */
type Files = Record<string, string>;

const readFrom =
	(files: Files): ReadPath =>
	(path) => {
		const text = files[path];
		if (text === undefined) return undefined;
		return {
			bytes: Buffer.from(text),
			mode: path.includes("/hooks/bg") ? 0o755 : 0o644,
		};
	};

function applyPlan(files: Files, plan: readonly FileChange[]): Files {
	const after = { ...files };
	for (const { path, action, next } of plan) {
		if (action === "remove") delete after[path];
		if (next) after[path] = next.bytes.toString();
	}
	return after;
}

const install = (files: Files, target = user, by = program) =>
	applyPlan(files, planInstall(target, by, readFrom(files)));
const uninstall = (files: Files, target = user) =>
	applyPlan(files, planUninstall(target, readFrom(files)));

const eventsOf = (text = "{}") => Object.keys(JSON.parse(text));
const theirs = [{ hooks: [{ type: "command", command: "guard.sh" }] }];
const names = Object.keys(hookEvents);

test("uninstall restores the files of each kind of target", () => {
	const table = fc.dictionary(
		fc.constantFrom(...names, "PreToolUse"),
		fc.constant(theirs),
		{ maxKeys: 7 },
	);
	const maybe = (text: fc.Arbitrary<string>) =>
		fc.option(text, { nil: undefined });
	const hooks = maybe(table.map((each) => JSON.stringify(each, null, 1)));
	const settings = maybe(
		table.map((each) => JSON.stringify({ model: "x", hooks: each })),
	);
	fc.assert(
		fc.property(
			hooks,
			hooks,
			settings,
			fc.constantFrom<InstallTarget["kind"]>("user", "project", "plugin"),
			(current, legacy, set, kind) => {
				const at = kind === "plugin" ? `${folder}/bg` : folder;
				const given = Object.entries({
					[`${folder}/hooks.json`]: current,
					[`${at}/hooks/hooks.json`]: legacy,
					[`${folder}/settings.json`]: set,
				}).filter(([, text]) => text !== undefined);
				const files = Object.fromEntries(given) as Files;
				const target: InstallTarget = { kind, folder };
				const installed = install(files, target);
				expect(install(installed, target)).toEqual(installed);
				expect(uninstall(installed, target)).toEqual(files);
			},
		),
	);
});

test("each event goes to the file where droid finds it, so no hook of the user is hidden", () => {
	const settings = { hooks: { Stop: theirs }, model: "x" };
	const files = install({
		[`${folder}/hooks.json`]: JSON.stringify({ PreToolUse: theirs }),
		[`${folder}/settings.json`]: JSON.stringify(settings),
	});
	expect(eventsOf(files[`${folder}/hooks.json`])).toEqual([
		"PreToolUse",
		...names.filter((name) => name !== "Stop"),
	]);
	const after = JSON.parse(files[`${folder}/settings.json`] ?? "");
	expect(after.hooks.Stop).toEqual([
		theirs[0],
		{ hooks: [expect.objectContaining({ timeout: 5 })] },
	]);
	expect(Object.keys(after)).toEqual(["hooks", "model"]);
});

test("if droid reads its older file, the newer one is not created", () => {
	const files = install({
		[`${folder}/hooks/hooks.json`]: JSON.stringify({ Stop: theirs }),
	});
	expect(files[`${folder}/hooks.json`]).toBeUndefined();
	expect(eventsOf(files[`${folder}/hooks/hooks.json`]).toSorted()).toEqual(
		names.toSorted(),
	);
});

test("if settings hold every event, no other file is created", () => {
	const hooks = Object.fromEntries(names.map((name) => [name, theirs]));
	const files = { [`${folder}/settings.json`]: JSON.stringify({ hooks }) };
	const installed = install(files);
	expect(installed[`${folder}/hooks.json`]).toBeUndefined();
	expect(uninstall(installed)).toEqual(files);
});

test("settings that droid cannot read are ignored", () => {
	const files = install({
		[`${folder}/settings.json`]: '{"hooks": {"Stop": []},}',
	});
	expect(eventsOf(files[`${folder}/hooks.json`])).toEqual(names);
});

test("the other form of the program is removed, and the hooks name the new one", () => {
	const before = install({});
	const script: InstallProgram = {
		name: "bg.mjs",
		bytes: Buffer.from(`a script, ${marker}`),
	};
	const after = install(before, user, script);
	expect(Object.keys(after)).not.toContain(`${folder}/hooks/bg`);
	expect(
		after[`${folder}/hooks.json`]?.split(`${folder}/hooks/bg.mjs hook`),
	).toHaveLength(names.length + 1);
	expect(uninstall(after)).toEqual({});
});

test.each(["user", "project", "plugin"] as const)(
	"the commands of a %s's older installation are renewed and removed",
	(kind) => {
		const target: InstallTarget = { kind, folder };
		const today = install({}, target);
		const older = Object.fromEntries(
			Object.entries(today).map(([path, text]) => [
				path,
				path.endsWith("hooks.json")
					? text.replace(/\[ -n .*? && exit 0; (.*?)exec /g, "$1")
					: text,
			]),
		);
		expect(older).not.toEqual(today);
		expect(JSON.stringify(older)).not.toContain(".due/");
		const changes = planInstall(target, program, readFrom(older)).filter(
			({ action }) => action !== "same",
		);
		expect(
			changes.map(({ path, action }) => [path.endsWith("/hooks.json"), action]),
		).toEqual([[true, "change"]]);
		expect(install(older, target)).toEqual(today);
		expect(uninstall(older, target)).toEqual({});
	},
);

test("a program that bg did not write is not replaced, and nothing else is written", () => {
	const files = { [`${folder}/hooks/bg`]: "#!/bin/sh\n" };
	expect(() => install(files)).toThrow("was not written by bg: move it away");
	expect(uninstall(files)).toEqual(files);
});

test("an asset without the marker is left alone", () => {
	const path = `${folder}/skills/task-bg/SKILL.md`;
	const files = { ...install({}), [path]: "my own" };
	expect(install(files)).toEqual(files);
	expect(uninstall(files)).toEqual({ [path]: "my own" });
});

test("every asset has the marker, and the skill is short", () => {
	for (const name of ["skill.md", "command.md"]) {
		const text = readFileSync(
			join(root, "lib", "install", "assets", name),
			"utf8",
		);
		expect(text).toContain(marker);
		expect(text.split("\n").length).toBeLessThan(120);
	}
	for (const kind of ["user", "project", "plugin"] as const)
		for (const text of Object.values(install({}, { kind, folder })))
			expect(text).not.toMatch(/\{\{|undefined/);
});

test("a home with spaces and quotes is quoted for the shell", () => {
	const at = "/home/o'neil & co/.factory";
	const files = install({}, { kind: "user", folder: at });
	const { Stop } = JSON.parse(files[`${at}/hooks.json`] ?? "");
	expect(Stop[0].hooks[0].command).toBe(
		"'/home/o'\\''neil & co/.factory/hooks/bg' hook",
	);
	expect(uninstall(files, { kind: "user", folder: at })).toEqual({});
});
