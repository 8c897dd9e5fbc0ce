/**
 * Every name on disk, in one place. Pure and light: a hook asks for a name before it loads anything.
 *
 *     <id>.json               the record         <id>.out    what the task wrote, as it came
 *     <id>.<n>.out            what it wrote at its n-th attempt, when there was another
 *     .sessions/<key>/<id>    which tasks a session has; made before the record
 *     .sessions/<key>/.caller the session that called this one
 *     .sessions/<key>/.recorded  a subagent's record was, or is about to be, made
 *     .sessions/<key>/.ended  what a subagent said in the end, until its record comes
 *     .sessions/<key>/.checked  the last awaited task whose record a hook of that session read
 *     .sessions/.whole        every record stands in the index; `.whole.at`: how far it is
 *     .notices/<session>/<id> a session is to be told of a task's end; `.due` behind it once there
 *                             is one, and a holder behind that while it is being told
 *     .notices/<session>/.from.<ended>  not all notices of an ended session were moved here yet
 *     .due/<session>          there: something is due for that session
 *     .prompts/<id>           a prompt too long for argv, or private; gone once the task ended
 *     .prompts/<id>.system    the system prompt a droid's definition asks for; likewise
 *     .progress/<id>          how far a droid's stream was read, and what it said until there
 *     .locks/<id>/<holder>    a lock: held while the folder holds a file
 *     .ends/last              empty; renamed into place at every end, which wakes all who wait
 *     .queue/<entry>          a task that waits for its turn (see spawn/queue.ts); `.queue/paused`: none starts
 *     .slots/<entry>          a task that takes up one of the places there are
 *     .launches/<holder>      the ids whose records somebody is about to write
 *     .unique/<hash>          the id of the task that was launched last under a key
 *     .stops/<id>.<why>       a request to stop a task whose record cannot be written: reason, signal, by
 *     .on-end/<id>            what is to be run at a task's end was not run yet
 *     .broken/                records that could not be read when their end had to be written
 *     .tmp/<holder>           writes on their way; `.tmp/swept`: when that was last swept
 *     .supervisor.log, .hook.log  faults of those who have no terminal
 */

import { toAbsolute } from "../process/runtime.ts";
import { idPattern } from "../task/ids.ts";

export type Store = {
	readonly dir: string;
	/** The user it belongs to (uid); ours where it is not said. */
	readonly owner?: number;
	/** It is another user's, and we are root: we may look at it, and change nothing. */
	readonly isForeign?: boolean;
};

export const folders = {
	sessions: ".sessions",
	notices: ".notices",
	due: ".due",
	prompts: ".prompts",
	progress: ".progress",
	locks: ".locks",
	ends: ".ends",
	queue: ".queue",
	slots: ".slots",
	launches: ".launches",
	unique: ".unique",
	onEnd: ".on-end",
	stops: ".stops",
	broken: ".broken",
	temporary: ".tmp",
} as const;

/** Who writes a log of faults. */
export type LogSource = "supervisor" | "hook";

/** `$HOME`, or what the system knows of this user; undefined where that is nothing. */
export function homeFolder(
	env: NodeJS.ProcessEnv = process.env,
): string | undefined {
	if (env.HOME) return env.HOME;
	try {
		return process.getBuiltinModule("node:os").homedir() || undefined;
	} catch {
		return undefined;
	}
}

/**
 * `$BG_DIR`, or where the old script kept its tasks.
 * @throws Error of the system's kind (see error.ts, which a hook does not load) without a home.
 */
export function storeDir(env: NodeJS.ProcessEnv = process.env): string {
	const home = env.BG_DIR ? "" : homeFolder(env);
	if (home === undefined)
		throw Object.assign(
			new Error("no home to keep tasks in: set HOME or BG_DIR"),
			{ code: "ENOENT", syscall: "homedir" },
		);
	// A supervisor works in `/`.
	return env.BG_DIR
		? toAbsolute("BG_DIR", env.BG_DIR)
		: toAbsolute("HOME", `${home}/.factory/.omd/background-tasks`);
}

export const folderPath = (store: Store, folder: keyof typeof folders) =>
	`${store.dir}/${folders[folder]}`;

export const recordFile = (store: Store, id: string) =>
	`${store.dir}/${checkId(id)}.json`;

/** What a task wrote; with `attempt`, what it wrote at an earlier one. */
export const outputFile = (store: Store, id: string, attempt?: number) =>
	`${store.dir}/${checkId(id)}${attempt ? `.${attempt}` : ""}.out`;

export const promptFile = (store: Store, id: string) =>
	`${folderPath(store, "prompts")}/${checkId(id)}`;

export const systemPromptFile = (store: Store, id: string) =>
	`${promptFile(store, id)}.system`;

export const progressFile = (store: Store, id: string) =>
	`${folderPath(store, "progress")}/${checkId(id)}`;

/** A lock is of a task, or of what all share: the order of starting, or the keys of tasks. */
export const lockFolder = (store: Store, lockName: string) =>
	`${folderPath(store, "locks")}/${isSharedLock(lockName) ? lockName : checkId(lockName)}`;

/** What the supervisors of one machine share: each machine has a queue and places of its own. */
export const queueLock = (machine: string) =>
	`queue,${encodeURIComponent(machine)}`;

export const onEndMark = (store: Store, id: string) =>
	`${folderPath(store, "onEnd")}/${checkId(id)}`;

/** The newest task launched under a key. `hash` must be one: 64 hex digits. */
export const uniqueFile = (store: Store, hash: string) =>
	`${folderPath(store, "unique")}/${hash}`;

/** When names of the dead were last swept away. */
export const sweptMark = (store: Store) =>
	`${folderPath(store, "temporary")}/swept`;

export const lastEndFile = (store: Store) =>
	`${folderPath(store, "ends")}/last`;

export const logFile = (store: Store, source: LogSource) =>
	`${store.dir}/.${source}.log`;

/** There where something is due for a session. `session` must be one: see sessionPattern. */
export const dueMark = (store: Store, session: string) =>
	`${folderPath(store, "due")}/${session}`;

// --- internal ---

const isSharedLock = (lockName: string) =>
	lockName === "unique" || /^queue,[^/]+$/.test(lockName);

/** An id never becomes a path unchecked. */
function checkId(id: string): string {
	if (!idPattern.test(id)) throw new Error(`not a task id: ${id}`);
	return id;
}
