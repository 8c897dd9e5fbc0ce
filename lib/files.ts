/**
 * Files of the store: read without trust, written as a whole. A link is not followed and a pipe not
 * waited for, for neither is ours; whoever reads sees the old file or the new one.
 */
import {
	closeSync,
	constants,
	fstatSync,
	fsyncSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	renameSync,
	rmdirSync,
	unlinkSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { BgError, codeOf, messageOf } from "./error.ts";
import { inStore, type Store } from "./names.ts";
import { formatHolder, self } from "./process.ts";

/** Runs what makes something on disk; a failure is the machine's, and said as such. */
export function making<T>(path: string, act: () => T): T {
	try {
		return act();
	} catch (error) {
		throw new BgError(
			"refused",
			`unable to write ${path}: ${messageOf(error)}`,
		);
	}
}

/** Writes a file of the task for its owner alone. */
export function writePrivate(path: string, text: string): void {
	making(path, () => writeFileSync(path, text, { mode: 0o600, flag: "wx" }));
}

/**
 * Makes an empty file, or leaves the one that is there. (Deno's `writeFileSync` fails where another
 * process unlinks the file meanwhile.)
 */
export function touch(path: string): void {
	closeSync(openSync(path, "a", 0o600));
}

/** Makes a folder, or leaves the one that is there. */
export function makeFolder(folder: string): void {
	try {
		mkdirSync(folder, { recursive: true, mode: 0o700 });
	} catch (error) {
		// Bun says so of a folder that somebody removes meanwhile.
		if (codeOf(error) !== "EEXIST") throw error;
	}
}

/** Makes an empty file in a folder that is made with its first file and may be swept away with its last. */
export function touchIn(folder: string, name: string): void {
	for (let tries = 0; ; tries++)
		try {
			makeFolder(folder);
			touch(`${folder}/${name}`);
			return;
		} catch (error) {
			if (codeOf(error) !== "ENOENT" || tries === 99) throw error;
		}
}

/** Makes an empty file; false where there is one already, which somebody else was first to make. */
export function claimFile(path: string): boolean {
	try {
		closeSync(openSync(path, "wx", 0o600));
		return true;
	} catch (error) {
		if (codeOf(error) === "EEXIST") return false;
		throw error;
	}
}

/** Renames a file; false where there is none, which somebody else was first to rename or remove. */
export function moveFile(from: string, to: string): boolean {
	try {
		renameSync(from, to);
		return true;
	} catch (error) {
		if (codeOf(error) === "ENOENT") return false;
		throw error;
	}
}

/** Removes a file; false where there is none, which somebody else was first to remove. */
export function takeFile(path: string): boolean {
	try {
		unlinkSync(path);
		return true;
	} catch (error) {
		if (codeOf(error) === "ENOENT") return false;
		throw error;
	}
}

/** Reads a file of the store: of a pipe nothing is waited for, a link is an error. */
export function readFile(path: string): string {
	const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
	const flag = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
	return readFileSync(path, { encoding: "utf8", flag });
}

/** Opens a file of the store. A link is not followed, a pipe not waited for: neither is ours. */
export function openFile(path: string, flags: number): number {
	const { O_NOFOLLOW, O_NONBLOCK } = constants;
	const fd = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600);
	if (fstatSync(fd).isFile()) return fd;
	closeSync(fd);
	throw new BgError("refused", `${path} is not a file`);
}

let nonce = 0;
export const ownName = () => formatHolder(self(), String(nonce++));

/** Replaces a file as a whole: whoever reads sees the old one or the new one. */
export function replaceFile(
	store: Store,
	path: string,
	text: string,
	durable: boolean,
): void {
	const temporary = `${inStore(store, "temporary")}/${ownName()}`;
	const fd = openSync(temporary, "wx", 0o600);
	try {
		const bytes = new TextEncoder().encode(text);
		for (let done = 0; done < bytes.length; )
			done += writeSync(fd, bytes, done);
		if (durable) fsyncSync(fd);
	} catch (error) {
		unlinkSync(temporary);
		throw error;
	} finally {
		closeSync(fd);
	}
	renameSync(temporary, path);
}

/** Removes a folder if it is empty; what is not stays. */
export function removeEmpty(folder: string): void {
	try {
		rmdirSync(folder);
	} catch {}
}

export function namesIn(dir: string): string[] {
	try {
		return readdirSync(dir);
	} catch (error) {
		if (codeOf(error) === "ENOENT") return [];
		throw new BgError("refused", `unable to read ${dir}: ${messageOf(error)}`);
	}
}

export function sleepSync(ms: number): void {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
