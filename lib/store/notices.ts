/**
 * Notices: a session is told, once, of the end of each task it launched. An entry exists before the
 * record. The end renames it to `.due`, then touches the session's mark. Whoever tells claims an
 * entry by renaming it to its own name, prints, and unlinks it; of two hooks at the same moment one
 * wins. The mark goes last, and comes back where something fell due meanwhile. The claim of a hook
 * that died is taken over: told twice at worst, never lost.
 *
 * A hook moves a bounded number of entries. An ended session's entries are handed over to its caller:
 * `.from.<session>` in the caller's folder stays until all are moved, and the caller's hooks go on.
 */
import { existsSync, renameSync, rmSync, watch } from "node:fs";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { idPattern, sessionPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import {
	assertWritable,
	createIn,
	discard,
	listNames,
	moveFile,
	removeEmptyFolder,
	touch,
	uniqueHolderName,
} from "./files.ts";
import { dueMark, folderPath, lastEndFile, type Store } from "./paths.ts";
import { readSessionNote } from "./session-index.ts";

/** An entry that is being told; `file` is unlinked once it was. */
export type NoticeClaim = { id: string; file: string };

/** An entry in the folder of a session. */
export type Notice = {
	id: string;
	name: string;
	state: "awaited" | "due" | "claimed";
	/** The process that claimed it. */
	holder?: string | undefined;
};

/** The most entries that one hook moves from ended sessions to their caller. */
const maxMoved = 1000;

/** Nobody is called `main`: it stands for a session that is not known. */
const isKnownSession = (session: string | undefined): session is string =>
	session !== undefined && session !== "main" && sessionPattern.test(session);

/** Makes the entry of a task that is about to be recorded. */
export function expectNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnownSession(session)) return;
	createIn(store, noticeFolder(store, session), id);
}

/** The task ended: its notice is due, in its session or, where that ended, in its caller's. */
export function markNoticeDue(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	const seen = new Set<string>();
	let owner: string | undefined;
	for (let at = session; isKnownSession(at) && !seen.has(at); ) {
		seen.add(at);
		const entry = `${noticeFolder(store, at)}/${id}`;
		if (owner !== undefined) {
			if (existsSync(handoverFile(store, at, owner))) markSessionDue(store, at);
		} else if (moveFile(entry, `${entry}.due`)) {
			markSessionDue(store, at);
			owner = at;
		}
		at = readSessionNote(store, at, "caller");
	}
}

/** What a session has not been told: ids that are due, and ids whose end is still awaited. */
export function readNotices(
	store: Store,
	session: string,
): { due: string[]; awaited: string[] } {
	const notices = listNotices(store, session);
	const idsOf = (isAwaited: boolean) =>
		notices
			.filter(({ state }) => (state === "awaited") === isAwaited)
			.map(({ id }) => id);
	return { due: idsOf(false), awaited: idsOf(true) };
}

/** The entries of a session, oldest task first. */
export function listNotices(store: Store, session: string): Notice[] {
	return isKnownSession(session) ? parseEntries(namesOf(store, session)) : [];
}

/** Continues the handovers to a session, then lists its entries. */
export function collectNotices(store: Store, session: string): Notice[] {
	if (!isKnownSession(session)) return [];
	const names = namesOf(store, session);
	const handovers = handoversIn(names);
	let most = maxMoved;
	for (const from of handovers)
		most -= forwardNotices(store, from, session, { most });
	return parseEntries(handovers.length ? namesOf(store, session) : names);
}

/**
 * Claims what is due, at most so many, oldest task first. Takes over the claims of processes that
 * are gone.
 */
export function claimNotices(
	store: Store,
	session: string,
	notices: readonly Notice[] = listNotices(store, session),
	most = Number.POSITIVE_INFINITY,
): NoticeClaim[] {
	if (!isKnownSession(session)) return [];
	const folder = noticeFolder(store, session);
	const claims: NoticeClaim[] = [];
	for (const notice of notices) {
		if (claims.length >= most) break;
		if (notice.state === "awaited" || isHeld(notice)) continue;
		const file = `${folder}/${notice.id}.due@${uniqueHolderName()}`;
		if (moveFile(`${folder}/${notice.name}`, file))
			claims.push({ id: notice.id, file });
	}
	return claims;
}

/** What a hook that died was about to tell is due again; where nothing is left, the folder goes. */
export function sweepNotices(store: Store, session: string): void {
	if (!isKnownSession(session)) return;
	const folder = noticeFolder(store, session);
	const names = namesOf(store, session);
	for (const from of handoversIn(names)) forwardNotices(store, from, session);
	let isDue = false;
	for (const notice of parseEntries(names)) {
		if (notice.state !== "claimed" || isHeld(notice)) continue;
		const due = `${folder}/${notice.id}.due`;
		isDue = moveFile(`${folder}/${notice.name}`, due) || isDue;
	}
	if (isDue) markSessionDue(store, session);
	removeEmptyFolder(folder);
}

/**
 * Removes the claims, which were told, and the mark, unless more is due: it was not claimed, or fell
 * due meanwhile.
 */
export function removeClaimedNotices(
	store: Store,
	session: string,
	claims: readonly NoticeClaim[],
	isMoreDue = false,
): void {
	if (!isKnownSession(session)) return;
	for (const { file } of claims) rmSync(file, { force: true });
	const mark = dueMark(store, session);
	// Without a mark there is nothing to remove: what falls due from now on makes its own.
	if (!isMoreDue && !existsSync(mark)) return;
	if (!isMoreDue) rmSync(mark, { force: true });
	if (isMoreDue || isAnyDue(store, session)) markSessionDue(store, session);
}

/** The session has seen the end by itself, or wanted it: there is nothing left to tell. */
export function discardNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnownSession(session)) return;
	assertWritable(store);
	for (const suffix of ["", ".due"])
		rmSync(`${noticeFolder(store, session)}/${id}${suffix}`, { force: true });
}

/**
 * Hands what an ended session was not told over to its caller: at most so many entries, due ones
 * first. The caller's next hooks move those that are left. `listed` are the entries of the ended
 * session, if they were listed already. Returns how many were moved.
 */
export function forwardNotices(
	store: Store,
	from: string,
	to: string,
	{
		listed,
		most = maxMoved,
	}: { listed?: readonly Notice[]; most?: number } = {},
): number {
	if (!isKnownSession(from) || !isKnownSession(to) || from === to) return 0;
	let moved = 0;
	// An entry may fall due between its listing and its move: list again until none is left.
	for (let given = listed; ; given = undefined) {
		const names = given ? [] : namesOf(store, from);
		const notices = given ?? parseEntries(names);
		const handovers = handoversIn(names);
		if (notices.length + handovers.length === 0) {
			if (given) continue;
			break;
		}
		// Before the first move, so that a process killed between two moves leaves the others to the
		// caller's hooks. Again in each round, for a sweep removes it with the folder if it is empty.
		for (const each of [from, ...handovers])
			if (each !== to)
				createIn(store, noticeFolder(store, to), `.from.${each}`);
		for (const each of handovers)
			rmSync(handoverFile(store, from, each), { force: true });
		const due = notices.filter(({ state }) => state !== "awaited");
		const awaited = notices.filter(({ state }) => state === "awaited");
		if (due.length) markSessionDue(store, to);
		let held = 0;
		for (const notice of [...due, ...awaited]) {
			if (moved === most) return moved;
			moved++;
			const { id, name, state } = notice;
			if (isHeld(notice)) held++;
			else
				moveFile(
					`${noticeFolder(store, from)}/${name}`,
					`${noticeFolder(store, to)}/${id}${state === "awaited" ? "" : ".due"}`,
				);
		}
		// Hooks of the session itself are telling all that is left.
		if (held > 0 && held === notices.length) return moved;
	}
	rmSync(handoverFile(store, to, from), { force: true });
	removeEmptyFolder(noticeFolder(store, from));
	return moved;
}

export function markSessionDue(store: Store, session: string): void {
	if (isKnownSession(session)) touch(dueMark(store, session));
}

/**
 * Calls back after every end of a task in this directory. Arm it first, then read, then wait: so
 * nothing falls between. Where the system cannot watch, the caller's own slow look has to do.
 */
export function watchEnds(store: Store, onEnd: () => void): () => void {
	try {
		const watcher = watch(folderPath(store, "ends"), onEnd);
		watcher.on("error", () => watcher.close());
		return () => watcher.close();
	} catch {
		return () => {};
	}
}

/** Wakes all who wait for an end, or for a place that is free now. */
export function notifyWaiters(store: Store): void {
	const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
	try {
		touch(temporary);
		renameSync(temporary, lastEndFile(store));
	} catch {
		// Those who wait look once a second as well.
		discard(temporary);
	}
}

/** A launch whose session is told, and those who wait. Where it fails, they look for themselves. */
export function publishEnd(
	store: Store,
	{ id, parent_session_id }: Task,
): void {
	try {
		markNoticeDue(store, parent_session_id, id);
	} catch {
		// A session looks at its records at its start and its stop as well.
	}
	notifyWaiters(store);
}

// --- internal ---

const noticeFolder = (store: Store, session: string) =>
	`${folderPath(store, "notices")}/${session}`;

const namesOf = (store: Store, session: string) =>
	listNames(store, noticeFolder(store, session));

/** Exists while entries of an ended session are handed over to this one. */
const handoverFile = (store: Store, session: string, from: string) =>
	`${noticeFolder(store, session)}/.from.${from}`;

/** The ended sessions that are being handed over, by the names in a folder. */
const handoversIn = (names: readonly string[]) =>
	names
		.filter((name) => name.startsWith(".from."))
		.map((name) => name.slice(".from.".length))
		.filter(isKnownSession);

/** Whether a process that may be alive is telling it. */
function isHeld({ holder }: Notice): boolean {
	const claimer = holder && parseClaimName(holder);
	return claimer ? checkLiveness(claimer) !== "gone" : false;
}

/** Whether anything is due for a session, also among what ended sessions are handing over to it. */
function isAnyDue(store: Store, session: string): boolean {
	const isDue = (names: readonly string[]) =>
		parseEntries(names).some(({ state }) => state !== "awaited");
	const names = namesOf(store, session);
	const handovers = handoversIn(names);
	if (handovers.some((from) => isDue(namesOf(store, from)))) return true;
	// The own folder last: an entry may have been moved there since.
	return isDue(handovers.length ? namesOf(store, session) : names);
}

/** The entries among the names in a folder, oldest task first. */
function parseEntries(names: readonly string[]): Notice[] {
	return names.toSorted().flatMap((name): Notice[] => {
		const [, id = "", due, , holder] =
			/^([^.]+)(\.due(@(.+))?)?$/.exec(name) ?? [];
		if (!idPattern.test(id)) return [];
		const state = holder ? "claimed" : due ? "due" : "awaited";
		return [{ id, name, state, holder }];
	});
}
