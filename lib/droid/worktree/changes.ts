/** What a droid changed in a worktree of its own: counted for a person, and as a call of `git diff`. */
import { copyFileSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { type BgError, errorMessage, isRefusal, refused } from "../../error.ts";
import { toLine } from "../../print/text.ts";
import type { Store } from "../../store/paths.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal, omitUndefined } from "../../task/states.ts";
import {
	findWorktree,
	mayHaveWorktree,
	readBranchStart,
	readWorktree,
} from "./birth.ts";
import { callGit, openRepository, type Repository } from "./git.ts";

/** What is known of the changes in a task's worktree. A figure that cannot be told is missing; `note` says why. */
export type Changes = {
	folder: string;
	/** Whether the folder is gone. */
	gone?: boolean | undefined;
	/** The branch that is checked out there, else that of the task. */
	branch?: string | undefined;
	/** The commit at which the worktree was created. */
	start?: string | undefined;
	/** How many commits of HEAD, or of the branch, the start does not have. */
	commits?: number | undefined;
	/** How many files differ from the start; with the folder also by changes that are not committed. */
	files?: number | undefined;
	note?: string | undefined;
};

/** How long git may take for the figures of one task, in ms. */
export const changesTimeoutMs = 5000;

/**
 * Reads what a task changed; undefined if it has no worktree, or droid has not created it yet. It never fails and
 * changes nothing.
 * @param deadline when git must have answered, in ms of performance.now().
 */
export async function readChanges(
	store: Store,
	task: Task,
	deadline = performance.now() + changesTimeoutMs,
): Promise<Changes | undefined> {
	let known: Changes | undefined;
	try {
		known = locateWorktree(store, task);
		if (!known) return undefined;
		return omitUndefined({ ...known, ...(await count(known, task, deadline)) });
	} catch (error) {
		if (!isRefusal(error)) throw error;
		return known && omitUndefined({ ...known, note: errorMessage(error) });
	}
}

/** Adds what each task changed, in the time of one. */
export async function addChanges<T extends Task>(
	store: Store,
	tasks: readonly T[],
): Promise<(T & { changes?: Changes | undefined })[]> {
	const deadline = performance.now() + changesTimeoutMs;
	const found = new Map<string, Changes | undefined>();
	const left = tasks.filter(mayHaveWorktree).values();
	const work = async () => {
		for (const task of left)
			found.set(task.id, await readChanges(store, task, deadline));
	};
	await Promise.all(Array.from({ length: maxParallel }, work));
	return tasks.map((task) => ({ ...task, changes: found.get(task.id) }));
}

/** Says in a few words what a task changed: `plum: 2 commits, 3 files`. */
export function describeChanges({
	branch,
	commits,
	files,
	note,
}: Changes): string {
	const plural = (count: number, what: string) =>
		`${count} ${what}${count === 1 ? "" : "s"}`;
	const facts = [
		commits !== undefined && `${plural(commits, "commit")} ahead`,
		files !== undefined && `${plural(files, "file")} changed`,
		note,
	].filter(Boolean);
	return [branch ?? "detached HEAD", facts.join(", ")]
		.filter(Boolean)
		.join(": ");
}

/** A call of `git diff` that shows what a task changed. */
export type DiffCall = {
	command: readonly [string, ...string[]];
	env: Repository["env"];
	/** What to tell beside the difference. */
	notes: string[];
	/** Removes the temporary files. */
	close: () => void;
};

/**
 * Prepares the difference between a task's worktree and the commit of its creation, untracked files included; of
 * a branch, if the folder is gone.
 * @throws BgError if the task has no worktree, nothing is left of it, or the commit is not known.
 */
export async function prepareDiff(
	store: Store,
	task: Task,
	flags: readonly string[],
): Promise<DiffCall> {
	const known = locateWorktree(store, task);
	if (!known) throw explainMissing(task);
	const { folder, gone } = known;
	const deadline = performance.now() + diffTimeoutMs;
	const { repository, start, end } = await openPlace(known, task, deadline);
	if (!start)
		throw refused(
			`the commit where ${task.id} began is not known: git -C ${gone ? task.cwd : folder} log ${known.branch ?? ""} shows its commits`,
		);
	await callGit(repository, ["cat-file", "-e", `${start}^{commit}`]);
	const words = ["diff", ...safeFlags, ...flags, start];
	const command = [...repository.command, ...words] as const;
	const call = { command: command as DiffCall["command"], env: repository.env };
	if (end) {
		const note = `the worktree of ${task.id} is gone (${folder}): this is its branch ${known.branch}`;
		return {
			...call,
			command: [...call.command, end, "--"],
			notes: [note],
			close: () => {},
		};
	}
	return withUntracked(repository, folder, {
		...call,
		command: [...call.command, "--"],
	});
}

// --- internal ---

/** How many worktrees are asked at a time. */
const maxParallel = 4;

/** How long git may take for what comes before the difference, in ms. */
const diffTimeoutMs = 60_000;

/**
 * `git diff` runs no program for a file, and does not search submodules, whose configuration is not checked. In a
 * pipe a setting of the repository could add colours.
 */
const safeFlags = [
	"--no-ext-diff",
	"--no-textconv",
	"--ignore-submodules=dirty",
] as const;

/** The hash of an empty file, in repositories with SHA-1 and with SHA-256. */
const emptyBlobs = {
	40: "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391",
	64: "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813",
} as const;

/** The worktree of a task by its record, else by its output. */
function locateWorktree(store: Store, task: Task): Changes | undefined {
	if (!mayHaveWorktree(task)) return undefined;
	const recorded = task.worktree_dir ? task : findWorktree(store, task);
	const { worktree_dir: folder, worktree_branch, worktree_start } = recorded;
	if (!folder) return undefined;
	const found = readWorktree(folder);
	// A record may hold anything, also what git would take for a flag.
	const isHash = /^[0-9a-f]{40,64}$/.test(worktree_start ?? "");
	return {
		folder,
		gone: found === undefined || undefined,
		branch: found ? found.branch : worktree_branch,
		start: isHash ? worktree_start : found?.start,
	};
}

/** Opens the repository of a worktree. `end`: the commit to compare with, if the folder is gone. */
async function openPlace(
	{ folder, gone, branch, start }: Changes,
	task: Task,
	deadline: number,
): Promise<{ repository: Repository; start?: string; end?: string }> {
	const place = gone ? task.cwd : folder;
	if (!place || !existsSync(place))
		throw refused(`${place ?? folder} is gone, and the repository with it`);
	const repository = await openRepository(place, deadline);
	const end = gone ? await findBranch(repository, folder, branch) : undefined;
	if (start || !branch) return { repository, start, end };
	const shared = ["rev-parse", "--git-common-dir"];
	const [path = ""] = (await callGit(repository, shared)).split("\n");
	const gitFolder = resolve(place, path);
	const from = readBranchStart(gitFolder, branch, task.started_at);
	return { repository, start: from, end };
}

/** The commit of a branch. @throws BgError (refused) if it is gone. */
async function findBranch(
	repository: Repository,
	folder: string,
	branch: string | undefined,
): Promise<string> {
	if (branch === undefined)
		throw refused(
			`the worktree ${folder} is gone, and its branch is not known`,
		);
	const name = `refs/heads/${branch}^{commit}`;
	const verify = ["rev-parse", "--verify", "--quiet", "--end-of-options", name];
	const said = await callGit(repository, verify, { codes: [0, 1, 128] });
	const end = said.trim();
	if (/^[0-9a-f]{40,64}$/.test(end)) return end;
	throw refused(`the worktree ${folder} and its branch ${branch} are gone`);
}

/** Counts commits and files. */
async function count(
	known: Changes,
	task: Task,
	deadline: number,
): Promise<Partial<Changes>> {
	const { repository, start, end } = await openPlace(known, task, deadline);
	if (!start) return { note: "the commit where it began is not known" };
	const range = `${start}..${end ?? "HEAD"}`;
	const names = ["diff", ...safeFlags, "--no-renames", "--name-only", "-z"];
	const [commits, changed, untracked] = await Promise.all([
		callGit(repository, ["rev-list", "--count", range, "--"]),
		callGit(repository, [...names, start, ...(end ? [end] : []), "--"]),
		end ? "" : listUntracked(repository),
	]);
	const files = new Set(`${changed}${untracked}`.split("\0"));
	files.delete("");
	return { start, commits: Number(commits), files: files.size };
}

/** The untracked files that are not ignored, each followed by a NUL; a repository of its own ends with `/`. */
const listUntracked = (repository: Repository) =>
	callGit(repository, ["ls-files", "-z", "--others", "--exclude-standard"]);

/** Lets a diff show untracked files as new ones: it gets a copy of the index that has them, as empty files. */
async function withUntracked(
	repository: Repository,
	folder: string,
	call: Pick<DiffCall, "command" | "env">,
): Promise<DiffCall> {
	const listed = await listUntracked(repository);
	const paths = listed.split("\0").filter(Boolean);
	// git adds no path that ends with `/`. A name that is not UTF-8 arrives changed.
	const files = paths.filter((path) => !/\/$|\ufffd/.test(path));
	const [other] = paths.filter((path) => !files.includes(path));
	const notes = other
		? [
				`${paths.length - files.length} untracked files are not shown: repositories of their own, or names that are not UTF-8 (${toLine(other)})`,
			]
		: [];
	if (files.length === 0) return { ...call, notes, close: () => {} };
	const temporary = mkdtempSync(join(tmpdir(), "bg-diff-"));
	const close = () => rmSync(temporary, { recursive: true, force: true });
	try {
		const GIT_INDEX_FILE = join(temporary, "index");
		const where = ["rev-parse", "--git-path", "index"];
		const [path = ""] = (await callGit(repository, where)).split("\n");
		const index = resolve(folder, path);
		if (existsSync(index)) copyFileSync(index, GIT_INDEX_FILE);
		const start = call.command.at(-2) ?? "";
		const blob = emptyBlobs[start.length === 64 ? 64 : 40];
		const input = files.map((file) => `100644 ${blob} 0\t${file}\0`).join("");
		const variables = { GIT_INDEX_FILE };
		const update = ["update-index", "-z", "--index-info"];
		await callGit(repository, update, { input, variables });
		return { ...call, env: { ...call.env, ...variables }, notes, close };
	} catch (error) {
		close();
		throw error;
	}
}

/** Why there is nothing to compare. */
function explainMissing(task: Task): BgError {
	const { id, kind, cwd } = task;
	if (!mayHaveWorktree(task))
		return refused(
			kind === "droid"
				? `${id} had no worktree of its own: its changes in ${cwd} cannot be told from others (bg launch --worktree gives a droid one)`
				: `${id} is a ${kind === "command" ? "command" : "subagent"} without a worktree: its changes cannot be told from others (git -C ${cwd} diff shows all)`,
		);
	return refused(
		isFinal(task)
			? `${id} ended before droid created its worktree (bg output ${id})`
			: `droid has not created the worktree of ${id} yet (bg status ${id})`,
	);
}
