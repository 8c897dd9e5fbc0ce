/**
 * What the system says: files of /proc, `ps` and other short programs. Three answers: the text,
 * undefined for what is gone, and an error for "cannot tell", from which nothing may follow.
 */
import { lstatSync, readFileSync, readlinkSync } from "node:fs";
import { BgError, errorCode, errorMessage } from "../error.ts";

/** "Cannot tell", as an error (refused) that says why. */
export class UnknownError extends BgError {
	readonly problem: string;

	constructor(problem: string, options?: ErrorOptions) {
		super("refused", `unable to identify processes: ${problem}`, options);
		this.problem = problem;
	}
}

/** A read that fails is tried this often: ENFILE, say, may pass. */
const maxReads = 3;

/**
 * Reads something of the kernel's.
 * @throws UnknownError if it cannot be read; the system's error if there is no such thing.
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
 * Reads a file of /proc; undefined if there is none: its process is gone.
 * @throws UnknownError if it cannot be read.
 */
export function readProcFile(path: string): string | undefined {
	try {
		return readKernel(path, () => readFileSync(path, "utf8"));
	} catch (error) {
		if (isGone(error)) return undefined;
		throw error;
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
	if (status && readKernel("/proc/self", readlink) !== String(process.pid))
		throw new UnknownError(
			"/proc is that of another pid namespace (mount -t proc proc /proc)",
		);
	procExists = status !== undefined;
	return procExists;
}

/** @throws UnknownError if /proc was taken away: then no process that is missing in it is gone. */
export function assertProc(): void {
	if (!lstatSync("/proc/self/stat", { throwIfNoEntry: false }))
		throw new UnknownError("/proc is not there any more");
}

/** A symbolic link of /proc. @throws UnknownError if it cannot be read. */
export const readKernelLink = (path: string) => readKernel(path, readlink);

/**
 * What `ps` says, in UTC and English; empty if it knows no such process.
 * @throws UnknownError if it fails.
 */
export function runPs(args: string[]): string {
	const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
	return captureOutput("ps", args, env);
}

/**
 * The output of a short program. Nothing loads this if there is a /proc.
 * @throws UnknownError if the program cannot be run, or fails and says why.
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

const readlink = (path: string) => readlinkSync(path);

const isGone = (error: unknown) =>
	["ENOENT", "ESRCH"].includes(errorCode(error) ?? "");

const isDenial = (error: unknown) =>
	["EACCES", "EPERM"].includes(errorCode(error) ?? "");
