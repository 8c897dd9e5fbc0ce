import { expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	addWorktree,
	findWorktree,
	readBranchStart,
	readWorktree,
} from "../../../lib/droid/worktree/birth.ts";
import {
	describeChanges,
	readChanges,
} from "../../../lib/droid/worktree/changes.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { executable, sandbox } from "../../tools/harness.ts";
import { addTask } from "../../tools/hooks.ts";

const hash = "a".repeat(40);
const entry = `${"0".repeat(40)} ${hash} x <x@x> 1795706956 +0000\treset\n`;

/** A worktree as git lays it out. */
function addTree(head = "ref: refs/heads/a/b\n", log = entry) {
	const { home } = sandbox();
	const folder = join(home, "tree");
	const gitFolder = join(home, "repository", "worktrees", "tree");
	mkdirSync(folder);
	mkdirSync(join(gitFolder, "logs"), { recursive: true });
	writeFileSync(join(folder, ".git"), `gitdir: ${gitFolder}\n`);
	writeFileSync(join(gitFolder, "HEAD"), head);
	writeFileSync(join(gitFolder, "logs", "HEAD"), log);
	return { home, folder, gitFolder };
}

test("the first line of a worktree's log is its creation, and only if it says so", () => {
	const { folder } = addTree();
	expect(readWorktree(folder)).toEqual({ branch: "a/b", start: hash });
	const later = entry.replace(/^0+/, "b".repeat(40));
	for (const log of ["", "nonsense", later]) {
		const { folder } = addTree(`${hash}\n`, log);
		expect(readWorktree(folder)).toEqual({
			branch: undefined,
			start: undefined,
		});
	}
});

test("a folder that is no worktree is none, whatever its .git is", () => {
	const { home, folder } = addTree();
	for (const [name, make] of [
		["fifo", (path: string) => execFileSync("mkfifo", [path])],
		["link", (path: string) => symlinkSync(join(folder, ".git"), path)],
		["folder", (path: string) => mkdirSync(path)],
		["other", (path: string) => writeFileSync(path, "gitdir: \n")],
		["missing", () => {}],
	] as const) {
		mkdirSync(join(home, name));
		make(join(home, name, ".git"));
		expect(readWorktree(join(home, name))).toBeUndefined();
	}
});

test("a branch began with a task only if it was created after the task was started", () => {
	const { gitFolder } = addTree();
	const heads = join(gitFolder, "logs", "refs", "heads");
	mkdirSync(heads, { recursive: true });
	writeFileSync(join(heads, "plum"), entry);
	const at = (seconds: number) => new Date(seconds * 1000).toISOString();
	const start = (branch: string, since?: string) =>
		readBranchStart(gitFolder, branch, since);
	expect(start("plum", at(1795706956.9))).toBe(hash);
	expect(start("plum", at(1795706957))).toBeUndefined();
	expect(start("plum")).toBeUndefined();
	expect(start("../heads/plum", at(0))).toBeUndefined();
});

test("an output that names a folder is believed only if the folder is another worktree", () => {
	const { folder } = addTree();
	const box = sandbox();
	const init = (cwd: string) =>
		`${JSON.stringify({ type: "system", subtype: "init", cwd })}\n`;
	const task = { kind: "droid", resume_of: "x", cwd: box.home } as Task;
	const find = (output: string, fields: Partial<Task> = {}) => {
		const id = addTask(box);
		writeFileSync(join(box.dir, `${id}.out`), output, { mode: 0o600 });
		return findWorktree({ dir: box.dir }, { ...task, ...fields, id });
	};
	const found = { worktree_branch: "a/b", worktree_start: hash };
	expect(find(init(folder))).toEqual({ worktree_dir: folder, ...found });
	expect(find(init(folder), { cwd: folder })).toEqual({});
	expect(find(init("/nowhere"))).toEqual({});
	const created = "Created worktree at /nowhere (branch: plum)\n";
	const gone = { worktree_dir: "/nowhere", worktree_branch: "plum" };
	expect(find(`noise\n${created}${init("/nowhere")}`)).toEqual(gone);
	for (const output of ["", created, `${init("/")}${created}`, "{".repeat(99)])
		expect(find(output)).toEqual({});
});

test("a later attempt on the same branch began where the first one did", () => {
	const first = { worktree_branch: "b", worktree_start: "1" } as Task;
	const found = { worktree_branch: "b", worktree_start: "2" };
	expect(addWorktree(first, found)).toMatchObject({ worktree_start: "1" });
	const other = { worktree_branch: "c", worktree_start: "2" };
	expect(addWorktree(first, other)).toMatchObject(other);
	expect(addWorktree({} as Task, found)).toMatchObject(found);
});

test("a git that does not answer in time is said", async () => {
	const { dir, home } = sandbox();
	const { folder } = addTree();
	const path = process.env.PATH;
	executable(join(home, "bin"), "git", "#!/bin/sh\nexec sleep 60\n");
	process.env.PATH = `${join(home, "bin")}:${path}`;
	try {
		const task = { kind: "droid", worktree: "", worktree_dir: folder } as Task;
		const soon = performance.now() + 100;
		expect(await readChanges({ dir }, task, soon)).toEqual({
			folder,
			branch: "a/b",
			start: hash,
			note: `git takes too long in ${folder}`,
		});
	} finally {
		process.env.PATH = path;
	}
});

test("changes are told in a few words, with why a figure is missing", () => {
	const folder = "/t";
	const all = { folder, branch: "b", commits: 1, files: 0 };
	expect(describeChanges(all)).toBe("b: 1 commit ahead, 0 files changed");
	expect(describeChanges({ folder, note: "why" })).toBe("detached HEAD: why");
});
