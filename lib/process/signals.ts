/** Signals. The only file that sends one; it checks the identity of a process right before. */
import { errorCode } from "../error.ts";
import type { Identity } from "../task/schema.ts";
import { checkLiveness, identifyProcess } from "./identity.ts";
import type { Process } from "./proc.ts";

/**
 * Asks a supervisor to look at its records now, and not within a second. By default this signal is
 * ignored, so it harms nobody who has only just been started and does not listen yet.
 */
export const wakeSignal = "SIGURG";

/** Sends a signal to a process, if it still is who it was. */
export function sendSignal(target: Identity, name: NodeJS.Signals): void {
	if (checkLiveness(target) === "alive") killPid(target.pid, name);
}

/** Signals a process of a list, if it still is who it was, and wakes it where it is paused. */
export function signalProcess(target: Process, signal: NodeJS.Signals): void {
	if (identifyProcess(target.pid)?.start !== target.start) return;
	killPid(target.pid, signal);
	if (target.paused) killPid(target.pid, "SIGCONT");
}

/** A child of this process: a ChildProcess of node:child_process, as far as it is needed. */
type Child = {
	pid?: number | undefined;
	exitCode: number | null;
	signalCode: string | null;
};

/** Signals the process group of a child that leads one, until that child was waited for. */
export function signalGroup(
	{ pid, exitCode, signalCode }: Child,
	name: NodeJS.Signals,
): void {
	const isWaitedFor = (exitCode ?? signalCode) !== null;
	if (pid !== undefined && !isWaitedFor) killPid(-pid, name);
}

/** Lets a signal that was listened to act on this process after all. */
export const raiseSignal = (name: NodeJS.Signals) => killPid(process.pid, name);

/** Stops the job this process belongs to, as Ctrl-Z does, until its shell wakes it again. */
export const suspendJob = () => killPid(0, "SIGTSTP");

// --- internal ---

function killPid(pid: number, name: NodeJS.Signals): void {
	try {
		process.kill(pid, name);
	} catch (error) {
		// Gone already, or not ours to signal: the next look tells.
		if (errorCode(error) !== "ESRCH" && errorCode(error) !== "EPERM")
			throw error;
	}
}
