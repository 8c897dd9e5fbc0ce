/**
 * Files of the store: read without trust, written as a whole. A link is not followed, a pipe not
 * waited for, and nothing read that another user made or could change; whoever reads sees the old
 * file or the new one.
 */
import {
	closeSync,
	constants,
	fstatSync,
	fsyncSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readSync,
	renameSync,
	rmdirSync,
	rmSync,
	type Stats,
	unlinkSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { BgError, errorCode, errorMessage, refused } from "../error.ts";
import {
	checkLiveness,
	claimName,
	identifySelf,
	parseClaimName,
} from "../process/identity.ts";
import { folderPath, type Store } from "./paths.ts";

/** The most that a file of the store may hold if it is read as a whole, in bytes. */
export const maxFileBytes = 1024 * 1024;

/** Runs what makes something on disk; a failure is the machine's, and said as such. */
export function wrapWriteErrors<T>(path: string, action: () => T): T {
	try {
		return action();
	} catch (error) {
		if (error instanceof BgError) throw error;
		throw refused(`unable to write ${path}: ${errorMessage(error)}`);
	}
}

/** Writes a file of the task for its owner alone. */
export function writePrivateFile(path: string, text: string): void {
	wrapWriteErrors(path, () =>
		writeFileSync(path, text, { mode: 0o600, flag: "wx" }),
	);
}

/**
 * Makes an empty file, or leaves the one that is there. (Deno's `writeFileSync` fails where another
 * process unlinks the file meanwhile.)
 */
export function touch(path: string): void {
	const { O_WRONLY, O_APPEND, O_CREAT } = constants;
	closeSync(openUnfollowed(path, O_WRONLY | O_APPEND | O_CREAT));
}

/** Makes an empty file in a folder that is made with its first file and may be swept away with its last. */
export function createIn(store: Store, folder: string, name: string): void {
	for (let tries = 0; ; tries++)
		try {
			makeFolder(store, folder);
			touch(`${folder}/${name}`);
			return;
		} catch (error) {
			if (errorCode(error) !== "ENOENT" || tries === 99) throw error;
		}
}

/** Makes an empty file; false where there is one already, which somebody else was first to make. */
export function createExclusive(path: string): boolean {
	try {
		closeSync(openSync(path, "wx", 0o600));
		return true;
	} catch (error) {
		if (errorCode(error) === "EEXIST") return false;
		throw error;
	}
}

/** Renames a file; false where there is none, which somebody else was first to rename or remove. */
export function moveFile(from: string, to: string): boolean {
	try {
		renameSync(from, to);
		return true;
	} catch (error) {
		if (errorCode(error) === "ENOENT") return false;
		throw error;
	}
}

/** Removes a file; false where there is none, which somebody else was first to remove. */
export function removeFile(path: string): boolean {
	try {
		unlinkSync(path);
		return true;
	} catch (error) {
		if (errorCode(error) === "ENOENT") return false;
		throw error;
	}
}

/**
 * Refuses what another user made, or could change: of a store all is its owner's alone.
 * @throws BgError (refused) that says what to do.
 */
export function assertOwned(
	{ owner = process.geteuid?.() ?? 0 }: Store,
	path: string,
	{ uid, mode }: Stats,
): void {
	if (uid !== owner)
		throw refused(
			`${path} belongs to another user (uid ${uid}): remove it, or give it its owner back`,
		);
	if (mode & 0o022)
		throw refused(
			`${path} can be written by others: chmod go-w it once you trust what is in it`,
		);
}

/** Refuses a folder that is none, or a link to one: what is behind it may be anybody's. */
export function assertFolder(store: Store, path: string, status: Stats): void {
	if (status.isSymbolicLink()) throw linkError(path);
	if (!status.isDirectory())
		throw refused(`${path} is not a folder: remove it`);
	assertOwned(store, path, status);
}

/** Makes a folder of the store for its owner alone, or takes the one that is there. */
export function makeFolder(store: Store, path: string): void {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (status) assertFolder(store, path, status);
	else
		try {
			mkdirSync(path, { recursive: true, mode: 0o700 });
		} catch (error) {
			// Bun says so of a folder that somebody removes meanwhile.
			if (errorCode(error) !== "EEXIST") throw error;
		}
}

/** Root may look at another user's store, and leaves nothing of its own in it. */
export function assertWritable({ dir, owner, isForeign }: Store): void {
	if (isForeign)
		throw refused(
			`${dir} belongs to another user (uid ${owner}): root only looks at it (call bg as that user, or set BG_DIR)`,
		);
}

/**
 * Reads a file of the store as text with as few system calls as possible. It follows no link and
 * waits for no pipe, but does not check the owner.
 * @throws BgError (refused) if the file is larger than `maxFileBytes`.
 */
export function readTrusted(path: string): string {
	const fd = openUnfollowed(path, constants.O_RDONLY);
	try {
		return readText(fd, path, maxFileBytes);
	} finally {
		closeSync(fd);
	}
}

/**
 * Reads a file of the store as text.
 * @throws BgError (refused) if the file is larger than `most` bytes.
 */
export function readFile(
	store: Store,
	path: string,
	most = maxFileBytes,
): string {
	const fd = openFile(store, path, constants.O_RDONLY);
	try {
		return readText(fd, path, most);
	} finally {
		closeSync(fd);
	}
}

/** Opens a file of the store. */
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

let nonce = 0;
export const uniqueHolderName = () =>
	claimName(identifySelf(), String(nonce++));

/** Replaces a file as a whole: whoever reads sees the old one or the new one. */
export function replaceFile(
	store: Store,
	path: string,
	text: string,
	durable: boolean,
): void {
	assertWritable(store);
	const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
	const fd = openSync(temporary, "wx", 0o600);
	try {
		try {
			const bytes = new TextEncoder().encode(text);
			for (let done = 0; done < bytes.length; )
				done += writeSync(fd, bytes, done);
			if (durable) fsyncSync(fd);
		} finally {
			closeSync(fd);
		}
		renameSync(temporary, path);
	} catch (error) {
		discard(temporary);
		throw error;
	}
}

/** Removes a file if possible. A failure is ignored: the error that led here matters more. */
export function discard(path: string): void {
	try {
		unlinkSync(path);
	} catch {}
}

/** Removes a folder if it is empty; what is not stays. */
export function removeEmptyFolder(folder: string): void {
	try {
		rmdirSync(folder);
	} catch {}
}

/** Removes what stands in a folder under the names of processes that are gone. */
export function removeDeadClaims(
	folder: string,
	names: readonly string[],
): void {
	for (const name of names) {
		const holder = parseClaimName(name);
		if (holder && checkLiveness(holder) === "gone")
			rmSync(`${folder}/${name}`, { recursive: true, force: true });
	}
}

/** The names in a folder of the store; none where it is not there. */
export function listNames(store: Store, folder: string): string[] {
	try {
		const status = lstatSync(folder, { throwIfNoEntry: false });
		if (!status) return [];
		// The folder of all may be a link: that was looked at when it was opened.
		if (folder !== store.dir) assertFolder(store, folder, status);
		return readdirSync(folder);
	} catch (error) {
		if (errorCode(error) === "ENOENT") return [];
		if (error instanceof BgError) throw error;
		throw refused(`unable to read ${folder}: ${errorMessage(error)}`);
	}
}

// --- internal ---

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Allocated once; the system backs only the pages that are written. */
let buffer: Uint8Array | undefined;

/** Reads to the end of a file, at most `most` bytes. */
function readText(fd: number, path: string, most: number): string {
	if (!buffer || buffer.length <= most) buffer = new Uint8Array(most + 1);
	let length = 0;
	while (length <= most) {
		const read = readSync(fd, buffer, length, most + 1 - length, null);
		if (read === 0) return decoder.decode(buffer.subarray(0, length));
		length += read;
	}
	throw refused(
		`${path} is too large (more than ${most / 2 ** 20} MiB): move it away`,
	);
}

const linkError = (path: string) =>
	refused(`${path} is a link, and bg follows none: remove it`);

/** Opens without following a link or waiting for who is at the other end of a pipe. */
function openUnfollowed(path: string, flags: number): number {
	const { O_NOFOLLOW, O_NONBLOCK } = constants;
	return refuseLinks(path, () =>
		openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600),
	);
}

function refuseLinks<T>(path: string, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw errorCode(error) === "ELOOP" ? linkError(path) : error;
	}
}
