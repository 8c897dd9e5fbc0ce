/**
 * The directory of the store: how it is opened and which files in it are trusted. Everything in it
 * belongs to one user and only that user can write it. What another user made or could change is
 * refused, because a record says which command to run and which process to signal. Root may read another
 * user's store and changes nothing in it.
 */
import {
	chmodSync,
	closeSync,
	constants,
	fstatSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readlinkSync,
	type Stats,
	statSync,
	writeSync,
} from "node:fs";
import {
	errorCode,
	errorMessage,
	ifExists,
	refused,
	wrapWriteErrors,
} from "../error.ts";
import {
	folders,
	indexMark,
	type LogSource,
	logFile,
	type Store,
	storeDir,
} from "./paths.ts";

/** Flags that append to a file and create it if it is missing. */
export const appendFlags =
	constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT;

/** The most that a log of faults may hold, in bytes. */
const maxLogBytes = 1024 * 1024;

/**
 * Opens the directory. With `write`, creates it and its folders and removes the permissions of others.
 * @throws BgError (refused) if another user could have put records there, or if it cannot be written.
 */
export function openStore({
	dir = storeDir(),
	write = false,
}: {
	dir?: string;
	write?: boolean;
} = {}): Store {
	let found = findStore(dir);
	if (write && !found) {
		wrapWriteErrors(dir, () =>
			mkdirSync(dir, { recursive: true, mode: 0o700 }),
		);
		found = findStore(dir);
	}
	if (!found) return { dir };
	const { store, mode } = found;
	if (write) assertWritable(store);
	const missing = Object.values(folders)
		.map((name) => `${dir}/${name}`)
		.filter((path) => {
			const folder = statOrRefuse(path, lstatSync);
			if (folder) assertFolder(store, path, folder);
			return !folder;
		});
	if (!write) return store;
	const isNew = missing.includes(`${dir}/${folders.sessions}`);
	const hasRecords = isNew && assertStoreFolder(dir, mode);
	if (mode & 0o077) wrapWriteErrors(dir, () => chmodSync(dir, 0o700));
	for (const path of missing)
		wrapWriteErrors(path, () => makeFolder(store, path));
	if (isNew && !hasRecords)
		wrapWriteErrors(dir, () =>
			closeSync(openUnfollowed(indexMark(store), appendFlags)),
		);
	return store;
}

/**
 * Appends a fault of a supervisor or a hook, which have no terminal, to its log. Does nothing if the log
 * is full, cannot be written or is in another user's store.
 */
export function logFault(
	{ dir }: Store,
	source: LogSource,
	line: string,
): void {
	try {
		const found = findStore(dir);
		if (!found) return;
		assertWritable(found.store);
		const path = logFile(found.store, source);
		const fd = openFile(found.store, path, appendFlags);
		try {
			if (fstatSync(fd).size < maxLogBytes)
				writeSync(fd, `${new Date().toISOString()} ${line}\n`);
		} finally {
			closeSync(fd);
		}
	} catch {}
}

/**
 * Refuses what is not a folder of the store's owner. A link may lead anywhere.
 * @throws BgError (refused) that says what to do.
 */
export function assertFolder(store: Store, path: string, status: Stats): void {
	if (status.isSymbolicLink()) throw linkError(path);
	if (!status.isDirectory())
		throw refused(`${path} is not a folder: remove it`);
	assertOwned(store, path, status);
}

/** Refuses to write as root to another user's store. @throws BgError (refused) */
export function assertWritable({ dir, owner, isForeign }: Store): void {
	if (isForeign)
		throw refused(
			`${dir} belongs to another user (uid ${owner}): root only reads it (call bg as that user, or set BG_DIR)`,
		);
}

/** Creates a folder of the store (mode 0700), or checks the one that exists like assertFolder. */
export function makeFolder(store: Store, path: string): void {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (status) assertFolder(store, path, status);
	else
		try {
			mkdirSync(path, { recursive: true, mode: 0o700 });
		} catch (error) {
			// Bun reports this if another process removes the folder meanwhile.
			if (errorCode(error) !== "EEXIST") throw error;
		}
}

/**
 * Opens a regular file of the store.
 * @returns its descriptor.
 * @throws BgError (refused) if it is not the owner's; the system's error otherwise.
 */
export function openFile(store: Store, path: string, flags: number): number {
	const fd = openUnfollowed(path, flags);
	try {
		const status = fstatSync(fd);
		if (!status.isFile()) throw refused(`${path} is not a file: remove it`);
		assertOwned(store, path, status);
		return fd;
	} catch (error) {
		closeSync(fd);
		throw error;
	}
}

/** Opens a file without following a link or waiting for the other end of a pipe. */
export function openUnfollowed(path: string, flags: number): number {
	const { O_NOFOLLOW, O_NONBLOCK } = constants;
	try {
		return openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600);
	} catch (error) {
		throw errorCode(error) === "ELOOP" ? linkError(path) : error;
	}
}

// --- internal ---

const currentUid = () => process.geteuid?.() ?? 0;

/**
 * Finds the folder of a store and its owner.
 * @returns the store and the mode of its folder; undefined if the folder is missing.
 * @throws BgError (refused) if another user could have put records there.
 */
function findStore(dir: string): { store: Store; mode: number } | undefined {
	const ownUid = currentUid();
	const link = statOrRefuse(dir, lstatSync);
	if (!link) return undefined;
	const isLink = link.isSymbolicLink();
	if (isLink && link.uid !== ownUid && link.uid !== 0)
		throw refused(
			`${dir} is a link that another user made: set BG_DIR to a folder of yours`,
		);
	const status = isLink ? statOrRefuse(dir, statSync) : link;
	if (!status)
		throw refused(
			`${dir} is a link to ${readlinkSync(dir)}, which does not exist: create that folder, or ${otherFolder()}`,
		);
	if (!status.isDirectory())
		throw refused(
			`${dir} is ${isLink ? "a link to a file" : "a file"}, not a folder: ${otherFolder()}`,
		);
	const { uid: owner, mode } = status;
	const isForeign = owner !== ownUid;
	if (isForeign && ownUid !== 0)
		throw refused(
			`${dir} belongs to another user (uid ${owner}): set BG_DIR to a folder of yours`,
		);
	if (mode & 0o022)
		throw refused(
			`${dir} can be written by others: once you trust its contents, chmod -R go-w ${dir}`,
		);
	return { store: { dir, owner, ...(isForeign && { isForeign }) }, mode };
}

/**
 * Refuses a folder that was never a store, is open to others and holds other files: a mistyped BG_DIR
 * must not remove the permissions of others.
 * @returns whether it holds records.
 */
function assertStoreFolder(dir: string, mode: number): boolean {
	const names = wrapWriteErrors(dir, () => readdirSync(dir));
	const hasRecords = names.some((name) => /^bg_.*\.json$/.test(name));
	const others = names.filter((name) => !name.startsWith("."));
	if (mode & 0o077 && others.length && !hasRecords)
		throw refused(
			`${dir} holds other files (${others[0]}): set BG_DIR to a folder for bg alone`,
		);
	return hasRecords;
}

/** What to do if the folder of the store cannot be one. */
const otherFolder = () =>
	process.env.BG_DIR
		? "set BG_DIR to a folder, or unset it"
		: "remove it, or set BG_DIR to a folder";

/** Reads the status of a path; undefined if nothing is there. Refuses what cannot be read. */
function statOrRefuse(
	path: string,
	read: (path: string) => Stats,
): Stats | undefined {
	try {
		return ifExists(() => read(path));
	} catch (error) {
		throw refused(`unable to use ${path}: ${errorMessage(error)}`);
	}
}

/** The error for a path that is a symbolic link. */
const linkError = (path: string) =>
	refused(`${path} is a link, which bg does not follow: remove it`);

/** Refuses a file or folder that another user made or could change. */
function assertOwned(
	{ owner = currentUid() }: Store,
	path: string,
	{ uid, mode }: Stats,
): void {
	if (uid !== owner)
		throw refused(
			`${path} belongs to another user (uid ${uid}): remove it or restore its owner`,
		);
	if (mode & 0o022)
		throw refused(
			`${path} can be written by others: once you trust its contents, chmod go-w it`,
		);
}
