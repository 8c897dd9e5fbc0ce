/**
 * The handler of each hook event; loaded only if there is something to do. A handler never waits
 * long: what it could not do is a line in the log, and no notice is lost.
 */
import {
	appendFileSync,
	constants,
	existsSync,
	fstatSync,
	readFileSync,
} from "node:fs";
import * as v from "valibot";
import { HookPayload, parseSubagent } from "../droid/payloads.ts";
import { errorMessage } from "../error.ts";
import { toLine } from "../print/text.ts";
import { readOwnTaskId } from "../process/self.ts";
import { withOpenFile } from "../process/system.ts";
import { logFault, openStore } from "../store/directory.ts";
import { type Store, storeDir } from "../store/paths.ts";
import { findTask } from "../store/records.ts";
import { markIfMessaged } from "../store/sessions/messages.ts";
import {
	forwardNotices,
	settleToldNotices,
} from "../store/sessions/notices.ts";
import {
	findNewest,
	findNext,
	indexSession,
	listSameSessions,
	readSessionNote,
	writeSessionNote,
} from "../store/sessions/session-index.ts";
import type { Task } from "../task/schema.ts";
import { completeContinuations, continueSession } from "./continue.ts";
import { measureTimeLeft } from "./deadline.ts";
import type { HookEventName } from "./events.ts";
import { separator, takeMessages } from "./messages.ts";
import {
	deliverNotices,
	describeUncollected,
	repairNotices,
	writeHookReply,
} from "./notify.ts";
import {
	applyEndNote,
	finishByHook,
	handleSubagentStop,
	listUnfinishedTasks,
	noteEnd,
	readTranscript,
	recordSubagent,
	updateInTime,
} from "./subagents.ts";

type Handler = (store: Store, payload: HookPayload, verb: string) => void;

const handlers = {
	SessionStart: startSession,
	UserPromptSubmit: (store, payload) => deliverNotices(store, payload),
	PostToolUse: (store, payload) => {
		recordSubagent(store, payload);
		deliverNotices(store, payload);
	},
	SubagentStop: handleSubagentStop,
	Stop: stopSession,
	SessionEnd: endSession,
} satisfies Record<HookEventName, Handler>;

/** Runs the handler of an event, which prints the answer, if any. */
export function handleEvent(
	event: HookEventName,
	{ dir, verb, raw }: { dir: string; verb: string; raw: object },
): void {
	const given = Object.entries(raw).filter(([, value]) => value !== null);
	const payload = v.parse(HookPayload, Object.fromEntries(given));
	if (event === "SessionStart") logFailure(() => exportSession(payload));
	// Only an event that must be recorded creates a store.
	const mustRecord =
		payload.calling_session_id ||
		payload.previous_session_id ||
		parseSubagent(payload);
	if (mustRecord || existsSync(dir))
		handlers[event](openStore({ dir, write: true }), payload, verb);
	else if (verb === "hook-complete")
		writeHookReply({ error: "no task of this session" });
}

/** Logs a fault. Only `hook-complete` also prints it: a hook never harms its caller. */
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

function startSession(store: Store, payload: HookPayload): void {
	const { session_id, calling_session_id } = payload;
	if (!session_id) return;
	const ownTaskId = readOwnTaskId();
	const task = ownTaskId ? findTask(store, ownTaskId) : undefined;
	const caller = calling_session_id ?? task?.parent_session_id;
	if (caller) writeSessionNote(store, session_id, "caller", caller);
	logFailure(() => continueSession(store, payload, measureTimeLeft()));
	const notices = repairNotices(store, session_id);
	if (task && !calling_session_id)
		logFailure(() => {
			indexSession(store, session_id, task.id);
			updateInTime(store, task.id, (now) =>
				now.droid_session_id === session_id
					? now
					: { ...now, droid_session_id: session_id },
			);
			markIfMessaged(store, task, session_id);
		});
	deliverNotices(store, payload, notices);
}

function endSession(store: Store, payload: HookPayload): void {
	const { session_id } = payload;
	if (!session_id) return;
	if (findNext(store, session_id)) {
		// The session goes on: only its old id ends.
		forwardNotices(store, session_id, findNewest(store, session_id));
		return;
	}
	// It started and did nothing.
	settleToldNotices(store, session_id, { isSeen: false });
	const sessions = listSameSessions(store, session_id);
	const readResult = () => readTranscript(payload.transcript_path) ?? "";
	const caller = readSessionNote(store, session_id, "caller");
	const ownTaskId = readOwnTaskId();
	const isOwn =
		ownTaskId && findTask(store, ownTaskId)?.droid_session_id === session_id;
	// The note is written before the tasks are read: a record made between the two finds the note.
	if (caller && !isOwn)
		for (const each of sessions) noteEnd(store, each, readResult());
	if (caller) {
		const notices = repairNotices(store, session_id);
		const to = findNewest(store, caller);
		forwardNotices(store, session_id, to, { listed: notices });
	}
	forEachNativeTask(store, sessions, ({ id, droid_session_id }) => {
		if (droid_session_id && sessions.includes(droid_session_id))
			finishByHook(store, id, readResult());
	});
}

/** A session goes on with the messages for its task. With `BG_STOP=wait` it is blocked once. */
function stopSession(
	store: Store,
	{ session_id, stop_hook_active }: HookPayload,
): void {
	if (!session_id) return;
	const timeLeft = measureTimeLeft();
	logFailure(() => completeContinuations(store, session_id, timeLeft));
	const session = findNewest(store, session_id);
	const sessions = listSameSessions(store, session);
	forEachNativeTask(store, sessions, (task) => applyEndNote(store, task));
	settleToldNotices(store, session_id, { isSeen: true });
	const notices = repairNotices(store, session);
	const messages = takeMessages(store, session_id, { atStop: true });
	const reasons = [...messages.texts];
	if (process.env.BG_STOP === "wait" && !stop_hook_active)
		reasons.push(describeUncollected(store, notices) ?? "");
	const reason = reasons.filter((each) => each).join(separator);
	if (reason && !writeHookReply({ decision: "block", reason })) return;
	messages.settle();
}

/**
 * Acts on each unfinished subagent of a session, known by its ids. A failure, such as a lock that stays held, does not keep it
 * from the others.
 */
function forEachNativeTask(
	store: Store,
	sessions: readonly string[],
	act: (task: Task) => void,
): void {
	for (const task of sessions.flatMap((each) =>
		listUnfinishedTasks(store, each),
	))
		if (task.kind === "native") logFailure(() => act(task));
}

function logFailure(action: () => void): void {
	try {
		action();
	} catch (error) {
		logHookFault(error, "hook");
	}
}

/** Makes the session's id known to every later command of the session. */
function exportSession({ session_id }: HookPayload): void {
	const path = process.env.CLAUDE_ENV_FILE;
	if (!path || !session_id) return;
	const { O_RDWR, O_APPEND, O_NOFOLLOW, O_NONBLOCK, O_CREAT } = constants;
	const flags = O_RDWR | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CREAT;
	withOpenFile(path, flags, (fd) => {
		const status = fstatSync(fd);
		if (!status.isFile() || status.uid !== process.geteuid?.())
			throw new Error("CLAUDE_ENV_FILE is not a regular file of this user");
		const line = `export BG_SESSION_ID=${session_id}\n`;
		const before = readFileSync(fd, "utf8");
		// The last one counts: a session may go on under a new id, and be loaded again.
		if (before.match(/^export BG_SESSION_ID=.*\n/gm)?.at(-1) === line) return;
		const gap = before && !before.endsWith("\n") ? "\n" : "";
		appendFileSync(fd, gap + line);
	});
}
