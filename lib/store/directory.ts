/**
 * The directory of the store: made for its owner alone, refused where somebody else could have put
 * records there, or where a part of it lies elsewhere. Root may look at another user's.
 */
import {
	chmodSync,
	closeSync,
	constants,
	fstatSync,
	lstatSync,
	mkdirSync,
	readdirSync,
	type Stats,
	statSync,
	writeSync,
} from "node:fs";
import { errorCode, errorMessage, refused } from "../error.ts";
import {
	assertFolder,
	assertWritable,
	makeFolder,
	openFile,
	wrapWriteErrors,
} from "./files.ts";
import {
	folders,
	type LogSource,
	logFile,
	type Store,
	storeDir,
} from "./paths.ts";
import { markIndexComplete } from "./session-index.ts";

const maxLogBytes = 1024 * 1024;

/**
 * Opens the directory; to write, makes it and its folders and narrows it to its owner.
 * @throws BgError (refused) where somebody else could have put records there.
 */
export function openStore({
	dir = storeDir(),
	write = false,
}: {
	dir?: string;
	write?: boolean;
} = {}): Store {
	if (write)
		wrapWriteErrors(dir, () =>
			mkdirSync(dir, { recursive: true, mode: 0o700 }),
		);
	const status = statOwnedDirectory(dir);
	if (!status) return { dir };
	const store = toStore(dir, status);
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
	const hasRecords = isNew && assertStoreFolder(dir, status);
	if (status.mode & 0o077) wrapWriteErrors(dir, () => chmodSync(dir, 0o700));
	for (const path of missing)
		wrapWriteErrors(path, () => makeFolder(store, path));
	if (isNew && !hasRecords)
		wrapWriteErrors(dir, () => markIndexComplete(store));
	return store;
}

/** Notes a fault of a supervisor or a hook, which have nobody to tell; nothing in what is not ours. */
export function logFault(
	{ dir }: Store,
	source: LogSource,
	line: string,
): void {
	const { O_WRONLY, O_APPEND, O_CREAT } = constants;
	try {
		const status = statOwnedDirectory(dir);
		if (!status) return;
		const store = toStore(dir, status);
		assertWritable(store);
		const path = logFile(store, source);
		const fd = openFile(store, path, O_WRONLY | O_APPEND | O_CREAT);
		try {
			if (fstatSync(fd).size < maxLogBytes)
				writeSync(fd, `${new Date().toISOString()} ${line}\n`);
		} finally {
			closeSync(fd);
		}
	} catch {}
}

// --- internal ---

const currentUid = () => process.geteuid?.() ?? 0;

function toStore(dir: string, { uid: owner }: Stats): Store {
	return { dir, owner, ...(owner !== currentUid() && { isForeign: true }) };
}

/**
 * Refuses a directory in which another user could have put records, but for root, which may look at
 * any user's. Undefined where there is none.
 */
function statOwnedDirectory(dir: string): Stats | undefined {
	const link = statOrRefuse(dir, lstatSync);
	if (!link) return undefined;
	const isLink = link.isSymbolicLink();
	if (isLink && link.uid !== currentUid() && link.uid !== 0)
		throw refused(
			`${dir} is a link that another user made: set BG_DIR to a folder of yours`,
		);
	const status = isLink ? statOrRefuse(dir, statSync) : link;
	if (!status?.isDirectory())
		throw refused(`${dir} is not a folder: set BG_DIR to one`);
	if (status.uid !== currentUid() && currentUid() !== 0)
		throw refused(
			`${dir} belongs to another user (uid ${status.uid}): set BG_DIR to a folder of yours`,
		);
	if (status.mode & 0o022)
		throw refused(
			`${dir} can be written by others: once you trust what is in it, chmod -R go-w ${dir}`,
		);
	return status;
}

/**
 * Whether a folder that has never been a store of ours holds records. Somebody's folder of other
 * things, open to others, is not closed to them by a slip of BG_DIR.
 */
function assertStoreFolder(dir: string, { mode }: Stats): boolean {
	const names = wrapWriteErrors(dir, () => readdirSync(dir));
	const hasRecords = names.some((name) => /^bg_.*\.json$/.test(name));
	const others = names.filter((name) => !name.startsWith("."));
	if (mode & 0o077 && others.length && !hasRecords)
		throw refused(
			`${dir} holds other things (${others[0]}): set BG_DIR to a folder for bg alone`,
		);
	return hasRecords;
}

function statOrRefuse(
	path: string,
	read: (path: string) => Stats,
): Stats | undefined {
	try {
		return read(path);
	} catch (error) {
		if (errorCode(error) === "ENOENT") return undefined;
		throw refused(`unable to use ${path}: ${errorMessage(error)}`);
	}
}
