/**
 * Notices: a session is told, once, of the end of each task it launched. An entry exists before the
 * record. The end renames it to `.due`, then touches the session's mark. Whoever tells claims an
 * entry by renaming it to its own name, prints, and unlinks it; of two hooks at the same moment one
 * wins. The mark goes last, and comes back where something fell due meanwhile. The claim of a hook
 * that died is taken over: told twice at worst, never lost.
 */
import { rmSync } from "node:fs";
import {
	checkWritable,
	makeFolder,
	moveFile,
	namesIn,
	ownName,
	removeEmpty,
	touch,
	touchIn,
} from "./files.ts";
import { dueMark, inStore, type Store } from "./names.ts";
import { idPattern, sessionPattern } from "./patterns.ts";
import { liveness, parseHolder } from "./process.ts";
import { readSessionNote } from "./sessions.ts";

/** An entry that is being told; `file` is unlinked once it was. */
export type Claim = { id: string; file: string };

/** Nobody is called `main`: it stands for a session that is not known. */
const isKnown = (session: string | undefined): session is string =>
	session !== undefined && session !== "main" && sessionPattern.test(session);

/** Makes the entry of a task that is about to be recorded. */
export function expectNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnown(session)) return;
	touchIn(store, folderOf(store, session), id);
}

/** The task ended: its notice is due, in its session or, where that ended, in its caller's. */
export function fallDue(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	const seen = new Set<string>();
	for (let at = session; isKnown(at) && !seen.has(at); ) {
		seen.add(at);
		if (
			moveFile(
				`${folderOf(store, at)}/${id}`,
				`${folderOf(store, at)}/${id}.due`,
			)
		) {
			markDue(store, at);
			return;
		}
		at = readSessionNote(store, at, "caller");
	}
}

/** What a session has not been told: ids that are due, and ids whose end is still awaited. */
export function readNotices(
	store: Store,
	session: string,
): { due: string[]; awaited: string[] } {
	const due: string[] = [];
	const awaited: string[] = [];
	if (isKnown(session))
		for (const name of namesIn(store, folderOf(store, session))) {
			const { id, state } = parseEntry(name);
			if (!id) continue;
			if (state === "awaited") awaited.push(id);
			else due.push(id);
		}
	return { due: due.sort(), awaited: awaited.sort() };
}

/** Claims what is due, also what a hook that died had claimed. */
export function claimNotices(store: Store, session: string): Claim[] {
	if (!isKnown(session)) return [];
	const folder = folderOf(store, session);
	const claims: Claim[] = [];
	for (const name of namesIn(store, folder).sort()) {
		const { id, state, holder } = parseEntry(name);
		if (!id || state === "awaited") continue;
		const claimer = holder && parseHolder(holder);
		if (state === "claimed" && claimer && liveness(claimer) !== "gone")
			continue;
		const file = `${folder}/${id}.due@${ownName()}`;
		if (moveFile(`${folder}/${name}`, file)) claims.push({ id, file });
	}
	return claims;
}

/** What a hook that died was about to tell is due again; where nothing is left, the folder goes. */
export function sweepNotices(store: Store, session: string): void {
	if (!isKnown(session)) return;
	const folder = folderOf(store, session);
	let isDue = false;
	for (const name of namesIn(store, folder)) {
		const { id, holder } = parseEntry(name);
		const claimer = holder && parseHolder(holder);
		if (!id || !claimer || liveness(claimer) !== "gone") continue;
		isDue = moveFile(`${folder}/${name}`, `${folder}/${id}.due`) || isDue;
	}
	if (isDue) markDue(store, session);
	removeEmpty(folder);
}

/** The claims were told. The mark goes, unless something fell due meanwhile. */
export function settleNotices(
	store: Store,
	session: string,
	claims: readonly Claim[],
): void {
	if (!isKnown(session)) return;
	for (const { file } of claims) rmSync(file, { force: true });
	rmSync(dueMark(store, session), { force: true });
	if (readNotices(store, session).due.length) markDue(store, session);
}

/** The session has seen the end by itself, or wanted it: there is nothing left to tell. */
export function dropNotice(
	store: Store,
	session: string | undefined,
	id: string,
): void {
	if (!isKnown(session)) return;
	checkWritable(store);
	for (const suffix of ["", ".due"])
		rmSync(`${folderOf(store, session)}/${id}${suffix}`, { force: true });
}

/** A session ended: what it was not told goes to its caller. */
export function passOnNotices(store: Store, from: string, to: string): void {
	if (!isKnown(from) || !isKnown(to) || from === to) return;
	// An entry may fall due between a look and its renaming, and an empty folder may be swept away:
	// look until none is left.
	for (let isLeft = true; isLeft; ) {
		isLeft = false;
		makeFolder(store, folderOf(store, to));
		for (const name of namesIn(store, folderOf(store, from))) {
			const { id, state } = parseEntry(name);
			if (!id) continue;
			isLeft = true;
			const entry = state === "awaited" ? id : `${id}.due`;
			const isMoved = moveFile(
				`${folderOf(store, from)}/${name}`,
				`${folderOf(store, to)}/${entry}`,
			);
			if (isMoved && state !== "awaited") markDue(store, to);
		}
	}
	removeEmpty(folderOf(store, from));
}

export function markDue(store: Store, session: string): void {
	if (isKnown(session)) touch(dueMark(store, session));
}

// --- internal ---

const folderOf = (store: Store, session: string) =>
	`${inStore(store, "notices")}/${session}`;

type Entry = {
	id?: string;
	state: "awaited" | "due" | "claimed";
	holder?: string | undefined;
};

function parseEntry(name: string): Entry {
	const [, id = "", due, , holder] =
		/^([^.]+)(\.due(@(.+))?)?$/.exec(name) ?? [];
	const state = holder ? "claimed" : due ? "due" : "awaited";
	return idPattern.test(id) ? { id, state, holder } : { state };
}
