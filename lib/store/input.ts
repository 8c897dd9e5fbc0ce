/**
 * The standard input of a command that was launched with `--stdin keep`: a FIFO that any `bg send` writes to.
 *
 * A reader of a FIFO sees its end as soon as no process has it open for writing. Something must therefore hold
 * a write end between two writers. The supervisor cannot: a healthy command would read the end of its input if its
 * supervisor is killed, before another supervisor adopts it. Nor can the command itself: if its own descriptor
 * could write, `--eof` would not end its input. So each such command has a keeper, a shell of about 100 KiB
 * that holds the write end and waits for one line on a second FIFO. That line, or the end of the task, ends it.
 * A message is in the pipe when `bg send` returns, or it is not sent: no supervisor takes part in it, no
 * message lies on disk, and an adopted command needs nothing.
 *
 * The keeper has both ends of the second FIFO, so it can be told from the moment it starts, and it needs no
 * identity on disk. The supervisor that started it also kills it at the end of the task, in case the store was
 * deleted. It is not part of the task: it does not have BG_TASK_ID.
 *
 * A FIFO ends at its machine. What is sent to a job on another one lies in the store until its supervisor, which is
 * the only one that reads it, has written it into the pipe: numbered files, and an empty one for the end.
 *
 * Deno hands the read end to the command under a second number as well. There an input that the command closed
 * looks like one that it does not read.
 */
import {
	closeSync,
	constants,
	fstatSync,
	lstatSync,
	openSync,
	readSync,
	writeSync,
} from "node:fs";
import { errorCode, ifExists, refused } from "../error.ts";
import { sleepSync } from "../process/runtime.ts";
import { makeFolder, openUnfollowed } from "./directory.ts";
import {
	discard,
	listNames,
	moveFile,
	removeFile,
	uniqueHolderName,
	writePrivateFile,
} from "./files.ts";
import { withLock } from "./locks.ts";
import {
	folderPath,
	inputEndFile,
	inputFile,
	inputLock,
	type Store,
} from "./paths.ts";

/** The value of a record's `stdin`, and of `--stdin`, that keeps the input open. A path in a record is absolute. */
export const keptInput = "keep";

/** How long `bg send` waits for a full pipe to take a byte, in ms. */
export const roomTimeoutMs = 2000;

/** How often it tries, in ms. */
const roomPollMs = 10;

/** The most that is written at once, in bytes. */
const maxWriteBytes = 64 * 1024;

/**
 * Prepares the input of an attempt: the folder, without FIFOs of an attempt before.
 * @returns the paths of the two FIFOs to make.
 */
export function prepareInput(store: Store, id: string): string[] {
	makeFolder(store, folderPath(store, "input"));
	removeInput(store, id);
	return [inputFile(store, id), inputEndFile(store, id)];
}

/** The ends of an input: `task` is for the command, the others are for its keeper. */
export type InputEnds = { task: number; written: number; end: number };

/** Opens the FIFOs, which this process has made. None of the calls waits. */
export function openInputEnds(store: Store, id: string): InputEnds {
	const { O_RDONLY, O_WRONLY, O_RDWR, O_NOFOLLOW } = constants;
	const path = inputFile(store, id);
	// With both ends open here, neither open waits for the other end.
	const both = openUnfollowed(path, O_RDWR);
	try {
		return {
			task: openSync(path, O_RDONLY | O_NOFOLLOW),
			written: openSync(path, O_WRONLY | O_NOFOLLOW),
			end: openSync(inputEndFile(store, id), O_RDWR | O_NOFOLLOW),
		};
	} finally {
		closeSync(both);
	}
}

/**
 * Ends the input of a task: its keeper exits, and the task reads the end once it has read what is in the pipe.
 * @returns false if it was ended before.
 */
export function endInput(store: Store, id: string): boolean {
	const isEnded = removeFile(inputFile(store, id));
	try {
		const fd = openUnfollowed(inputEndFile(store, id), constants.O_WRONLY);
		try {
			if (fstatSync(fd).isFIFO()) writeSync(fd, "\n");
		} finally {
			closeSync(fd);
		}
	} catch (error) {
		// ENXIO, EPIPE: the keeper has exited, perhaps because another process told it at the same time.
		const code = errorCode(error) ?? "";
		if (!["ENOENT", "ENXIO", "EPIPE"].includes(code)) throw error;
	}
	discard(inputEndFile(store, id));
	return isEnded;
}

/** Ends the input of a task, and removes what was sent and never got into the pipe. */
export function removeInput(store: Store, id: string): void {
	endInput(store, id);
	for (const { path } of listPosted(store, id)) discard(path);
}

/** What became of a write: how many bytes the pipe took, and why it did not take all. */
export type InputWrite = { written: number; problem?: "full" | "closed" };

/**
 * Writes to the input of a task, and with `end` ends it if it took all. Writers take turns.
 * @param timeoutMs how long to wait while a full pipe takes nothing.
 * @returns undefined if the task has no input that is open.
 * @throws BgError (refused) if another writer does not finish.
 */
export function writeInput(
	store: Store,
	id: string,
	{
		bytes,
		end,
		timeoutMs,
	}: { bytes: Uint8Array; end: boolean; timeoutMs: number },
): InputWrite | undefined {
	const lock = { name: inputLock(id), timeoutMs: roomTimeoutMs + timeoutMs };
	return withLock(store, lock, () => {
		const fd = openInput(store, id);
		if (fd === "closed") return { written: 0, problem: "closed" };
		if (fd === undefined) return undefined;
		try {
			const done = writeWithTimeout(fd, bytes, timeoutMs);
			if (end && !done.problem) endInput(store, id);
			return done;
		} finally {
			closeSync(fd);
		}
	});
}

/** What was sent and is not in the pipe yet. */
export type PostedInput = { path: string; number: number; isEnd: boolean };

/** What lies in the store for the input of a task, in its order. */
export const listPosted = (store: Store, id: string): PostedInput[] =>
	listNames(store, folderPath(store, "input"))
		.flatMap((name) => {
			const [, of, number, what] =
				/^(.+)\.(\d+)\.(bytes|eof)$/.exec(name) ?? [];
			if (of !== id) return [];
			const path = `${folderPath(store, "input")}/${name}`;
			return [{ path, number: Number(number), isEnd: what === "eof" }];
		})
		.sort((a, b) => a.number - b.number);

/**
 * Puts input into the store, for the supervisor of a job on another machine. Senders take turns.
 * @returns the paths of the files, which are gone once their content is in the pipe; undefined if the task has no
 * input that is open.
 */
export function postInput(
	store: Store,
	id: string,
	{ bytes, end }: { bytes: Uint8Array | undefined; end: boolean },
): string[] | undefined {
	const lock = { name: inputLock(id), timeoutMs: roomTimeoutMs };
	return withLock(store, lock, () => {
		const posted = listPosted(store, id);
		const last = posted.at(-1);
		if (last?.isEnd || !isInputOpen(store, id)) return undefined;
		const first = (last?.number ?? 0) + 1;
		const post = (number: number, what: "bytes" | "eof", text: Uint8Array) => {
			const path = `${inputFile(store, id)}.${number}.${what}`;
			const temporary = `${folderPath(store, "temporary")}/${uniqueHolderName()}`;
			writePrivateFile(temporary, text);
			moveFile(temporary, path);
			return path;
		};
		return [
			...(bytes ? [post(first, "bytes", bytes)] : []),
			...(end ? [post(first + 1, "eof", new Uint8Array())] : []),
		];
	});
}

/** Whether the input of a task was opened and not ended. */
export const isInputOpen = (store: Store, id: string): boolean =>
	lstatSync(inputFile(store, id), { throwIfNoEntry: false }) !== undefined;

/**
 * Writes a part of a posted file into the pipe, without waiting.
 * @param offset in bytes: where to go on.
 * @returns the offset after that; "done" at the end of the file, "closed" if the task takes no more.
 */
export function writePosted(
	store: Store,
	id: string,
	{ path, offset }: { path: string; offset: number },
): number | "done" | "closed" {
	const pipe = openInput(store, id);
	if (typeof pipe !== "number") return "closed";
	const file = openUnfollowed(path, constants.O_RDONLY);
	try {
		const bytes = new Uint8Array(maxWriteBytes);
		const length = readSync(file, bytes, 0, bytes.length, offset);
		if (length === 0) return "done";
		const done = writeWithTimeout(pipe, bytes.subarray(0, length), 0);
		return done.problem === "closed" ? "closed" : offset + done.written;
	} finally {
		closeSync(file);
		closeSync(pipe);
	}
}

/** The ids of tasks that have an input. */
export const listInputs = (store: Store): string[] => [
	...new Set(
		listNames(store, folderPath(store, "input")).map(
			(name) => name.split(".")[0] ?? "",
		),
	),
];

// --- internal ---

/** Opens the pipe without waiting for a reader; "closed" if the task has closed its end. */
function openInput(store: Store, id: string): number | "closed" | undefined {
	const path = inputFile(store, id);
	try {
		const fd = ifExists(() => openUnfollowed(path, constants.O_WRONLY));
		if (fd === undefined || fstatSync(fd).isFIFO()) return fd;
		closeSync(fd);
	} catch (error) {
		if (errorCode(error) === "ENXIO") return "closed";
		throw error;
	}
	throw refused(`${path} is not a pipe: remove it`);
}

function writeWithTimeout(
	fd: number,
	bytes: Uint8Array,
	timeoutMs: number,
): InputWrite {
	let written = 0;
	let deadline = performance.now() + timeoutMs;
	while (written < bytes.length) {
		const length = Math.min(maxWriteBytes, bytes.length - written);
		try {
			written += writeSync(fd, bytes, written, length);
			deadline = performance.now() + timeoutMs;
			continue;
		} catch (error) {
			const code = errorCode(error);
			if (code === "EPIPE") return { written, problem: "closed" };
			if (code !== "EAGAIN") throw error;
		}
		if (performance.now() >= deadline) return { written, problem: "full" };
		sleepSync(roomPollMs);
	}
	return { written };
}
