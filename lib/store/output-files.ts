/**
 * What tasks write, and how far it was read: files beside the records, never followed where they are
 * links and never waited for where they are pipes.
 */
import {
	closeSync,
	constants,
	existsSync,
	fstatSync,
	ftruncateSync,
	lstatSync,
	readSync,
	rmSync,
	watch,
	writeSync,
} from "node:fs";
import { errorCode } from "../error.ts";
import { moveFile, openFile, readFile, replaceFile } from "./files.ts";
import { outputFile, progressFile, type Store } from "./paths.ts";

/** Opens a task's output for its process to append to. */
export function openOutput(store: Store, id: string): number {
	const { O_WRONLY, O_APPEND, O_CREAT } = constants;
	return openFile(store, outputFile(store, id), O_WRONLY | O_APPEND | O_CREAT);
}

/** Whether a task's output was opened, which is the last thing before its process starts. */
export const hasOutput = (store: Store, id: string): boolean =>
	existsSync(outputFile(store, id));

/** How many bytes a task has written; 0 where there is no output yet. */
export function readOutputSize(
	store: Store,
	id: string,
	attempt?: number,
): number {
	const path = outputFile(store, id, attempt);
	return lstatSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/**
 * Watches a task's output, which is there.
 * @param onError the system can watch no longer: the caller has to poll.
 * @returns ends the watch.
 */
export function watchOutput(
	store: Store,
	id: string,
	onChange: () => void,
	onError: () => void,
): () => void {
	try {
		const watcher = watch(outputFile(store, id), onChange);
		watcher.on("error", onError);
		return () => watcher.close();
	} catch {
		setImmediate(onError);
		return () => {};
	}
}

/** Keeps what an attempt wrote, before the next one writes. */
export function keepAttemptOutput(
	store: Store,
	id: string,
	attempt: number,
): void {
	moveFile(outputFile(store, id), outputFile(store, id, attempt));
	rmSync(progressFile(store, id), { force: true });
}

/** Takes that back, where whoever kept it died before there was a next attempt. */
export function restoreAttemptOutput(
	store: Store,
	id: string,
	attempt: number,
): void {
	if (!hasOutput(store, id))
		moveFile(outputFile(store, id, attempt), outputFile(store, id));
}

/** Cuts a task's output and says so in a line of its own. */
export function truncateOutput(
	store: Store,
	id: string,
	bytes: number,
	line: string,
): void {
	const fd = openOutput(store, id);
	try {
		ftruncateSync(fd, bytes);
		writeSync(fd, `\n${line}\n`);
	} finally {
		closeSync(fd);
	}
}

/** Bytes `from` up to `to` of a task's output; fewer where it ends sooner. */
export function readOutputBytes(
	store: Store,
	id: string,
	from: number,
	to: number,
	attempt?: number,
): Buffer {
	let fd: number;
	try {
		fd = openFile(store, outputFile(store, id, attempt), constants.O_RDONLY);
	} catch (error) {
		if (errorCode(error) === "ENOENT") return Buffer.alloc(0);
		throw error;
	}
	try {
		const length = Math.max(0, Math.min(to, fstatSync(fd).size) - from);
		const bytes = Buffer.allocUnsafe(length);
		let got = 0;
		while (got < length) {
			const read = readSync(fd, bytes, got, length - got, from + got);
			if (read === 0) break;
			got += read;
		}
		return bytes.subarray(0, got);
	} finally {
		closeSync(fd);
	}
}

/** What an earlier reader noted of the stream of an attempt; undefined where there is none. */
export function readProgress(
	store: Store,
	id: string,
	attempt: number,
): unknown {
	try {
		const noted = JSON.parse(readFile(store, progressFile(store, id)));
		return noted.attempt === attempt ? noted : undefined;
	} catch {
		return undefined;
	}
}

/**
 * Notes what the stream of an attempt said so far. A note is a help, never a truth: a lost one is
 * made again. One that comes late, of an attempt that is over, replaces a newer one and counts as lost.
 */
export function writeProgress(
	store: Store,
	id: string,
	attempt: number,
	note: object,
): void {
	try {
		const text = JSON.stringify({ ...note, attempt });
		replaceFile(store, progressFile(store, id), text, false);
	} catch {}
}
