/**
 * What the system reports: files of /proc, `ps` and other short programs. Three answers: the text,
 * undefined for what is gone, and an error for "cannot tell", from which nothing may follow.
 */
import {
	closeSync,
	lstatSync,
	openSync,
	readlinkSync,
	readSync,
} from "node:fs";
import { BgError, errorCode, errorMessage } from "../error.ts";

/** The answer "cannot tell", as an error (refused) that says why. */
export class UnknownError extends BgError {
	readonly problem: string;

	constructor(problem: string, options?: ErrorOptions) {
		super("refused", `unable to identify processes: ${problem}`, options);
		this.problem = problem;
	}
}

/** Runs a read or a signal; undefined if the result is "cannot tell". */
export function unlessUnknown<T>(act: () => T): T | undefined {
	try {
		return act();
	} catch (error) {
		if (error instanceof UnknownError) return undefined;
		throw error;
	}
}

/** How often a read is tried. An error such as ENFILE may pass. */
const maxReads = 3;

/**
 * Reads something that the kernel provides.
 * @throws UnknownError if it cannot be read; the system's error if it does not exist.
 */
export function readKernel<T>(path: string, read: (path: string) => T): T {
	for (let reads = 1; ; reads++)
		try {
			return read(path);
		} catch (cause) {
			if (isGone(cause)) throw cause;
			if (reads < maxReads && !isDenial(cause)) continue;
			const why = errorCode(cause) ?? errorMessage(cause);
			throw new UnknownError(`${path} cannot be read (${why})`, { cause });
		}
}

/**
 * Reads a file of /proc; undefined if it does not exist: its process is gone.
 * @throws UnknownError if it cannot be read.
 */
export function readProcFile(path: string): string | undefined {
	try {
		return readKernel(path, () => withOpenFile(path, "r", readWhole));
	} catch (error) {
		if (isGone(error)) return undefined;
		throw error;
	}
}

/** Opens a file, calls `use` with its descriptor, and closes it. A new file has the mode 0600. */
export function withOpenFile<T>(
	path: string,
	flags: string | number,
	use: (fd: number) => T,
): T {
	const fd = openSync(path, flags, 0o600);
	try {
		return use(fd);
	} finally {
		closeSync(fd);
	}
}

/** Whether a read failed because this user may not read it. */
export const isDenied = (error: unknown) =>
	error instanceof UnknownError && isDenial(error.cause);

let procExists: boolean | undefined;

/**
 * Whether the kernel describes processes in /proc; else `ps` does.
 * @throws UnknownError if that cannot be read, or if /proc shows another pid namespace.
 */
export function hasProc(): boolean {
	if (procExists !== undefined) return procExists;
	const status = readKernel("/proc/self/stat", (path) =>
		lstatSync(path, { throwIfNoEntry: false }),
	);
	if (status && readKernelLink("/proc/self") !== String(process.pid))
		throw new UnknownError(
			"/proc is that of another pid namespace (mount -t proc proc /proc)",
		);
	procExists = status !== undefined;
	return procExists;
}

/** Reads a symbolic link of /proc. @throws UnknownError if it cannot be read. */
export const readKernelLink = (path: string) =>
	readKernel(path, () => readlinkSync(path));

/**
 * Runs `ps` with times in UTC and English words; the output is empty if there is no such process.
 * @throws UnknownError if it fails.
 */
export function runPs(args: string[]): string {
	const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
	return captureOutput("ps", args, env);
}

/**
 * Runs a short program and returns its stdout. If there is a /proc, node:child_process is not loaded.
 * @throws UnknownError if the program cannot be run, or if it fails with a message or by a signal.
 */
export function captureOutput(
	program: string,
	args: string[],
	env = process.env,
): string {
	const { spawnSync } = process.getBuiltinModule("node:child_process");
	const { error, status, stderr, signal, stdout } = spawnSync(program, args, {
		env,
		encoding: "utf8",
	});
	const problem = error?.message ?? (status ? stderr.trim() : signal);
	if (!problem) return stdout;
	throw new UnknownError(`${program} failed (${problem})`);
}

// --- internal ---

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Most files of /proc fit. (`readFileSync` of Bun takes 256 KiB for each, and 0.2 ms.) */
const buffer = new Uint8Array(8192);

/** Reads an open file to its end: a file of /proc may return less than fits before that. */
function readWhole(fd: number): string {
	let bytes = buffer;
	for (let length = 0; ; ) {
		const read = readSync(fd, bytes, length, bytes.length - length, null);
		if (read === 0) return decoder.decode(bytes.subarray(0, length));
		length += read;
		if (length < bytes.length) continue;
		const larger = new Uint8Array(bytes.length * 2);
		larger.set(bytes);
		bytes = larger;
	}
}

const isGone = (error: unknown) =>
	["ENOENT", "ESRCH"].includes(errorCode(error) ?? "");

const isDenial = (error: unknown) =>
	["EACCES", "EPERM"].includes(errorCode(error) ?? "");
