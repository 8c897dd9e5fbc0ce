/**
 * The one error class, and the exit codes.
 *
 * A BgError is something the user can mend: one line saying what, which, and what next.
 * Any other error is a bug and keeps its stack.
 */

/** Exit codes by what they mean; 124 is the one of coreutils' `timeout`, 111 that of daemontools. */
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

/** Stdout could not be written, so nothing more is printed there. */
export class PrintError extends BgError {
	constructor(message: string) {
		super("refused", message);
	}
}

/** It was called wrongly: what to mend is in what was typed. */
export const usage = (message: string) => new BgError("usage", message);

/** The system, or a limit, said no. */
export const refused = (message: string) => new BgError("refused", message);

/** The code of a system error (`ENOENT`), or undefined for any other value. */
export function errorCode(error: unknown): string | undefined {
	if (error instanceof Error && "code" in error) return String(error.code);
	return undefined;
}

/** Whether the system said no (a disk that is full, a folder that cannot be read): no bug. */
export function isSystemError(error: unknown): boolean {
	// Of a path that is too long Bun tells the number alone.
	return error instanceof Error && ("syscall" in error || "errno" in error);
}

/** Whether bg or the system said no, and not a bug. */
export const isRefusal = (error: unknown) =>
	error instanceof BgError || isSystemError(error);

/** What an error says, in one line. */
export function errorMessage(error: unknown): string {
	const text = error instanceof Error ? error.message : String(error);
	return text.replace(/\s+/g, " ").trim();
}
