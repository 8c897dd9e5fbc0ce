/**
 * The identity of a process: machine (on Linux with the pid namespace), boot, pid and start time; and
 * whether that process lives. A zombie is gone. A failed read means "cannot tell", never "gone": it
 * throws, or the result is "unknown".
 */
import { errorMessage } from "../error.ts";
import type { Identity } from "../task/schema.ts";
import { jobVariable } from "../task/variables.ts";
import { identifyMachine, namespaceOf, noBoot } from "./machine.ts";
import { readProcess } from "./proc.ts";
import { UnknownError, unlessUnknown } from "./system.ts";

/** The job in which this process and its children run; empty outside of jobs. */
export const ownJob = readOwnJob(process.env[jobVariable]);

/** `elsewhere`: on another machine or in another pid namespace. `unknown`: cannot tell. */
export type Liveness = "alive" | "gone" | "elsewhere" | "unknown";

/**
 * The identity of a living process; undefined if it is gone or a zombie.
 * @throws UnknownError if that cannot be read: cannot tell.
 */
export function identifyProcess(pid: number): Identity | undefined {
	const found = readProcess(pid);
	return found && !found.zombie
		? { ...identifyMachine(), pid, start: found.start }
		: undefined;
}

/**
 * The identity of a child of this process. It may have ended: it has an entry until it is waited for.
 * @throws UnknownError if it cannot be read.
 */
export function identifyChild(pid: number): Identity {
	const start = readProcess(pid)?.start ?? "ended";
	return { ...identifyMachine(), pid, start, ...ownJob };
}

let ownIdentity: Identity | undefined;

/** The identity of this process, read once. @throws UnknownError if it cannot be read. */
export function identifySelf(): Identity {
	if (ownIdentity) return ownIdentity;
	const identity = identifyProcess(process.pid);
	if (!identity) throw new UnknownError(`process ${process.pid} is not listed`);
	ownIdentity = { ...identity, ...ownJob };
	return ownIdentity;
}

/** Answers whether a job is alive. */
export type CheckJob = (job: string) => "alive" | "gone" | "unknown";

let checkJob: CheckJob | undefined;

/** From now on, a process that is elsewhere in a job is gone if `check` says so of the job. */
export function setJobCheck(check: CheckJob): void {
	checkJob = check;
}

/** Whether a process lives. A failed read is "unknown". */
export const checkLiveness = (identity: Identity): Liveness =>
	unlessUnknown(() => determineLiveness(identity)) ?? "unknown";

/** Whether a process lives on this machine. @throws UnknownError if the answer is unknown. */
export const isAlive = (identity: Identity): boolean =>
	determineLiveness(identity) === "alive";

/** Whether a process lives on this machine. If it is elsewhere in a job, its engine is not asked. */
export const isAliveHere = ({ job: _, ...own }: Identity): boolean =>
	checkLiveness(own) === "alive";

/** Whether a signal has stopped a process of this machine; undefined if it does not live or that cannot be read. */
export const isStopped = (identity: Identity): boolean | undefined =>
	checkLiveness(identity) === "alive"
		? unlessUnknown(() => readProcess(identity.pid)?.paused)
		: undefined;

/** Whether a process of this machine runs: it lives and no signal has stopped it. A failed read is "no". */
export const isResponsive = (identity: Identity): boolean =>
	isStopped(identity) === false;

/** Explains to a person why the liveness of one of these processes is unknown. */
export function explainUnknown(
	identities: readonly (Identity | undefined)[],
): string {
	try {
		for (const each of identities) if (each) determineLiveness(each);
		return "a new check succeeded";
	} catch (error) {
		return error instanceof UnknownError ? error.problem : errorMessage(error);
	}
}

/** Whether two identities are the same process. */
export const isSameProcess = (one?: Identity, other?: Identity) =>
	one?.pid === other?.pid &&
	one?.start === other?.start &&
	one?.boot === other?.boot &&
	one?.machine === other?.machine;

/** Formats an identity and a nonce as the file name of a claim. */
export function claimName(identity: Identity, nonce: string): string {
	const { machine, boot, pid, start, job } = identity;
	const parts = [pid, start, boot, machine, nonce, ...(job ? [job] : [])];
	return parts.map(encodeURIComponent).join(",");
}

/** Parses the identity in a claim's name; undefined if it is not the name of a claim. */
export function parseClaimName(name: string): Identity | undefined {
	try {
		const parts = name.split(",").map(decodeURIComponent);
		const [pid, start, boot, machine, nonce, job, ...rest] = parts;
		if (!(Number(pid) > 0) || !start || !boot || !machine || !nonce) return;
		if (rest.length) return;
		const found = { machine, boot, pid: Number(pid), start };
		return job ? { ...found, job } : found;
	} catch {
		return undefined;
	}
}

// --- internal ---

/**
 * Machines are compared by boot first: a host name may change while the kernel runs.
 * @throws UnknownError if the kernel does not answer.
 */
function determineLiveness(identity: Identity): Exclude<Liveness, "unknown"> {
	const { machine, boot, pid, start, job } = identity;
	const now = identifyMachine();
	const isSameKernel =
		boot === now.boot &&
		boot !== noBoot &&
		namespaceOf(machine) === namespaceOf(now.machine);
	if (!isSameKernel && machine !== now.machine)
		return job && checkJob?.(job) === "gone" ? "gone" : "elsewhere";
	if (boot !== now.boot) {
		if (boot !== noBoot && now.boot !== noBoot) return "gone";
		throw new UnknownError("the system reports no boot id");
	}
	return identifyProcess(pid)?.start === start ? "alive" : "gone";
}

/** A job from the environment, which may be set to anything. */
function readOwnJob(text = ""): Pick<Identity, "job"> {
	return /^[a-z]+:[\w.-]+:\d+(:\d+)?$/.test(text) ? { job: text } : {};
}
