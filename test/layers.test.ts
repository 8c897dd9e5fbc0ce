import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { root } from "./tools/harness.ts";

/** The folders of lib/ in import order: a folder imports only from those before it. */
const folders = [
	"error.ts",
	"task",
	"process",
	"print",
	"store",
	"droid",
	"engine",
	"spawn",
	"prune",
	"supervise",
	"control",
	"hook",
	"install",
	"cli",
];

/** About nine; `cli/verbs` has one for each verb. */
const maxFiles = 10;

/** Which files may use a dependency. */
const dependencies: Record<string, RegExp> = {
	citty: /^cli\//,
	consola: /^cli\/(ask|reply)\.ts$/,
	"string-width": /^print\/width\.ts$/,
	"jsonc-parser": /^install\/(json-edit|hook-entries)\.ts$/,
	tinyexec: /^(install\/doctor|droid\/worktree\/git)\.ts$/,
	valibot:
		/^(task\/(schema|parse)|store\/(ends|sessions\/messages)|spawn\/limits|droid\/(stream|payloads)|control\/launch\/batch|hook\/handle-event|install\/detect|cli\/verbs\/.*)\.ts$/,
};

const lib = join(root, "lib");

const files = readdirSync(lib, { recursive: true })
	.map(String)
	.filter((name) => /(?<!\.d)\.ts$/.test(name))
	.sort();

const textOf = (file: string) => readFileSync(join(lib, file), "utf8");

type Import = { name: string; isType: boolean; isAtOnce: boolean };

/** What a file imports, as it is written. */
const importsOf = (file: string): Import[] => {
	const text = textOf(file);
	const statements = text.matchAll(
		/^(?:import|export(?=\s+(?:type\s+)?[{*]))\s+(type\s)?(?:[^;"]*?\sfrom\s+)?"([^"]+)"/gm,
	);
	const calls = text.matchAll(/import\(\s*"([^"]+)"/g);
	return [
		...[...statements].map(([, type, name = ""]) => ({
			name,
			isType: type !== undefined,
			isAtOnce: type === undefined,
		})),
		...[...calls].map(([, name = ""]) => ({
			name,
			isType: false,
			isAtOnce: false,
		})),
	];
};

/** The files of lib/ that a file imports. */
const filesBelow = (file: string, wants = (_: Import) => true): string[] =>
	importsOf(file)
		.filter((each) => each.name.startsWith(".") && wants(each))
		.map(({ name }) => relative(lib, resolve(lib, dirname(file), name)))
		.filter((name) => name.endsWith(".ts"));

const folderOf = (file: string) => file.split("/")[0] ?? "";

/** Everything a file reaches, itself included. */
function reach(
	file: string,
	wants: (each: Import) => boolean,
	seen = new Set<string>(),
): Set<string> {
	if (seen.has(file)) return seen;
	seen.add(file);
	for (const below of filesBelow(file, wants)) reach(below, wants, seen);
	return seen;
}

test.each(files)("lib/%s imports only from folders above its own", (file) => {
	const level = folders.indexOf(folderOf(file));
	expect(level).toBeGreaterThanOrEqual(0);
	for (const below of filesBelow(file)) {
		expect(files).toContain(below);
		expect(folders.indexOf(folderOf(below))).toBeLessThanOrEqual(level);
	}
	for (const { name } of importsOf(file))
		if (name.includes("/assets/")) expect(name).toMatch(/^\.\/assets\//);
});

test("README's map of the code has the folders in import order", () => {
	const readme = readFileSync(join(root, "README.md"), "utf8");
	const map = readme.matchAll(/^ {4}lib\/([\w.]+)\/? {2,}\S/gm);
	const present = new Set(readdirSync(lib));
	expect([...map].map(([, name]) => name)).toEqual(
		folders.filter((name) => present.has(name)),
	);
	expect([...present].filter((name) => !folders.includes(name))).toEqual([]);
});

test("no file imports itself, by whatever way", () => {
	for (const file of files)
		for (const below of filesBelow(file))
			expect([file, ...reach(below, () => true)].slice(1)).not.toContain(file);
});

test("a folder holds about nine files", () => {
	const counts = Map.groupBy(files, dirname);
	counts.delete("cli/verbs");
	for (const [folder, names] of counts)
		expect(`${folder}: ${names.length}`).toBe(
			`${folder}: ${Math.min(names.length, maxFiles)}`,
		);
});

test.each(files)("lib/%s uses only the dependencies it may", (file) => {
	for (const { name } of importsOf(file)) {
		if (name.startsWith(".") || name.startsWith("node:")) continue;
		const allowed = dependencies[name.split("/")[0] ?? ""];
		expect(`${name}: ${allowed?.test(file) ?? false}`).toBe(`${name}: true`);
	}
});

test("the hook path loads files and schemas from outside, and nothing from control up", () => {
	const reached = [...reach("hook/hook.ts", ({ isType }) => !isType)];
	expect(reached).toContain("hook/handle-event.ts");
	const outside = reached
		.flatMap((file) => importsOf(file))
		.filter(({ name, isType }) => !name.startsWith(".") && !isType)
		.map(({ name }) => name);
	expect([...new Set(outside)].sort()).toEqual(["node:fs", "valibot"]);
	for (const file of reached)
		expect(folderOf(file)).not.toMatch(/^(spawn|control|install|cli)$/);
});

test("a hook with nothing to do loads no module of a runtime, and no schema", () => {
	const reached = [...reach("hook/hook.ts", ({ isAtOnce }) => isAtOnce)];
	expect(reached.toSorted()).toEqual([
		"hook/events.ts",
		"hook/hook.ts",
		"process/runtime.ts",
		"store/paths.ts",
		"task/ids.ts",
	]);
	for (const file of reached)
		for (const { name, isAtOnce } of importsOf(file))
			if (isAtOnce) expect(name).toStartWith(".");
});

test("a JSON reply loads nothing that only a terminal needs", () => {
	const atOnce = (verb: string) => [
		...reach(`cli/verbs/${verb}.ts`, ({ isAtOnce }) => isAtOnce),
	];
	const terminal = ["width", "terminal", "table", "task-details"];
	for (const verb of ["launch", "list", "status", "wait", "prune", "cleanup"])
		for (const name of terminal)
			expect([verb, ...atOnce(verb)]).not.toContain(`print/${name}.ts`);
	expect(atOnce("watch")).toContain("print/width.ts");
});

test("consola is loaded on demand, and only by verbs that people read or that ask", () => {
	const loads = (file: string, isAtOnce: boolean) =>
		filesBelow(
			file,
			(each) => !each.isType && each.isAtOnce === isAtOnce,
		).includes("cli/ask.ts");
	expect(files.filter((file) => loads(file, true))).toEqual([]);
	expect(files.filter((file) => loads(file, false))).toEqual(["cli/reply.ts"]);
	const users = files.filter((file) =>
		/\b(replyToPerson|confirm)\(/.test(textOf(file)),
	);
	expect(users).toEqual([
		"cli/reply.ts",
		...["cancel", "cleanup", "doctor", "install", "uninstall"].map(
			(verb) => `cli/verbs/${verb}.ts`,
		),
	]);
});

test("only process/runtime.ts names a runtime, and exits", () => {
	for (const file of files.filter((each) => each !== "process/runtime.ts")) {
		expect(textOf(file)).not.toMatch(/\b(Bun|Deno)\./);
		expect(textOf(file)).not.toContain("process.exit(");
	}
});

test("only process/signals.ts signals, and only store/ knows a file name", () => {
	for (const file of files) {
		const text = textOf(file);
		if (file !== "process/signals.ts")
			expect(text).not.toContain("process.kill");
		if (folderOf(file) !== "store")
			expect(text).not.toMatch(/["}]\.(json|out)["`]/);
	}
});

test("each verb is a file of cli/verbs, and in the table", () => {
	const table = textOf("cli/verbs.ts");
	for (const file of files.filter((each) => dirname(each) === "cli/verbs"))
		expect(table).toContain(`"./verbs/${file.slice("cli/verbs/".length)}"`);
});

test("test/ mirrors lib/", () => {
	const own = [
		"verbs",
		"hostile",
		"load",
		"tools",
		"bench",
		"chaos",
		"faults",
		"e2e",
		"slurm",
	];
	const entries = readdirSync(join(root, "test"), { withFileTypes: true });
	for (const { name } of entries.filter((each) => each.isDirectory()))
		if (!own.includes(name)) expect(existsSync(join(lib, name))).toBe(true);
});
