/**
 * Files of the store. Reads follow no link, wait for no pipe, and refuse what another user made or could
 * change. A file is replaced by rename, so a reader sees the old content or the new one.
 */
import {
	closeSync,
	constants,
	fsync,
	fsyncSync,
	lstatSync,
	openSync,
	readdirSync,
	readSync,
	renameSync,
	rmdirSync,
	unlinkSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import {
	BgError,
	errorCode,
	errorMessage,
	ifExists,
	refused,
	wrapWriteErrors,
} from "../error.ts";
import { claimName, identifySelf } from "../process/identity.ts";
import {
	appendFlags,
	assertFolder,
	assertWritable,
	makeFolder,
	openFile,
	openUnfollowed,
} from "./directory.ts";
import { folderPath, type Store } from "./paths.ts";

/** The most that a file of the store may hold to be read whole, in bytes. */
export const maxFileBytes = 1024 * 1024;

/** Writes a new file with mode 0600. @throws BgError (refused) if it exists or cannot be written. */
export function writePrivateFile(
	path: string,
	text: string | Uint8Array,
): void {
	wrapWriteErrors(path, () =>
		writeFileSync(path, text, { mode: 0o600, flag: "wx" }),
	);
}

/**
 * Creates an empty file unless it exists. (Deno's `writeFileSync` fails if another process unlinks the
 * file meanwhile.)
 */
export function touch(path: string): void {
	closeSync(openUnfollowed(path, appendFlags));
}

/** Creates an empty file and its folder. Another process may remove the empty folder in between. */
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

/** Creates an empty file. Returns false if it exists: another process created it first. */
export function createExclusive(path: string): boolean {
	try {
		closeSync(openSync(path, "wx", 0o600));
		return true;
	} catch (error) {
		if (errorCode(error) === "EEXIST") return false;
		throw error;
	}
}

/** Renames a file. Returns false if it is missing: another process renamed or removed it first. */
export const moveFile = (from: string, to: string): boolean =>
	isDone(() => renameSync(from, to));

/**
 * Repeats a change that failed, twice at most. For a change without which something would be done again.
 * @throws the last error.
 */
export function retryChange<T>(change: () => T): T {
	for (let tries = 1; ; tries++)
		try {
			return change();
		} catch (error) {
			if (tries === changeTries) throw error;
		}
}

const changeTries = 3;

/** Removes a file. Returns false if it is missing: another process renamed or removed it first. */
export const removeFile = (path: string): boolean =>
	isDone(() => unlinkSync(path));

/**
 * Reads a file of the store as text with as few system calls as possible. It follows no link and
 * waits for no pipe, but does not check the owner.
 * @throws BgError (refused) if the file is larger than `maxFileBytes`; the system's error otherwise.
 */
export function readTrusted(path: string): string {
	const fd = openUnfollowed(path, constants.O_RDONLY);
	return readText(fd, path, maxFileBytes, decodeOften);
}

/**
 * Reads a file of the store as text.
 * @throws BgError (refused) if it is larger than `most` bytes or not the owner's; the system's error
 * otherwise.
 */
export function readFile(
	store: Store,
	path: string,
	most = maxFileBytes,
): string {
	return readText(openFile(store, path, constants.O_RDONLY), path, most);
}

let nonce = 0;

/** A name for a claim of this process. Each call returns another one. */
export const uniqueHolderName = () =>
	claimName(identifySelf(), String(nonce++));

/** A file to write. */
type Replacement = {
	path: string;
	text: string;
	/** Whether the content is on disk before the rename (fsync). */
	durable?: boolean;
};

/** Replaces a file: a reader sees the old content or the new one. */
export function replaceFile(store: Store, file: Replacement): void {
	const { path, durable } = file;
	const { fd, temporary } = writeTemporary(store, file);
	try {
		try {
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

/**
 * Like replaceFile with `durable`, but other work of this process goes on while the disk writes: that may
 * take seconds, and writes that are under way together are made durable together.
 */
export async function replaceFileAsync(
	store: Store,
	file: Replacement,
): Promise<void> {
	const { fd, temporary } = writeTemporary(store, file);
	try {
		try {
			await new Promise<void>((resolve, reject) =>
				fsync(fd, (error) => (error ? reject(error) : resolve())),
			);
		} finally {
			closeSync(fd);
		}
		renameSync(temporary, file.path);
	} catch (error) {
		discard(temporary);
		throw error;
	}
}

/** Removes a file if possible. A failure is ignored: the caller's own error matters more. */
export function discard(path: string): void {
	try {
		unlinkSync(path);
	} catch {}
}

/** Removes a folder if it is empty. */
export function removeEmptyFolder(folder: string): void {
	try {
		rmdirSync(folder);
	} catch {}
}

/**
 * Lists the names in a folder of the store; none if it is missing.
 * @throws BgError (refused) if it cannot be read or is not the owner's.
 */
export function listNames(store: Store, folder: string): string[] {
	try {
		const status = lstatSync(folder, { throwIfNoEntry: false });
		if (!status) return [];
		// The store's own folder may be a link: it was checked when it was opened.
		if (folder !== store.dir) assertFolder(store, folder, status);
		return ifExists(() => readdirSync(folder)) ?? [];
	} catch (error) {
		if (error instanceof BgError) throw error;
		throw refused(`unable to read ${folder}: ${errorMessage(error)}`);
	}
}

/** Whether a path is certainly not a regular file. Opening a socket is a system error. */
export function isSpecial(path: string): boolean {
	try {
		return !lstatSync(path).isFile();
	} catch {
		return false;
	}
}

// --- internal ---

/** Writes the content of a file that is to be replaced. The caller closes and renames it. */
function writeTemporary(
	store: Store,
	{ text }: Replacement,
): { fd: number; temporary: string } {
	assertWritable(store);
	const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
	const fd = openSync(temporary, "wx", 0o600);
	try {
		const bytes = new TextEncoder().encode(text);
		for (let done = 0; done < bytes.length; )
			done += writeSync(fd, bytes, done);
	} catch (error) {
		closeSync(fd);
		discard(temporary);
		throw error;
	}
	return { fd, temporary };
}

/** Runs an action on a file. Returns false if the file is missing. */
const isDone = (action: () => void): boolean =>
	ifExists(() => {
		action();
		return true;
	}) ?? false;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Allocated once. The system backs only the pages that are written. */
let buffer: Uint8Array | undefined;

const decode = (bytes: Uint8Array, length: number) =>
	decoder.decode(bytes.subarray(0, length));

let view: Buffer | undefined;

/** Like `decode`; slower the first time, because Buffer must be loaded, and faster for 10,000 files. */
function decodeOften(bytes: Uint8Array, length: number): string {
	if (view?.buffer !== bytes.buffer) view = Buffer.from(bytes.buffer);
	return view.toString("utf8", 0, length);
}

/** Reads an open file to its end, at most `most` bytes, and closes it. */
function readText(
	fd: number,
	path: string,
	most: number,
	toText = decode,
): string {
	try {
		if (!buffer || buffer.length <= most) buffer = new Uint8Array(most + 1);
		for (let length = 0; length <= most; ) {
			const space = most + 1 - length;
			const read = readSync(fd, buffer, length, space, null);
			length += read;
			// A file is read short only at its end. Its name gets another file when it is replaced.
			if (read < space && length <= most) return toText(buffer, length);
		}
	} finally {
		closeSync(fd);
	}
	throw refused(
		`${path} is too large (more than ${most / 2 ** 20} MiB): move it away`,
	);
}
