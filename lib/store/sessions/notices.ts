/**
 * Notices: a session is notified, once, of the end of each task it launched. An entry is created before
 * the task's record. The end renames it to `.due`, then creates the session's mark. A hook claims an
 * entry by renaming it to a name with its own identity, prints the notice, and unlinks the entry. The
 * mark is removed last and created again if another notice became due meanwhile. The claim of a dead
 * hook is taken over: a notice may be given twice and is never lost.
 *
 * After that, `.unseen/<session>/<id>` exists until an answer (`wait`, `output`, …) shows the end: `wait` without
 * ids returns these tasks too.
 *
 * An entry `.note` says that a task has notes for the session (messages.ts); it moves like the others.
 *
 * The entries of an ended session are handed over to its caller, the session that started it. A hook
 * moves a bounded number; `.from.<session>` in the caller's folder stays until all are moved. The entries
 * of a session that goes on under a new id are handed over in the same way. A writer that finds the old id
 * checks after each write whether there is a new one, and passes the mark on.
 */
import { existsSync, rmSync } from "node:fs";
import { checkLiveness, parseClaimName } from "../../process/identity.ts";
import { idPattern, sessionPattern } from "../../task/ids.ts";
import { assertWritable, makeFolder } from "../directory.ts";
import {
	createIn,
	listNames,
	moveFile,
	removeEmptyFolder,
	removeFile,
	retryChange,
	touch,
	uniqueHolderName,
} from "../files.ts";
import {
	dueMark,
	handoverFile,
	noticeFolder,
	type Store,
	unseenFolder,
} from "../paths.ts";
import {
	findNewest,
	findNext,
	isFork,
	listSameSessions,
} from "./session-index.ts";

/** An entry that this process claimed. `file` is unlinked once the notice is printed. */
export type NoticeClaim = { id: string; file: string };

/** An entry in the folder of a session. */
export type Notice = {
	id: string;
	name: string;
	state: "awaited" | "due" | "claimed" | "told" | "note";
	/** The process that claimed it. */
	holder?: string | undefined;
};

/** The most entries that one hook moves from ended sessions to their caller. */
const maxMoved = 1000;

/** `main` stands for an unknown session: no hook ever reads its notices. */
export const isKnownSession = (
	session: string | undefined,
): session is string =>
	session !== undefined && session !== "main" && sessionPattern.test(session);

/** Creates the entry of a task that is about to be recorded. */
export function expectNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnownSession(session)) return;
	const newest = findNewest(store, session);
	createIn(store, noticeFolder(store, newest), id);
	passOn(store, newest);
}

/** Creates the entry that says that a task has notes for a session, and the session's mark. */
export function expectNote(store: Store, session: string, id: string): void {
	if (!isKnownSession(session)) return;
	const newest = findNewest(store, session);
	createIn(store, noticeFolder(store, newest), `${id}.note`);
	passOn(store, newest);
	markSessionDue(store, newest);
}

/**
 * Removes the entry of a task's notes, all of which were printed.
 * @param isAnyLeft whether the task has more of them: one may have been written meanwhile.
 */
export function removeNoteEntry(
	store: Store,
	session: string,
	id: string,
	isAnyLeft: () => boolean,
): void {
	if (!isKnownSession(session)) return;
	rmSync(`${noticeFolder(store, session)}/${id}.note`, { force: true });
	if (isAnyLeft()) expectNote(store, session, id);
}

/** Lists the notices of a session, oldest task first; not the entries of notes. */
export function listNotices(store: Store, session: string): Notice[] {
	if (!isKnownSession(session)) return [];
	return parseEntries(namesOf(store, session)).filter(
		({ state }) => state !== "note",
	);
}

/** Lists the tasks of a session whose ends no answer has shown yet, unfinished ones included. */
export function listUnseen(store: Store, session: string): string[] {
	if (!isKnownSession(session)) return [];
	return listSameSessions(store, session).flatMap((each) => [
		...listNames(store, unseenFolder(store, each)).filter((id) =>
			idPattern.test(id),
		),
		...listNotices(store, each).map(({ id }) => id),
	]);
}

/** Continues the handovers to a session, then lists its entries, also those of notes. */
export function collectNotices(store: Store, session: string): Notice[] {
	if (!isKnownSession(session)) return [];
	const names = namesOf(store, session);
	const handovers = handoversIn(names);
	let most = maxMoved;
	// Both go on, so the entries stay: this was written before the older one started again.
	for (const from of handovers)
		if (isFork(store, from, session))
			rmSync(handoverFile(store, session, from), { force: true });
		else most -= forwardNotices(store, from, session, { most });
	return parseEntries(handovers.length ? namesOf(store, session) : names);
}

/**
 * Claims due entries, oldest task first, and the claims of processes that are gone.
 * @param options `notices`: the session's entries, if they are listed already. `most`: how many to claim.
 */
export function claimNotices(
	store: Store,
	session: string,
	{
		notices = listNotices(store, session),
		most = Number.POSITIVE_INFINITY,
	}: { notices?: readonly Notice[]; most?: number } = {},
): NoticeClaim[] {
	if (!isKnownSession(session)) return [];
	const folder = noticeFolder(store, session);
	const claims: NoticeClaim[] = [];
	for (const notice of notices) {
		if (claims.length >= most) break;
		if (!isDue(notice) || isHeld(notice)) continue;
		if (notice.state === "told" || notice.state === "note") continue;
		const file = `${folder}/${notice.id}.due@${uniqueHolderName()}`;
		if (moveFile(`${folder}/${notice.name}`, file))
			claims.push({ id: notice.id, file });
	}
	return claims;
}

/**
 * Keeps claimed entries whose notices a SessionStart printed. The client reads a session again right before
 * it compacts it, and drops what a hook says then: only a later event of the session proves that it was
 * told. Until then these entries move like due ones.
 */
export function keepToldNotices(
	store: Store,
	session: string,
	claims: readonly NoticeClaim[],
): void {
	if (!isKnownSession(session) || claims.length === 0) return;
	for (const { id, file } of claims)
		moveFile(file, `${noticeFolder(store, session)}/${id}.told`);
	markSessionDue(store, session);
}

/** Removes the entries that keepToldNotices kept, or makes them due again if the session saw nothing. */
export function settleToldNotices(
	store: Store,
	session: string,
	{ isSeen }: { isSeen: boolean },
): void {
	const folder = noticeFolder(store, session);
	for (const { id, name, state } of listNotices(store, session))
		if (state !== "told") continue;
		else if (isSeen)
			markUnseen(store, session, { id, file: `${folder}/${name}` });
		else moveFile(`${folder}/${name}`, `${folder}/${id}.due`);
}

/** Makes the entries that a dead hook claimed due again; removes the session's folder if it is empty. */
export function sweepNotices(store: Store, session: string): void {
	if (!isKnownSession(session)) return;
	const folder = noticeFolder(store, session);
	const names = namesOf(store, session);
	for (const from of handoversIn(names))
		if (!isFork(store, from, session)) forwardNotices(store, from, session);
	const released = parseEntries(names).filter(
		(notice) =>
			notice.state === "claimed" &&
			!isHeld(notice) &&
			moveFile(`${folder}/${notice.name}`, `${folder}/${notice.id}.due`),
	);
	if (released.length) markSessionDue(store, session);
	removeEmptyFolder(folder);
}

/**
 * Removes claimed entries after their notices were printed, and the session's mark unless more are due.
 * @param options `isMoreDue`: there are due entries that were not claimed. `isMessageDue`: whether a
 * message for the session waits, which has no entry here; asked after the mark was removed.
 */
export function removeClaimedNotices(
	store: Store,
	session: string,
	claims: readonly NoticeClaim[],
	{
		isMoreDue = false,
		isMessageDue = () => false,
	}: { isMoreDue?: boolean; isMessageDue?: () => boolean } = {},
): void {
	if (!isKnownSession(session)) return;
	for (const claim of claims) markUnseen(store, session, claim);
	const mark = dueMark(store, session);
	// A notice that becomes due from now on creates the mark itself.
	if (!isMoreDue && !existsSync(mark)) return;
	if (!isMoreDue) rmSync(mark, { force: true });
	if (isMoreDue || isAnyDue(store, session) || isMessageDue())
		markSessionDue(store, session);
}

/** Removes an entry: the session has seen the end of the task, or caused it. */
export function discardNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnownSession(session)) return;
	assertWritable(store);
	// Oldest first: an entry that is being moved is found at its new place.
	for (const each of listSameSessions(store, session)) {
		for (const suffix of ["", ".due", ".told"])
			rmSync(`${noticeFolder(store, each)}/${id}${suffix}`, { force: true });
		const unseen = unseenFolder(store, each);
		if (removeFile(`${unseen}/${id}`)) removeEmptyFolder(unseen);
	}
}

/**
 * Hands the entries of an ended session over to its caller, due ones first. The caller's next hooks move
 * those that are left.
 * @param options `listed`: the entries of `from`, if they are listed already. `most`: how many to move.
 * @returns how many were moved.
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
	const moved = moveNotices(store, from, { to, listed, most });
	passOn(store, to);
	return moved;
}

/** Creates the mark of a session that has due notices, or of the session that continues it. */
export function markSessionDue(store: Store, session: string): void {
	if (!isKnownSession(session)) return;
	touch(dueMark(store, session));
	passOn(store, session, { isDue: true });
}

/** Whether there is something to tell: the task has ended, its notice is due or claimed, or it has notes. */
export const isDue = ({ state }: Notice) => state !== "awaited";

/** Whether a notice is due for a session, also among those that are being handed over to it. */
export function isAnyDue(store: Store, session: string): boolean {
	const hasDue = (names: readonly string[]) => parseEntries(names).some(isDue);
	const names = namesOf(store, session);
	const handovers = handoversIn(names);
	if (handovers.some((from) => hasDue(namesOf(store, from)))) return true;
	// The session's own folder last: an entry may have been moved there meanwhile.
	return hasDue(handovers.length ? namesOf(store, session) : names);
}

/** Whether a process that may be alive has claimed an entry or a message. */
export function isHeld({ holder }: { holder?: string | undefined }): boolean {
	const claimer = holder && parseClaimName(holder);
	return claimer ? checkLiveness(claimer) !== "gone" : false;
}

/** Lists the sessions whose entries are being handed over to a session. */
export const listHandovers = (store: Store, session: string) =>
	handoversIn(namesOf(store, session));

// --- internal ---

const namesOf = (store: Store, session: string) =>
	listNames(store, noticeFolder(store, session));

/** Moves the entries of a session. @returns how many were moved. */
function moveNotices(
	store: Store,
	from: string,
	{
		to,
		listed,
		most,
	}: { to: string; listed?: readonly Notice[] | undefined; most: number },
): number {
	let moved = 0;
	// An entry may become due between its listing and its move: list again until none is left.
	for (let given = listed?.length ? listed : undefined; ; given = undefined) {
		const names = given ? [] : namesOf(store, from);
		const notices = given ?? parseEntries(names);
		const handovers = handoversIn(names);
		if (notices.length + handovers.length === 0) break;
		// Before the first move: if this process is killed between two moves, the caller's hooks
		// continue. In each round: a sweep may have removed the file with an empty folder.
		for (const each of [from, ...handovers])
			if (each !== to)
				createIn(store, noticeFolder(store, to), `.from.${each}`);
		for (const each of handovers)
			rmSync(handoverFile(store, from, each), { force: true });
		const due = notices.filter(isDue);
		if (due.length) markSessionDue(store, to);
		let held = 0;
		for (const notice of [...due, ...notices.filter((each) => !isDue(each))]) {
			if (moved === most) return moved;
			moved++;
			const target = `${noticeFolder(store, to)}/${notice.id}`;
			const ending = isDue(notice) ? ".due" : "";
			if (isHeld(notice)) held++;
			else
				moveFile(
					`${noticeFolder(store, from)}/${notice.name}`,
					target + (notice.state === "note" ? ".note" : ending),
				);
		}
		// Hooks of the session itself have claimed all that are left.
		if (held > 0 && held === notices.length) return moved;
	}
	rmSync(handoverFile(store, to, from), { force: true });
	removeEmptyFolder(noticeFolder(store, from));
	// A writer creates its entry before it creates the handover file that was just removed.
	if (moved < most && parseEntries(namesOf(store, from)).length)
		return moved + moveNotices(store, from, { to, most: most - moved });
	return moved;
}

/**
 * Hands what was written for a session over to those that continue it, if there are any. Called after
 * the write: a session that starts meanwhile either finds what was written or is found here.
 */
function passOn(
	store: Store,
	session: string,
	{ isDue = false }: { isDue?: boolean } = {},
): void {
	const seen = new Set([session]);
	for (let at = session; ; ) {
		const next = findNext(store, at);
		if (!isKnownSession(next) || seen.has(next)) return;
		createIn(store, noticeFolder(store, next), `.from.${at}`);
		if (isDue) {
			touch(dueMark(store, next));
			rmSync(dueMark(store, at), { force: true });
		}
		seen.add(next);
		at = next;
	}
}

/** Turns an entry into one whose notice was given and whose end no answer has shown. */
function markUnseen(store: Store, session: string, { id, file }: NoticeClaim) {
	try {
		makeFolder(store, unseenFolder(store, session));
		moveFile(file, `${unseenFolder(store, session)}/${id}`);
	} catch {
		// On a full disk: `wait` does not return it, and the notice is not given again.
	}
	// The notice was given: a removal that fails once must not give it again.
	retryChange(() => removeFile(file));
}

/** The ended sessions whose entries are being handed over, by the names in a folder. */
const handoversIn = (names: readonly string[]) =>
	names
		.filter((name) => name.startsWith(".from."))
		.map((name) => name.slice(".from.".length))
		.filter(isKnownSession);

/** Parses the entries among the names in a folder; oldest task first. */
function parseEntries(names: readonly string[]): Notice[] {
	return names.toSorted().flatMap((name): Notice[] => {
		const [, id = "", due, , holder, other] =
			/^([^.]+)(?:(\.due(@(.+))?)|\.(told|note))?$/.exec(name) ?? [];
		if (!idPattern.test(id)) return [];
		const ended = holder ? "claimed" : due ? "due" : "awaited";
		const state = (other as "told" | "note" | undefined) ?? ended;
		return [{ id, name, state, holder }];
	});
}
