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
import { HookPayload, parseSubagent } from "../droid/payloads.ts";
import { errorMessage } from "../error.ts";
import { toLine } from "../print/text.ts";
import { logFault, openStore } from "../store/directory.ts";
import { forwardNotices, type Notice } from "../store/notices.ts";
import { type Store, storeDir } from "../store/paths.ts";
import { findTask, updateTask } from "../store/records.ts";
import {
	indexSession,
	readSessionNote,
	writeSessionNote,
} from "../store/session-index.ts";
import { idPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { taskVariable } from "../task/variables.ts";
import { findHookEvent } from "./events.ts";
import {
	blockStop,
	deliverNotices,
	repairNotices,
	writeHookReply,
} from "./notify.ts";
import {
	applyEndNote,
	finishByHook,
	handleSubagentStop,
	listUnfinishedTasks,
	measureTimeLeft,
	readTranscript,
	recordSubagent,
	writeEndNote,
} from "./subagents.ts";

/** Prints the answer to an event, where there is one. */
export function handleEvent(store: Store, verb: string, raw: object): void {
	const given = Object.entries(raw).filter(([, value]) => value !== null);
	const payload = v.parse(HookPayload, Object.fromEntries(given));
	// Only what must be remembered makes a store where there is none.
	const mustRecord =
		payload.calling_session_id !== undefined || parseSubagent(payload);
	if (!mustRecord && !existsSync(store.dir)) {
		exportSession(payload);
		if (verb === "hook-complete")
			writeHookReply({ error: "no task of this session" });
		return;
	}
	const event = payload.hook_event_name ?? "";
	if (event === "SessionStart") exportSession(payload);
	const opened = openStore({ ...store, write: true });
	if (event === "SubagentStop") handleSubagentStop(opened, verb, payload);
	const notices =
		event === "SessionStart" ? handleSessionStart(opened, payload) : undefined;
	if (event === "SessionEnd") handleSessionEnd(opened, payload);
	if (event === "Stop") handleStop(opened, payload);
	if (event === "PostToolUse") recordSubagent(opened, payload, readOwnTaskId());
	if (findHookEvent(event)?.showsNotices)
		deliverNotices(opened, event, payload.session_id, notices);
}

/** A fault is for the log alone: whoever calls a hook is not to be harmed by it. */
export function logHookFault(error: unknown, verb: string): void {
	try {
		const dir = storeDir();
		if (existsSync(dir))
			logFault({ dir }, "hook", toLine(errorMessage(error), 500));
		if (verb === "hook-complete")
			writeHookReply({ error: toLine(errorMessage(error)) });
	} catch {}
}

// --- internal ---

/** The task this hook runs inside of. */
function readOwnTaskId(): string | undefined {
	const id = process.env[taskVariable];
	return id && idPattern.test(id) ? id : undefined;
}

// --- a session's begin and end ---

/** Returns the session's notices. */
function handleSessionStart(store: Store, payload: HookPayload): Notice[] {
	const { session_id, calling_session_id } = payload;
	const ownTaskId = readOwnTaskId();
	if (!session_id) return [];
	const task = ownTaskId ? findTask(store, ownTaskId) : undefined;
	const caller = calling_session_id ?? task?.parent_session_id;
	if (caller) writeSessionNote(store, session_id, "caller", caller);
	const notices = repairNotices(store, session_id);
	if (task && !calling_session_id)
		applyToEach([task], ({ id }) => setDroidSession(store, id, session_id));
	return notices;
}

/** The task's own droid says which session it is. */
function setDroidSession(store: Store, id: string, session: string): void {
	indexSession(store, session, id);
	updateTask(
		store,
		id,
		(now) =>
			now.droid_session_id === session
				? undefined
				: { ...now, droid_session_id: session },
		{ timeoutMs: measureTimeLeft() },
	);
}

/** Does it to each; a lock that is not to be had keeps nobody from the rest. */
function applyToEach(tasks: readonly Task[], act: (task: Task) => void): void {
	for (const task of tasks)
		try {
			act(task);
		} catch (error) {
			logHookFault(error, "hook");
		}
}

/** Puts the session's id where every later command of it finds it. */
function exportSession({ hook_event_name, session_id }: HookPayload): void {
	const path = process.env.CLAUDE_ENV_FILE;
	if (hook_event_name !== "SessionStart" || !path || !session_id) return;
	try {
		appendExport(path, session_id);
	} catch (error) {
		logHookFault(error, "hook");
	}
}

function appendExport(path: string, session: string): void {
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

function handleSessionEnd(store: Store, payload: HookPayload): void {
	const { session_id } = payload;
	if (!session_id) return;
	const text = () => readTranscript(payload.transcript_path) ?? "";
	const caller = readSessionNote(store, session_id, "caller");
	const ownTaskId = readOwnTaskId();
	const isOwn =
		ownTaskId && findTask(store, ownTaskId)?.droid_session_id === session_id;
	// First the note, then the look: a record that comes between the two finds the note.
	if (caller && !isOwn) writeEndNote(store, session_id, text());
	if (caller) {
		const notices = repairNotices(store, session_id);
		forwardNotices(store, session_id, caller, { listed: notices });
	}
	const ended = listNativeTasks(store, session_id).filter(
		({ droid_session_id }) => droid_session_id === session_id,
	);
	applyToEach(ended, ({ id }) => finishByHook(store, id, text()));
}

/** Where `BG_STOP=wait` asks for it, a session is held once. */
function handleStop(
	store: Store,
	{ session_id, stop_hook_active }: HookPayload,
): void {
	if (!session_id) return;
	applyToEach(listNativeTasks(store, session_id), (task) =>
		applyEndNote(store, task),
	);
	const notices = repairNotices(store, session_id);
	if (process.env.BG_STOP === "wait" && !stop_hook_active)
		blockStop(store, notices);
}

const listNativeTasks = (store: Store, session: string) =>
	listUnfinishedTasks(store, session).filter(({ kind }) => kind === "native");
