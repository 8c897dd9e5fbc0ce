/**
 * What each hook event does; loaded only where there is something to do. It never makes its caller
 * wait for long, and what it could not do is a line in the log: no notice is lost by it.
 */
import {
	appendFileSync,
	closeSync,
	constants,
	existsSync,
	fstatSync,
	openSync,
	readFileSync,
} from "node:fs";
import * as v from "valibot";
import { logFault, openStore } from "./directory.ts";
import { messageOf } from "./error.ts";
import { answersTo } from "./events.ts";
import { type Store, storeDir } from "./names.ts";
import { type Notice, passOnNotices } from "./notices.ts";
import { idPattern } from "./patterns.ts";
import { Payload, subagentOf } from "./payload.ts";
import { toLine } from "./print.ts";
import { indexSession, noteSession, readSessionNote } from "./sessions.ts";
import { findTask, updateTask } from "./store.ts";
import {
	endByHook,
	endNoted,
	noteEnd,
	readTranscript,
	recordSubagent,
	stopSubagent,
	timeLeft,
	unfinishedOf,
} from "./subagents.ts";
import { type Task, taskVariable } from "./task.ts";
import { answer, holdSession, repairNotices, tell } from "./tell.ts";

/** Prints the answer to an event, where there is one. */
export function react(at: Store, verb: string, raw: object): void {
	const given = Object.entries(raw).filter(([, value]) => value !== null);
	const payload = v.parse(Payload, Object.fromEntries(given));
	// Only what must be remembered makes a store where there is none.
	const remembers =
		payload.calling_session_id !== undefined || subagentOf(payload);
	if (!remembers && !existsSync(at.dir)) {
		shareSession(payload);
		if (verb === "hook-complete") answer({ error: "no task of this session" });
		return;
	}
	const event = payload.hook_event_name ?? "";
	if (event === "SessionStart") shareSession(payload);
	const store = openStore({ ...at, write: true });
	if (event === "SubagentStop") stopSubagent(store, verb, payload);
	const notices =
		event === "SessionStart" ? startSession(store, payload) : undefined;
	if (event === "SessionEnd") endSession(store, payload);
	if (event === "Stop") stop(store, payload);
	if (event === "PostToolUse") recordSubagent(store, payload, ownTask());
	if (answersTo(event)?.tells) tell(store, event, payload.session_id, notices);
}

/** A fault is for the log alone: whoever calls a hook is not to be harmed by it. */
export function noteFault(error: unknown, verb: string): void {
	try {
		const dir = storeDir();
		if (existsSync(dir))
			logFault({ dir }, "hook", toLine(messageOf(error), 500));
		if (verb === "hook-complete") answer({ error: toLine(messageOf(error)) });
	} catch {}
}

// --- internal ---

/** The task this hook runs inside of. */
function ownTask(): string | undefined {
	const id = process.env[taskVariable];
	return id && idPattern.test(id) ? id : undefined;
}

// --- a session's begin and end ---

/** Returns the session's notices. */
function startSession(store: Store, payload: Payload): Notice[] {
	const { session_id, calling_session_id } = payload;
	const own = ownTask();
	if (!session_id) return [];
	const task = own ? findTask(store, own) : undefined;
	const caller = calling_session_id ?? task?.parent_session_id;
	if (caller) noteSession(store, session_id, "caller", caller);
	const notices = repairNotices(store, session_id);
	if (task && !calling_session_id)
		tryAll([task], ({ id }) => nameSession(store, id, session_id));
	return notices;
}

/** The task's own droid says which session it is. */
function nameSession(store: Store, id: string, session: string): void {
	indexSession(store, session, id);
	updateTask(
		store,
		id,
		(now) =>
			now.droid_session_id === session
				? undefined
				: { ...now, droid_session_id: session },
		{ patience: timeLeft() },
	);
}

/** Does it to each; a lock that is not to be had keeps nobody from the rest. */
function tryAll(tasks: readonly Task[], act: (task: Task) => void): void {
	for (const task of tasks)
		try {
			act(task);
		} catch (error) {
			noteFault(error, "hook");
		}
}

/** Puts the session's id where every later command of it finds it. */
function shareSession({ hook_event_name, session_id }: Payload): void {
	const path = process.env.CLAUDE_ENV_FILE;
	if (hook_event_name !== "SessionStart" || !path || !session_id) return;
	try {
		appendSession(path, session_id);
	} catch (error) {
		noteFault(error, "hook");
	}
}

function appendSession(path: string, session: string): void {
	const { O_RDWR, O_APPEND, O_NOFOLLOW, O_NONBLOCK, O_CREAT } = constants;
	const flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CREAT;
	const fd = openSync(path, flags, 0o600);
	try {
		const status = fstatSync(fd);
		if (!status.isFile() || status.uid !== process.geteuid?.())
			throw new Error("CLAUDE_ENV_FILE is not a file of ours");
		const line = `export BG_SESSION_ID=${session}\n`;
		const before = readFileSync(fd, "utf8");
		if (before.includes(line)) return;
		const gap = before && !before.endsWith("\n") ? "\n" : "";
		appendFileSync(fd, gap + line);
	} finally {
		closeSync(fd);
	}
}

function endSession(store: Store, payload: Payload): void {
	const { session_id } = payload;
	if (!session_id) return;
	const text = () => readTranscript(payload.transcript_path) ?? "";
	const caller = readSessionNote(store, session_id, "caller");
	const own = ownTask();
	const isOwn = own && findTask(store, own)?.droid_session_id === session_id;
	// First the note, then the look: a record that comes between the two finds the note.
	if (caller && !isOwn) noteEnd(store, session_id, text());
	if (caller) {
		const notices = repairNotices(store, session_id);
		passOnNotices(store, session_id, caller, { listed: notices });
	}
	const ended = nativesOf(store, session_id).filter(
		({ droid_session_id }) => droid_session_id === session_id,
	);
	tryAll(ended, ({ id }) => endByHook(store, id, text()));
}

/** Where `BG_STOP=wait` asks for it, a session is held once. */
function stop(store: Store, { session_id, stop_hook_active }: Payload): void {
	if (!session_id) return;
	tryAll(nativesOf(store, session_id), (task) => endNoted(store, task));
	const notices = repairNotices(store, session_id);
	if (process.env.BG_STOP === "wait" && !stop_hook_active)
		holdSession(store, notices);
}

const nativesOf = (store: Store, session: string) =>
	unfinishedOf(store, session).filter(({ kind }) => kind === "native");
