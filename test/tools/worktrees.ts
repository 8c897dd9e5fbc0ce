/** Droids that work in git worktrees of their own, as droid 0.215.0 was seen to make, keep and remove them. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { executable, type Sandbox, sandbox, standIn } from "./harness.ts";

/**
 * The real client makes the folder, says so, prints its events from there, and removes the folder at its end if
 * nothing in it is uncommitted. $1 to $3 are `exec -w NAME`.
 */
const droidScript = `#!/bin/sh
[ "$2" = -w ] || exec ${standIn} "$@"
name=$3; shift 3
tree=$HOME/trees/$$
git worktree add -q -b "$name" "$tree" 2>/dev/null || git worktree add -q "$tree" "$name" || exit 1
echo "Created worktree at $tree (branch: $name)" >&2
cd "$tree" && ${standIn} exec "$@"
code=$?
[ -n "$(git status --porcelain)" ] || git worktree remove "$tree"
exit $code
`;

export type Trees = Sandbox & {
	/** A repository with one commit, in which bg is called. */
	project: string;
	git: (args: string[], cwd?: string) => string;
	/** Runs shell code as a droid's tool in a worktree; returns the id of the ended task. */
	work: (branch: string, code: string) => Promise<string>;
};

/**
 * Shell code that waits until the record of its task has the worktree: this droid is faster than the real one. What it
 * looks for is not in the record's prompt, where the quote is escaped.
 */
export const untilRecorded = `until grep -q 'worktree_start":' $BG_DIR/$BG_TASK_ID.json; do sleep 0.2; done`;

/** A sandbox with a repository and such a droid. */
export function treeSandbox(): Trees {
	const box = sandbox();
	const project = join(box.home, "project");
	mkdirSync(project);
	Object.assign(box.env, {
		BG_DROID: executable(box.home, "tree-droid", droidScript),
		GIT_CONFIG_NOSYSTEM: "1",
	});
	const git = (args: string[], cwd = project) => {
		const run = Bun.spawnSync(["git", ...args], { cwd, env: box.env });
		if (!run.success) throw new Error(`git ${args}: ${run.stderr}`);
		return run.stdout.toString().trim();
	};
	git(["config", "--global", "user.name", "x"], box.home);
	git(["config", "--global", "user.email", "x@x"], box.home);
	git(["init", "-q"]);
	git(["commit", "-q", "--allow-empty", "-m", "first"]);
	const bg: Sandbox["bg"] = (args, options) =>
		box.bg(args, { cwd: project, ...options });
	const work = async (branch: string, code: string) => {
		const launch = ["launch", "-q", `--worktree=${branch}`, "d"];
		const { stdout, error } = await bg([...launch, `RUN[${code}]`]);
		const id = stdout.trim();
		if (!id) throw new Error(error);
		await bg(["wait", id]);
		return id;
	};
	return { ...box, bg, project, git, work };
}
