/**
 * Where a droid's git worktree is, and at which commit it was created. Files are read, git is not called: a
 * supervisor asks while the droid starts. All names come from outside, so no link is followed, no pipe waited
 * for, and little is read.
 *
 * Measured on droid 0.215.0 and git 2.39: `droid exec -w` prints `Created worktree at <folder> (branch: <name>)`
 * on stderr, then an `init` event with the folder as its `cwd`. At its end it removes the folder if nothing in it is
 * uncommitted, and keeps the branch. `resume` goes on in the folder of its session. A worktree has a file
 * `.git` that names its git folder, and that folder has a log of HEAD: its first line has zeros as the old
 * commit and the commit of the creation as the new one.
 */
import {
	closeSync,
	constants,
	fstatSync,
	readSync,
	realpathSync,
} from "node:fs";
import { resolve } from "node:path";
import { openUnfollowed } from "../../store/directory.ts";
import { readOutputBytes } from "../../store/output-files.ts";
import type { Store } from "../../store/paths.ts";
import type { Task } from "../../task/schema.ts";
import { omitUndefined } from "../../task/states.ts";
import { parseEvent } from "../stream.ts";

/** What a record keeps of the worktree of a droid. */
export type WorktreeFields = Pick<
	Task,
	"worktree_dir" | "worktree_branch" | "worktree_start"
>;

/** Whether a task may work in a worktree of its own: a resumed droid goes on in that of its session. */
export const mayHaveWorktree = ({ kind, worktree, resume_of }: Task) =>
	kind === "droid" && (worktree ?? resume_of) !== undefined;

/**
 * Finds the worktree that the output of a task names, with its branch and the commit of its creation as far
 * as they are known. Without a worktree it is empty.
 */
export function findWorktree(store: Store, task: Task): WorktreeFields {
	const named = readNamedFolder(store, task.id);
	if (!named) return {};
	const { folder, created } = named;
	const found = readWorktree(folder);
	// A resumed droid may be where it was launched, in a worktree of the user.
	const isOwn = created ?? (found && resolveLinks(task.cwd) !== folder);
	if (!isOwn) return {};
	return omitUndefined({
		worktree_dir: folder,
		worktree_branch: found?.branch ?? created,
		worktree_start: found?.start,
	});
}

/** Adds what was found to a record. Another attempt on the same branch goes on with the first one's work. */
export function addWorktree(task: Task, found: WorktreeFields): Task {
	const { worktree_branch, worktree_start } = task;
	const isSame = worktree_branch && worktree_branch === found.worktree_branch;
	return {
		...task,
		...found,
		...(isSame && worktree_start && { worktree_start }),
	};
}

/** Reads the branch and the creation of a worktree; undefined if the folder is not one. */
export function readWorktree(
	folder: string,
): { branch?: string; start?: string } | undefined {
	const [, path] = /^gitdir: (.+)\n?$/.exec(readHead(`${folder}/.git`)) ?? [];
	if (!path) return undefined;
	const gitFolder = resolve(folder, path);
	const head = /^ref: refs\/heads\/(.+)\n/.exec(readHead(`${gitFolder}/HEAD`));
	return {
		branch: head?.[1],
		start: readFirstEntry(`${gitFolder}/logs/HEAD`)?.commit,
	};
}

/**
 * The commit at which a branch was created, if that was at or after a time (ISO 8601).
 * @param gitFolder the git folder that all worktrees share.
 */
export function readBranchStart(
	gitFolder: string,
	branch: string,
	since: string | undefined,
): string | undefined {
	if (branch.split("/").includes("..")) return undefined;
	const entry = readFirstEntry(`${gitFolder}/logs/refs/heads/${branch}`);
	const from = Math.floor(Date.parse(since ?? "") / 1000);
	return entry && entry.seconds >= from ? entry.commit : undefined;
}

// --- internal ---

/** How much of an output is read: droid names the folder in its first lines. In bytes. */
const outputHeadBytes = 64 * 1024;

/** How much of a file of git is read, in bytes. */
const fileHeadBytes = 8 * 1024;

/** The longest path or branch that is recorded, in characters. */
const maxNameLength = 1024;

/** The folder that the first lines of a droid's output name, and the branch of a worktree that droid created there. */
function readNamedFolder(store: Store, id: string) {
	const range = { from: 0, to: outputHeadBytes };
	const lines = readOutputBytes(store, id, range).toString("utf8").split("\n");
	const created = new Map<string, string>();
	for (const line of lines.slice(0, -1)) {
		const event = parseEvent(line);
		if (event.type === "system" && event.cwd) {
			const { cwd: folder } = event;
			if (folder.length > maxNameLength) return undefined;
			return { folder, created: created.get(folder)?.slice(0, maxNameLength) };
		}
		const [, folder, branch] =
			/^Created worktree at (.+) \(branch: (.+)\)$/.exec(line) ?? [];
		if (folder && branch) created.set(folder, branch);
	}
	return undefined;
}

/** The first entry of a log of git, if it is the creation of what the log is about. */
function readFirstEntry(path: string) {
	const [, commit = "", seconds] =
		/^0+ ([0-9a-f]{40,64}) [^\n]*> (\d+) [-+]\d{4}[\t\n]/.exec(
			readHead(path),
		) ?? [];
	return commit ? { commit, seconds: Number(seconds) } : undefined;
}

function resolveLinks(path: string | undefined): string | undefined {
	try {
		return path && realpathSync(path);
	} catch {
		return path;
	}
}

/** The first bytes of a file as text; "" if it cannot be read. */
function readHead(path: string): string {
	try {
		const fd = openUnfollowed(path, constants.O_RDONLY);
		try {
			if (!fstatSync(fd).isFile()) return "";
			const bytes = Buffer.alloc(fileHeadBytes);
			return bytes.toString("utf8", 0, readSync(fd, bytes, 0, bytes.length, 0));
		} finally {
			closeSync(fd);
		}
	} catch {
		return "";
	}
}
