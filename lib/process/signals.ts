/** Signals. The only file that sends signals; it checks the identity of a process right before. */
import type { ChildProcess } from "node:child_process";
import { errorCode } from "../error.ts";
import type { Identity } from "../task/schema.ts";
import { checkLiveness, identifyProcess } from "./identity.ts";
import type { Process } from "./proc.ts";

/**
 * Makes a supervisor read its records now instead of within a second. The signal is ignored by default,
 * so it is harmless for a supervisor that does not listen yet.
 */
export const wakeSignal = "SIGURG" as const;

/** What asks a supervisor to stop its tasks and to leave. */
export const shutdownSignals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Signals a process if it lives on this machine and its identity is unchanged. */
export function sendSignal(target: Identity, name: NodeJS.Signals): void {
	if (checkLiveness(target) === "alive") killPid(target.pid, name);
}

/** Signals a process of a list if its start time is unchanged; continues it if it is paused. */
export function signalProcess(target: Process, signal: NodeJS.Signals): void {
	if (identifyProcess(target.pid)?.start !== target.start) return;
	killPid(target.pid, signal);
	if (target.paused) killPid(target.pid, "SIGCONT");
}

/** Signals the process group that a child leads, unless the child was waited for. */
export function signalGroup(
	{ pid, exitCode, signalCode }: ChildProcess,
	name: NodeJS.Signals,
): void {
	const isWaitedFor = (exitCode ?? signalCode) !== null;
	if (pid !== undefined && !isWaitedFor) killPid(-pid, name);
}

/** Signals this process. */
export const raiseSignal = (name: NodeJS.Signals) => killPid(process.pid, name);

/** Stops the job of this process, as Ctrl-Z does, until its shell continues it. */
export const suspendJob = () => killPid(0, "SIGTSTP");

// --- internal ---

function killPid(pid: number, name: NodeJS.Signals): void {
	try {
		process.kill(pid, name);
	} catch (error) {
		// The process is gone or belongs to another user: the next scan shows it.
		if (errorCode(error) !== "ESRCH" && errorCode(error) !== "EPERM")
			throw error;
	}
}
