/**
 * Every name on disk. Pure and light: a hook asks for a name before it loads anything else.
 *
 *     <id>.json                  the record of a task
 *     <id>.out                   its stdout and stderr, unchanged
 *     <id>.<n>.out               the output of its n-th attempt, if another attempt followed
 *     .sessions/<key>/<id>       a task of that session; created before the record
 *     .sessions/<key>/.caller    the session that started this one
 *     .sessions/<key>/.recorded  empty; a subagent's record exists or is about to be written
 *     .sessions/<key>/.ended     a subagent's last message, until its record exists
 *     .sessions/<key>/.checked   the last awaited task whose record a hook of that session read
 *     .sessions/<key>/.next      the session that continues this one under a new id (compaction)
 *     .sessions/<key>/.previous  the session that this one continues; of a fork also the time
 *     .sessions/<key>/.forks/<session>
 *                                empty; a fork of this session, which has copies of its notices
 *     .sessions/.whole           empty; every record is in the index
 *     .sessions/.whole.at        how far the index was built
 *     .notices/<session>/<id>    a notice for that session; the task has not ended yet
 *     .notices/<session>/<id>.due
 *                                the same; the task has ended
 *     .notices/<session>/<id>.due@<holder>
 *                                the same; a hook is printing it
 *     .notices/<session>/<id>.told
 *                                the same; a SessionStart printed it, whose session did nothing since
 *     .notices/<session>/.from.<ended>
 *                                empty; the notices of an ended session are being moved here
 *     .notices/<session>/<id>.note
 *                                empty; that task has notes for this session
 *     .unseen/<session>/<id>     a notice for that session was given; no answer has shown its end yet
 *     .notices/<session>/.compact.<previous>, .compress.…, .fork.…, .revive.<next>
 *                                empty; a hook is connecting the two sessions (hook/continue.ts)
 *     .due/<session>             empty; a notice, a note or a message is due for that session. Hook commands
 *                                contain this path
 *     .messages/<id>/msg_<n>     a message for that task, which waits (store/sessions/messages.ts)
 *     .messages/<id>/note_<n>    a note of that task for its parent session, which waits
 *     .messages/<id>/<message>@<holder>
 *                                either; a hook is printing it
 *     .messages/<id>/<message>.told
 *                                either; a hook printed it. The newest are kept
 *     .messages/<id>/msg_<n>.text
 *                                the text of a long message, for droid to read; removed at the task's end
 *     .messages/<id>/stops       how many of the task's Stop hooks delivered a message
 *     .input/<id>                a FIFO, the standard input of a command that can be sent to (store/input.ts)
 *     .input/<id>.end            a FIFO; a line in it ends that input
 *     .input/<id>.<n>.bytes      input for a job on another machine, which its supervisor writes into the FIFO
 *     .input/<id>.<n>.eof        empty; that input ends after the others
 *     .prompts/<id>              a prompt that is too long for argv, or private; removed at the task's end
 *     .prompts/<id>.system       the system prompt of a droid's definition; likewise
 *     .prompts/<id>.env          the --env of a task that runs as a job; likewise
 *     .prompts/<id>.stdin        the standard input of a task that was launched with --stdin -; likewise
 *     .progress/<id>             how far a droid's stream was read, and its digest up to there
 *     .locks/<name>/<holder>     a lock of a task or a shared lock; held while the folder has a file
 *     .ends/<n>                  empty; one of them is replaced at every end, which wakes the waiters
 *     .queue/<entry>             a task that waits for a slot (spawn/queue.ts)
 *     .queue/paused              empty; no task of the queue is started
 *     .slots/<entry>             a task that holds a slot, or to which one is granted
 *     .parked/<id>               empty; the task waits as a shell, which leaves if this is gone
 *     .parked/<id>.woken         the same; the shell is to become the task's supervisor
 *     .parked/<id>.gone          empty; the shell was woken and found no bg
 *     .parked/beat,<machine>     when that machine's queue was repaired last; missing if nobody is in line
 *     .after/<id>/<other>        empty; <other> waits for the end of <id>, a task of another launch
 *     .limits                    the limits that `bg limit` set (spawn/limits.ts)
 *     .jobs/<launch>             the ids of the tasks that were submitted to an engine together, in the order of
 *                                the job array; <launch> is the first of them (engine/submissions.ts)
 *     .jobs/<launch>.job         the number of their job
 *     .jobs/pending,<holder>     the launches that a process is about to submit, all or none
 *     .launches/<holder>         the ids whose records a launch is about to write
 *     .unique/<hash>             the id of the task that was launched last with a unique key
 *     .stops/<id>.<reason>,<signal>,<by>
 *                                empty; a stop request for a task whose record cannot be written
 *     .on-end/<id>               empty; the --on-end command of that task was not run yet
 *     .broken/<id>.<ms>.json     a record that could not be parsed when its end had to be written
 *     .tmp/<holder>              a file or lock that is being written, or a lock that its process holds again later
 *     .tmp/swept                 empty; its mtime is the time of the last sweep
 *     .tmp/swept-session         the last session that a sweep looked at, if it did not look at all
 *     .tmp/archived              the tasks that are to be archived next; its mtime is the time of the last search
 *     .archive/<day>/<id>.json   the record of a finished task past the newest 1,000 (prune/archive.ts);
 *                                <day>: of its launch in UTC, by its id, or `undated`
 *     .archive/<day>/<id>.out    its output, likewise its attempts'
 *     .archive/<day>/<id>.messages
 *                                its folder of messages
 *     .supervisor.log            faults of supervisors, which have no terminal
 *     .hook.log                  faults of hooks, likewise
 *
 * <holder> is the identity of a process and a counter (process/identity.ts).
 */

import { toAbsolute } from "../process/runtime.ts";
import { dayOfId, idPattern } from "../task/ids.ts";

export type Store = {
	readonly dir: string;
	/** The uid of its owner. Without it, the owner is the current user. */
	readonly owner?: number;
	/** It belongs to another user and this process is root: read-only. */
	readonly isForeign?: boolean;
};

export const folders = {
	sessions: ".sessions",
	notices: ".notices",
	unseen: ".unseen",
	due: ".due",
	messages: ".messages",
	input: ".input",
	prompts: ".prompts",
	progress: ".progress",
	locks: ".locks",
	ends: ".ends",
	queue: ".queue",
	slots: ".slots",
	parked: ".parked",
	after: ".after",
	launches: ".launches",
	unique: ".unique",
	onEnd: ".on-end",
	stops: ".stops",
	broken: ".broken",
	temporary: ".tmp",
	archive: ".archive",
} as const;

/** The default directory in a home. Installed hook commands contain this path: it never changes. */
const defaultDir = ".factory/.omd/background-tasks";

/** The writers of a log of faults. */
export type LogSource = "supervisor" | "hook";

/** `$HOME`, else this user's home in the system's database; undefined if there is none. */
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
 * `$BG_DIR`, else the directory of `background-manager.py`. An absolute path.
 * @throws Error (a system error, see error.ts, which a hook does not load) if there is no home.
 */
export function storeDir(env: NodeJS.ProcessEnv = process.env): string {
	const home = env.BG_DIR ? "" : homeFolder(env);
	if (home === undefined)
		throw Object.assign(
			new Error("no home to keep tasks in: set HOME or BG_DIR"),
			{ code: "ENOENT", syscall: "homedir" },
		);
	// Absolute, because a supervisor runs in `/`.
	return env.BG_DIR
		? toAbsolute("BG_DIR", env.BG_DIR)
		: toAbsolute("HOME", `${home}/${defaultDir}`);
}

/** A folder of the store. */
export const folderPath = (store: Store, folder: keyof typeof folders) =>
	`${store.dir}/${folders[folder]}`;

/** The record of a task. All paths of a task throw an Error if `id` is not a task id. */
export const recordFile = (store: Store, id: string) =>
	`${store.dir}/${checkId(id)}.json`;

/** The output of a task in the folder; with `attempt`, of that earlier attempt. */
export const outputFile = (store: Store, id: string, attempt?: number) =>
	`${store.dir}/${checkId(id)}${attempt ? `.${attempt}` : ""}.out`;

/** The folder of the archive that a task belongs to, wherever it is now. */
export const archiveFolder = (store: Store, id: string) =>
	`${folderPath(store, "archive")}/${dayOfId(checkId(id))}`;

/** The output that belongs to a record at `path`. */
export const outputBeside = (path: string) =>
	`${path.slice(0, -".json".length)}.out`;

/** The record of an archived task. */
export const archivedRecord = (store: Store, id: string) =>
	recordFile({ dir: archiveFolder(store, id) }, id);

/** The output of an archived task. */
export const archivedOutput = (store: Store, id: string, attempt?: number) =>
	outputFile({ dir: archiveFolder(store, id) }, id, attempt);

/** The prompt of a droid task that is not given in argv. */
export const promptFile = (store: Store, id: string) =>
	`${folderPath(store, "prompts")}/${checkId(id)}`;

/** The system prompt of a droid task. */
export const systemPromptFile = (store: Store, id: string) =>
	`${promptFile(store, id)}.system`;

/** What `--env` gives a task that runs as a job. */
export const environmentFile = (store: Store, id: string) =>
	`${promptFile(store, id)}.env`;

/** The folder of submissions to engines. It exists if the store had one. */
export const jobsFolder = (store: Store) => `${store.dir}/.jobs`;

/** The ids of the tasks of a submission. */
export const submissionFile = (store: Store, launch: string) =>
	`${jobsFolder(store)}/${checkId(launch)}`;

/** The number of its job. */
export const jobNumberFile = (store: Store, launch: string) =>
	`${submissionFile(store, launch)}.job`;

/** The messages for a task, and its notes. */
export const messageFolder = (store: Store, id: string) =>
	`${folderPath(store, "messages")}/${checkId(id)}`;

/** The same of an archived task. */
export const archivedMessages = (store: Store, id: string) =>
	`${archiveFolder(store, id)}/${id}.messages`;

/** What a task reads that was launched with its launcher's standard input. */
export const stdinFile = (store: Store, id: string) =>
	`${promptFile(store, id)}.stdin`;

/** How far a droid's stream was read. */
export const progressFile = (store: Store, id: string) =>
	`${folderPath(store, "progress")}/${checkId(id)}`;

/** The standard input of a command that can be sent to, and the FIFO that ends it. */
export const inputFile = (store: Store, id: string) =>
	`${folderPath(store, "input")}/${checkId(id)}`;
export const inputEndFile = (store: Store, id: string) =>
	`${inputFile(store, id)}.end`;

/**
 * The lock of a task (by id), of its input, of the unique keys (`unique`), of continued sessions (`sessions`), of the
 * limits or of a queue.
 */
export const lockFolder = (store: Store, lockName: string) =>
	`${folderPath(store, "locks")}/${isSharedLock(lockName) ? lockName : checkId(lockName)}`;

/** The name of the lock of a machine's queue and slots. */
export const queueLock = (machine: string) =>
	`queue,${encodeURIComponent(machine)}`;

/** The name of the lock of a task's input. */
export const inputLock = (id: string) => `input,${id}`;

/** The name of the lock of the limits. */
export const limitsLock = "limits";

/** Its time and text change whenever the queue of a machine is repaired. */
export const queueBeat = (store: Store, machine: string) =>
	`${folderPath(store, "parked")}/beat,${encodeURIComponent(machine)}`;

/** The limits that were set for the store. */
export const limitsFile = (store: Store) => `${store.dir}/.limits`;

/** Exists while a task waits as a shell that was not woken. */
export const parkedMark = (store: Store, id: string) =>
	`${folderPath(store, "parked")}/${checkId(id)}`;

/** Exists from the moment the shell of a task was woken until its supervisor runs. */
export const wokenMark = (store: Store, id: string) =>
	`${parkedMark(store, id)}.woken`;

/** Exists if the shell of a task was woken and could not become its supervisor. */
export const goneMark = (store: Store, id: string) =>
	`${parkedMark(store, id)}.gone`;

/** Holds a name for each task of another launch that waits for the end of this one. */
export const dependentsFolder = (store: Store, id: string) =>
	`${folderPath(store, "after")}/${checkId(id)}`;

/** Exists until the `--on-end` command of a task was run. */
export const onEndMark = (store: Store, id: string) =>
	`${folderPath(store, "onEnd")}/${checkId(id)}`;

/** The newest task launched with a unique key. `hash`: the key's SHA-256, 64 hex digits. */
export const uniqueFile = (store: Store, hash: string) =>
	`${folderPath(store, "unique")}/${hash}`;

/** Its mtime is the time of the last sweep. */
export const sweptMark = (store: Store) =>
	`${folderPath(store, "temporary")}/swept`;

/** The last session that a sweep looked at, if there are too many for one sweep. */
export const sweptSession = (store: Store) =>
	`${folderPath(store, "temporary")}/swept-session`;

/** Its mtime is the time of the last search for tasks to archive. */
export const archivedMark = (store: Store) =>
	`${folderPath(store, "temporary")}/archived`;

/**
 * One of eight files that ends of tasks replace in turn: Bun's watcher does not report a second rename
 * onto the same name within about 1 ms.
 */
export const endFile = (store: Store, count: number) =>
	`${folderPath(store, "ends")}/${count % 8}`;

/** A log of faults. */
export const logFile = (store: Store, source: LogSource) =>
	`${store.dir}/.${source}.log`;

/**
 * Exists if a notice, a note or a message is due for a session. `session` must match sessionPattern. Installed hook commands
 * contain this path: it never changes.
 */
export const dueMark = (store: Store, session: string) =>
	`${folderPath(store, "due")}/${session}`;

/**
 * The same path as a word for the shell. `$session_id` is the session; `$HOME` or `$BG_DIR` must not be
 * empty.
 */
export const dueMarkInShell = `"\${BG_DIR:-$HOME/${defaultDir}}/${folders.due}/\${session_id-}"`;

/** Exists if every record is in the session index. */
export const indexMark = (store: Store) =>
	`${folderPath(store, "sessions")}/.whole`;

/** The notices of a session. `session` must match sessionPattern. */
export const noticeFolder = (store: Store, session: string) =>
	`${folderPath(store, "notices")}/${session}`;

/** The tasks whose notices a session was given and whose ends it did not see in an answer. */
export const unseenFolder = (store: Store, session: string) =>
	`${folderPath(store, "unseen")}/${session}`;

/** Exists while the notices of `from`, a session that has ended, are handed over to `session`. */
export const handoverFile = (store: Store, session: string, from: string) =>
	`${noticeFolder(store, session)}/.from.${from}`;

// --- internal ---

const isSharedLock = (lockName: string) =>
	lockName === "unique" ||
	lockName === "sessions" ||
	lockName === limitsLock ||
	/^(queue|input),[^/]+$/.test(lockName);

/** @throws Error if it is not a task id. An id becomes part of a path only through this check. */
function checkId(id: string): string {
	if (!idPattern.test(id)) throw new Error(`not a task id: ${id}`);
	return id;
}
