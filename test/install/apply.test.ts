import { expect, test } from "bun:test";
import {
	chownSync,
	existsSync,
	lstatSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { applyChanges, createReader } from "../../lib/install/apply.ts";
import { type InstallTarget, marker } from "../../lib/install/droid-files.ts";
import {
	type InstallProgram,
	planInstall,
	planUninstall,
} from "../../lib/install/install.ts";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { sandbox } from "../tools/harness.ts";

const program: InstallProgram = { name: "bg", bytes: Buffer.from(marker) };

/** The folder of droid in a home, with hooks. */
function prepare(kind: InstallTarget["kind"] = "user") {
	const { home } = sandbox();
	const target: InstallTarget = { kind, folder: join(home, ".factory") };
	const hooks = join(target.folder, "hooks.json");
	mkdirSync(target.folder);
	writeFileSync(hooks, "{}", { mode: 0o640 });
	const plan = () => planInstall(target, program, createReader(target));
	const install = () => applyChanges(target, plan());
	return { home, target, hooks, plan, install };
}

const filesIn = (folder: string) =>
	readdirSync(folder, { recursive: true })
		.map(String)
		.filter((name) => statSync(join(folder, name)).isFile())
		.sort();

test("files are replaced as a whole, keep their modes, and leave no temporary file", () => {
	const { target, hooks, install } = prepare();
	install();
	expect(filesIn(target.folder)).toEqual([
		"commands/task-bg.md",
		"hooks.json",
		"hooks/bg",
		"skills/task-bg/SKILL.md",
	]);
	expect(statSync(hooks).mode & 0o777).toBe(0o640);
	expect(
		statSync(join(target.folder, "hooks", "bg")).mode & 0o111,
	).toBeTruthy();
	applyChanges(target, planUninstall(target, createReader(target)));
	expect(readdirSync(target.folder)).toEqual(["hooks.json"]);
	expect(readFileSync(hooks, "utf8")).toBe("{}");
});

test("the temporary file of a killed install is removed, and nothing else", () => {
	const { target, install } = prepare();
	install();
	const gone = { ...identifySelf(), boot: "an earlier one" };
	const left = join(target.folder, "hooks", claimName(gone, "0"));
	const theirs = join(target.folder, "hooks", "1,2,3.sh");
	for (const path of [left, theirs]) writeFileSync(path, "");
	writeFileSync(join(target.folder, "hooks", "bg"), `older, ${marker}`);
	install();
	expect(existsSync(left)).toBe(false);
	expect(existsSync(theirs)).toBe(true);
});

test("a file that is not UTF-8 is not rewritten", () => {
	const { hooks, install } = prepare();
	const bytes = Buffer.from([
		...Buffer.from('{"x": "'),
		0xff,
		...Buffer.from('"}'),
	]);
	writeFileSync(hooks, bytes);
	expect(install).toThrow("is not UTF-8: fix it first");
	expect(readFileSync(hooks).equals(bytes)).toBe(true);
});

test("hooks that changed after the plan are not overwritten", () => {
	const { target, hooks, plan } = prepare();
	const made = plan();
	writeFileSync(hooks, '{"Stop": []}');
	expect(() => applyChanges(target, made)).toThrow(
		"was changed meanwhile: try again",
	);
	expect(readFileSync(hooks, "utf8")).toBe('{"Stop": []}');
});

test("a file that changed after the plan is neither removed nor replaced", () => {
	const { target, hooks, plan, install } = prepare();
	rmSync(hooks);
	install();
	const skill = join(target.folder, "skills", "task-bg", "SKILL.md");
	for (const [path, makePlan] of [
		[hooks, () => planUninstall(target, createReader(target))],
		[skill, () => planUninstall(target, createReader(target))],
		[skill, plan],
	] as const) {
		writeFileSync(skill, `older, ${marker}`);
		const made = makePlan();
		writeFileSync(path, "{ mine }");
		expect(() => applyChanges(target, made)).toThrow(
			`${path} was changed meanwhile`,
		);
		expect(readFileSync(path, "utf8")).toBe("{ mine }");
		rmSync(path);
		install();
	}
});

test("a file created after the plan is not overwritten", () => {
	const { target, plan } = prepare();
	const made = plan();
	const skill = join(target.folder, "skills", "task-bg", "SKILL.md");
	mkdirSync(join(skill, ".."), { recursive: true });
	writeFileSync(skill, "mine");
	expect(() => applyChanges(target, made)).toThrow("was changed meanwhile");
	expect(readFileSync(skill, "utf8")).toBe("mine");
});

test("in a project no link is followed, at any level of the path", () => {
	for (const [from, to] of [
		["skills", "."],
		["hooks", "."],
		["commands/task-bg.md", "hooks.json"],
		["settings.json", "nowhere"],
	] as const) {
		const { home, target, install } = prepare("project");
		const link = join(target.folder, from);
		mkdirSync(join(link, ".."), { recursive: true });
		symlinkSync(join(home, to), link);
		expect(install).toThrow(`${link} is a link`);
		expect(lstatSync(link).isSymbolicLink()).toBe(true);
		expect(existsSync(join(target.folder, "hooks", "bg"))).toBe(false);
	}
});

test("in a home the user's own links are followed, unless they are broken", () => {
	const { home, target, install } = prepare();
	const kept = join(home, "dotfiles");
	mkdirSync(kept);
	symlinkSync(kept, join(target.folder, "skills"));
	install();
	expect(filesIn(kept)).toEqual(["task-bg/SKILL.md"]);
	const broken = prepare();
	symlinkSync("nowhere", join(broken.target.folder, "commands"));
	expect(broken.install).toThrow("is a broken link");
});

test("a folder of another user is refused", () => {
	const { home } = sandbox();
	// Root gives a folder away; another user takes a folder of root.
	const isRoot = process.geteuid?.() === 0;
	const folder = isRoot ? join(home, ".factory") : "/usr";
	if (isRoot) {
		mkdirSync(folder);
		chownSync(folder, 65534, 65534);
	}
	const target: InstallTarget = { kind: "user", folder };
	expect(() => planInstall(target, program, createReader(target))).toThrow(
		"belongs to another user",
	);
});

test("a folder in place of a file is refused", () => {
	const { target, install } = prepare();
	mkdirSync(join(target.folder, "commands", "task-bg.md"), { recursive: true });
	expect(install).toThrow("task-bg.md is not a file");
});
