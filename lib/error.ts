/**
 * The one error class, and the exit codes.
 *
 * A BgError is something the user can fix: one line that says what, which, and what next. Any other
 * error is a bug and keeps its stack.
 */

/** Exit codes by meaning. 124 is taken from coreutils' `timeout`, 111 from daemontools. */
export const exitCodes = {
	ok: 0,
	failed: 1,
	usage: 2,
	missing: 3,
	refused: 111,
	timedOut: 124,
} as const;

export type ExitName = keyof typeof exitCodes;

export class BgError extends Error {
	readonly exit: ExitName;

	constructor(exit: ExitName, message: string, options?: ErrorOptions) {
		super(message, options);
		this.name = "BgError";
		this.exit = exit;
	}
}

/** Stdout could not be written. Nothing more is printed there. */
export class PrintError extends BgError {
	constructor(message: string) {
		super("refused", message);
	}
}

/** An error of the caller: the command line is wrong. */
export const usage = (message: string) => new BgError("usage", message);

/** The system or a limit refused. */
export const refused = (message: string) => new BgError("refused", message);

/** The code of a system error (`ENOENT`); undefined for any other value. */
export function errorCode(error: unknown): string | undefined {
	if (error instanceof Error && "code" in error) return String(error.code);
	return undefined;
}

/**
 * Reads a file or folder that may be missing.
 * @returns undefined if `read` throws ENOENT; other errors pass.
 */
export function ifExists<T>(read: () => T): T | undefined {
	try {
		return read();
	} catch (error) {
		if (errorCode(error) === "ENOENT") return undefined;
		throw error;
	}
}

/**
 * Runs a write to `path`.
 * @throws BgError (refused) that names the path if the system refuses it.
 */
export function wrapWriteErrors<T>(path: string, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw toWriteError(path, error);
	}
}

/** The error for a write to `path` that the system refused. */
export const toWriteError = (path: string, error: unknown): BgError =>
	error instanceof BgError
		? error
		: refused(`unable to write ${path}: ${errorMessage(error)}`);

/** Whether the machine is at fault, and not what the user named. */
export const isMachineFault = (error: unknown): boolean =>
	/^(EIO|EMFILE|ENFILE|ENOMEM)$/.test(errorCode(error) ?? "");

/** The error for an input that cannot be read: usage, or refused if the machine is at fault. `hint`: what to do. */
export const toInputError = (
	name: string,
	error: unknown,
	hint = "",
): BgError => {
	const words = `${name}: ${errorMessage(error)}`;
	return isMachineFault(error) ? refused(words) : usage(words + hint);
};

/** Whether the system refused (full disk, unreadable folder): not a bug. */
export function isSystemError(error: unknown): boolean {
	// For a path that is too long, Bun reports only the number.
	return error instanceof Error && ("syscall" in error || "errno" in error);
}

/** Whether a write failed at the file size limit (`ulimit -f`). Deno reports only the number. */
export const isTooLarge = (error: unknown) =>
	errorCode(error) === "EFBIG" || /os error 27\b/.test(errorMessage(error));

/** Whether bg or the system refused: not a bug. */
export const isRefusal = (error: unknown) =>
	error instanceof BgError || isSystemError(error);

/** Runs what bg or the system may refuse. @returns undefined if it is refused; other errors pass. */
export function unlessRefused<T>(run: () => T): T | undefined {
	try {
		return run();
	} catch (error) {
		if (isRefusal(error)) return undefined;
		throw error;
	}
}

/** The message of an error in one line. */
export function errorMessage(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	return text.replace(/\s+/g, " ").trim();
}
