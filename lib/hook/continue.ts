/**
 * Sessions that go on under a new id. Measured on droid 0.215.0: the SessionStart of the new id has
 * `previous_session_id`, also whenever it is loaded again. Its source is `compact` after a compaction by
 * JSON-RPC, and `resume` after `/compress` in a terminal and of a fork; the transcript tells these two
 * apart. The SessionEnd of the old id comes later, or never. Loading the old id again is a SessionStart
 * that does not name the new one.
 *
 * A compaction moves the notices of the old session to the new one, a fork copies them. The steps are
 * planned on disk first: if the hook is killed, the next one of the session makes them, and nothing is
 * told before. All are made under one lock, because hooks run in parallel.
 */
import { existsSync, rmSync } from "node:fs";
import { type HookPayload, isCompactionOf } from "../droid/payloads.ts";
import {
	type Continuation,
	copyNotices,
	endContinuation,
	listContinuations,
	planContinuation,
} from "../store/ends.ts";
import { LockHeldError, withLock } from "../store/locks.ts";
import { dueMark, type Store } from "../store/paths.ts";
import { findTask } from "../store/records.ts";
import {
	forwardNotices,
	isKnownSession,
	markSessionDue,
	settleToldNotices,
} from "../store/sessions/notices.ts";
import {
	addFork,
	findNext,
	findPrevious,
	isFork,
	readSessionNote,
	removeFork,
	removeSessionNote,
	writeSessionNote,
} from "../store/sessions/session-index.ts";
import { isFinal, timestamp } from "../task/states.ts";
import { readBytes } from "./transcript.ts";

/**
 * Connects a session that starts with the one it continues.
 * @param timeoutMs How long to wait for other hooks that do so.
 */
export function continueSession(
	store: Store,
	payload: HookPayload,
	timeoutMs: number,
): void {
	const { session_id: session, previous_session_id, transcript_path } = payload;
	if (!isKnownSession(session)) return;
	const isOther = previous_session_id !== session;
	const previous =
		isOther && isKnownSession(previous_session_id)
			? previous_session_id
			: undefined;
	if (!previous && !findNext(store, session)) return;
	withLock(store, { name: "sessions", timeoutMs }, () => {
		const chooseStep = () =>
			payload.source === "compact"
				? "compact"
				: isCompactionOf(previous ?? "", readHead(transcript_path))
					? "compress"
					: "fork";
		for (const each of planSteps(store, session, { previous, chooseStep }))
			planContinuation(store, session, each);
		completeSteps(store, session);
	});
}

/**
 * Completes what a killed hook left. Returns false if another hook is at it: then nothing must be told.
 * @param timeoutMs How long to wait for that hook.
 */
export function completeContinuations(
	store: Store,
	session: string,
	timeoutMs: number,
): boolean {
	if (listContinuations(store, session).length === 0) return true;
	try {
		withLock(store, { name: "sessions", timeoutMs }, () =>
			completeSteps(store, session),
		);
		return true;
	} catch (error) {
		if (error instanceof LockHeldError) return false;
		throw error;
	}
}

// --- internal ---

/** What is to be done when a session starts; nothing if it was done at an earlier start. */
function planSteps(
	store: Store,
	session: string,
	{
		previous,
		chooseStep,
	}: {
		previous: string | undefined;
		chooseStep: () => Continuation["step"];
	},
): Continuation[] {
	const next = findNext(store, session);
	const isKnown =
		!previous ||
		(next !== previous &&
			(findPrevious(store, session)?.session === previous ||
				isFork(store, previous, session)));
	const step = isKnown ? undefined : chooseStep();
	// A session that starts again is alive beside the one that continued it.
	const isAlive = next && (isKnown || step === "fork" || previous !== next);
	return [
		...(isAlive ? [{ step: "revive" as const, other: next }] : []),
		...(step && previous ? [{ step, other: previous }] : []),
	];
}

/** The longest beginning of a transcript that is read, in bytes. */
const maxHeadBytes = 64 * 1024;

const readHead = (path: string | undefined): string =>
	readBytes(path, { from: "start", most: maxHeadBytes })?.toString() ?? "";

const doers = {
	compact: (store, session, previous) => {
		// The client keeps what hooks said to the old session; after `/compress` it drops it.
		settleToldNotices(store, previous, { isSeen: true });
		goOn(store, session, previous);
	},
	compress: goOn,
	fork,
	revive,
} satisfies Record<
	Continuation["step"],
	(store: Store, session: string, other: string) => void
>;

/** Makes the planned steps of a session, and first those of the sessions it continues. */
function completeSteps(
	store: Store,
	session: string,
	seen = new Set<string>(),
): void {
	if (seen.has(session)) return;
	seen.add(session);
	for (const each of listContinuations(store, session)) {
		completeSteps(store, each.other, seen);
		doers[each.step](store, session, each.other);
		endContinuation(store, session, each);
	}
}

/** The session `previous` goes on as `session`. */
function goOn(store: Store, session: string, previous: string): void {
	const earlier = findNext(store, previous);
	if (earlier && earlier !== session) revive(store, previous, earlier);
	if (findNext(store, session) === previous)
		removeSessionNote(store, session, "next");
	removeFork(store, previous, session);
	writeSessionNote(store, session, "previous", previous);
	writeSessionNote(store, previous, "next", session);
	const caller = readSessionNote(store, previous, "caller");
	if (caller && readSessionNote(store, session, "caller") === undefined)
		writeSessionNote(store, session, "caller", caller);
	if (existsSync(dueMark(store, previous))) markSessionDue(store, session);
	rmSync(dueMark(store, previous), { force: true });
	forwardNotices(store, previous, session);
}

/** The session is a copy of `previous`, and both go on. */
function fork(store: Store, session: string, previous: string): void {
	addFork(store, previous, session);
	if (!findPrevious(store, session))
		writeSessionNote(store, session, "previous", `${previous} ${timestamp()}`);
	copyTo(store, session, previous);
}

/** The session goes on beside `next`, which continued it: from now on they are forks. */
function revive(store: Store, session: string, next: string): void {
	addFork(store, session, next);
	addFork(store, next, session);
	if (findNext(store, session) === next)
		removeSessionNote(store, session, "next");
	copyTo(store, session, next);
	const previous = findPrevious(store, next);
	if (previous?.session === session && !previous.until)
		writeSessionNote(store, next, "previous", `${session} ${timestamp()}`);
}

function copyTo(store: Store, to: string, from: string): void {
	copyNotices(store, { from, to }, (id) => {
		const task = findTask(store, id);
		return task !== undefined && isFinal(task);
	});
}
