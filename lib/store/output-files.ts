/**
 * The output files of tasks and the notes of how far they were read. They lie beside the records and are
 * opened like them: links are not followed, pipes not waited for. An output moves to the archive before its
 * record: each read looks for it in the folder, in the archive, and in the folder again.
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
import { ifExists } from "../error.ts";
import { appendFlags, openFile } from "./directory.ts";
import { moveFile, readFile, replaceFile } from "./files.ts";
import {
	archivedOutput,
	outputFile,
	progressFile,
	type Store,
} from "./paths.ts";

/** Opens a task's output to append to it. Returns the descriptor. */
export const openOutput = (store: Store, id: string): number =>
	openFile(store, outputFile(store, id), appendFlags);

/** The path of the output of a task, or of an earlier attempt: in the archive only if it is there. */
export function locateOutput(
	store: Store,
	id: string,
	attempt?: number,
): string {
	const here = outputFile(store, id, attempt);
	if (existsSync(here)) return here;
	const archived = archivedOutput(store, id, attempt);
	return existsSync(archived) ? archived : here;
}

/** Whether a task's output exists. It is created right before the process starts. */
export const hasOutput = (store: Store, id: string): boolean =>
	existsSync(outputFile(store, id));

/** How many bytes a task, or an earlier attempt of it, has written; 0 if there is no output yet. */
export const readOutputSize = (
	store: Store,
	id: string,
	attempt?: number,
): number => readOutputState(store, id, attempt)?.size ?? 0;

/** The size of an output and the time of its last change, in ms since 1970; undefined if there is none yet. */
export function readOutputState(
	store: Store,
	id: string,
	attempt?: number,
): { size: number; mtimeMs: number } | undefined {
	const read = (path: string) => lstatSync(path, { throwIfNoEntry: false });
	const here = outputFile(store, id, attempt);
	const archived = archivedOutput(store, id, attempt);
	return read(here) ?? read(archived) ?? read(here);
}

/**
 * Watches a task's output, which must exist.
 * @param listener `onError`: the system cannot watch, the caller has to poll.
 * @returns a function that ends the watch.
 */
export function watchOutput(
	store: Store,
	id: string,
	{ onChange, onError }: { onChange: () => void; onError: () => void },
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

/** Keeps the output of an attempt under its own name before the next attempt starts. */
export function keepAttemptOutput(
	store: Store,
	id: string,
	attempt: number,
): void {
	moveFile(outputFile(store, id), outputFile(store, id, attempt));
	rmSync(progressFile(store, id), { force: true });
}

/** Undoes keepAttemptOutput if the supervisor died before the next attempt started. */
export function restoreAttemptOutput(
	store: Store,
	id: string,
	attempt: number,
): void {
	if (!hasOutput(store, id))
		moveFile(outputFile(store, id, attempt), outputFile(store, id));
}

/** Cuts a task's output to `bytes` bytes and appends `line` to it. */
export function truncateOutput(
	store: Store,
	id: string,
	{ bytes, line }: { bytes: number; line: string },
): void {
	const fd = openFile(store, locateOutput(store, id), appendFlags);
	try {
		ftruncateSync(fd, bytes);
		writeSync(fd, `\n${line}\n`);
	} finally {
		closeSync(fd);
	}
}

/**
 * Reads bytes `from` up to `to` of the output of a task, or of an earlier attempt.
 * @returns fewer bytes if the output ends sooner, none if it is missing.
 */
export function readOutputBytes(
	store: Store,
	id: string,
	{
		from,
		to,
		attempt,
	}: { from: number; to: number; attempt?: number | undefined },
): Buffer {
	if (to <= from) return Buffer.alloc(0);
	const open = (path: string) =>
		ifExists(() => openFile(store, path, constants.O_RDONLY));
	const here = outputFile(store, id, attempt);
	const fd =
		open(here) ?? open(archivedOutput(store, id, attempt)) ?? open(here);
	if (fd === undefined) return Buffer.alloc(0);
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

/** An attempt of a task. */
type Attempt = { id: string; attempt: number };

/** Reads the note that an earlier reader of an attempt's stream wrote; undefined if there is none. */
export function readProgress(store: Store, { id, attempt }: Attempt): unknown {
	try {
		const noted = JSON.parse(readFile(store, progressFile(store, id)));
		return noted.attempt === attempt ? noted : undefined;
	} catch {
		return undefined;
	}
}

/**
 * Writes the digest of an attempt's stream up to now. It is a cache: a lost note is computed again. A
 * late note of an earlier attempt may replace a newer one, which then counts as lost.
 */
export function writeProgress(
	store: Store,
	{ id, attempt }: Attempt,
	note: object,
): void {
	try {
		const text = JSON.stringify({ ...note, attempt });
		replaceFile(store, { path: progressFile(store, id), text });
	} catch {}
}
