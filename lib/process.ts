/**
 * Processes: their identity, their liveness, and the list of them. Only this file sends signals; it
 * checks the identity of a process before each one.
 *
 * An identity is machine (on Linux with the pid namespace), boot, pid and start time. Without /proc
 * the start time comes from `ps`. A zombie is gone. A read that fails means "cannot tell", never
 * "gone": it throws, or is the answer "unknown".
 */
import { lstatSync, readdirSync } from "node:fs";
import { errorCode, errorMessage } from "./error.ts";
import { identifyMachine, namespaceOf, noBoot } from "./machine.ts";
import {
	assertProc,
	hasProc,
	isDenied,
	readKernel,
	readProcFile,
	runPs,
	UnknownError,
} from "./system.ts";
import type { Identity } from "./task.ts";

/** `elsewhere`: on another machine or in another pid namespace. `unknown`: cannot tell. */
export type Liveness = "alive" | "gone" | "elsewhere" | "unknown";

export type Process = {
	pid: number;
	parent: number;
	session: number;
	start: string;
	paused: boolean;
	zombie: boolean;
	/** CPU time of it and of the children it waited for, in ms. */
	cpu: number;
};

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
	return {
		...identifyMachine(),
		pid,
		start: readProcess(pid)?.start ?? "ended",
	};
}

let ownIdentity: Identity | undefined;

/** The identity of this process. @throws UnknownError if it cannot be read. */
export function identifySelf(): Identity {
	ownIdentity ??= identifyProcess(process.pid);
	if (!ownIdentity)
		throw new UnknownError(`process ${process.pid} is not listed`);
	return ownIdentity;
}

/** Whether a process lives. A failed read is "unknown". */
export function checkLiveness(identity: Identity): Liveness {
	try {
		return determineLiveness(identity);
	} catch (error) {
		if (error instanceof UnknownError) return "unknown";
		throw error;
	}
}

/** Whether a process lives on this machine. @throws UnknownError if that cannot be told. */
export const isAlive = (identity: Identity): boolean =>
	determineLiveness(identity) === "alive";

/** Why the liveness of one of these processes is unknown, in words for a person. */
export function explainUnknown(
	identities: readonly (Identity | undefined)[],
): string {
	try {
		for (const each of identities) if (each) determineLiveness(each);
		return "it is known by now";
	} catch (error) {
		return error instanceof UnknownError ? error.problem : errorMessage(error);
	}
}

/** An identity as a file name: what a claim is called. */
export function claimName(identity: Identity, nonce: string): string {
	const { machine, boot, pid, start } = identity;
	return [pid, start, boot, machine, nonce].map(encodeURIComponent).join(",");
}

/** The identity in a claim's name, or undefined where the name is not one. */
export function parseClaimName(name: string): Identity | undefined {
	const [pid, start, boot, machine, nonce, ...rest] = name
		.split(",")
		.map(decode);
	if (!(Number(pid) > 0) || !start || !boot || !machine || !nonce) return;
	return rest.length ? undefined : { machine, boot, pid: Number(pid), start };
}

/** Processes with their command lines (at most 200 characters), for people. */
export function describeProcesses(
	processes: readonly Process[],
): { pid: number; command: string }[] {
	return processes.map(({ pid }) => {
		const args = hasProc()
			? readCommandLine(pid)
			: runPs(["-o", "command=", "-p", String(pid)]);
		const command = args.replaceAll("\0", " ").trim();
		return { pid, command: command.slice(0, 200) };
	});
}

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

/**
 * All living processes. With hidepid, those of other users are left out.
 * @throws UnknownError if one cannot be read.
 */
export function listProcesses(): Process[] {
	const all = hasProc()
		? readKernel("/proc", (path) => readdirSync(path)).flatMap((name) => {
				const pid = Number(name);
				return pid > 0 ? (readListed(pid) ?? []) : [];
			})
		: readPsList(["-ax"]);
	return all.filter((each) => !each.zombie);
}

/** The environment of a process: NAME=value each. */
export type Environment = readonly string[] | "unreadable";

/**
 * The environment of a process; empty if the process is gone or of another user.
 * @throws UnknownError if the read fails for a reason that may pass.
 */
export function readEnvironment(pid: number): Environment {
	try {
		return readProcFile(`/proc/${pid}/environ`)?.split("\0") ?? [];
	} catch (error) {
		if (!isDenied(error)) throw error;
		return hasOwnFolder(pid) ? "unreadable" : [];
	}
}

/** Whether a process belongs to this user, by its real uid. */
export function isOwn(pid: number): boolean {
	const uid = hasProc()
		? /^Uid:\s+(\d+)/m.exec(readProcFile(`/proc/${pid}/status`) ?? "")?.[1]
		: runPs(["-o", "ruid=", "-p", String(pid)]).trim();
	return uid === String(process.geteuid?.());
}

// --- internal ---

/**
 * Machines are compared by boot first: a host name may change while the kernel runs.
 * @throws UnknownError if the kernel does not answer.
 */
function determineLiveness({
	machine,
	boot,
	pid,
	start,
}: Identity): Exclude<Liveness, "unknown"> {
	const now = identifyMachine();
	const isSameKernel =
		boot === now.boot &&
		boot !== noBoot &&
		namespaceOf(machine) === namespaceOf(now.machine);
	if (!isSameKernel && machine !== now.machine) return "elsewhere";
	if (boot !== now.boot) {
		if (boot !== noBoot && now.boot !== noBoot) return "gone";
		throw new UnknownError("the system does not tell its boot");
	}
	return identifyProcess(pid)?.start === start ? "alive" : "gone";
}

/** Like readProcStat, without the processes of other users that this user may not read. */
function readListed(pid: number): Process | undefined {
	try {
		return readProcStat(pid);
	} catch (error) {
		if (isDenied(error) && !hasOwnFolder(pid)) return undefined;
		throw error;
	}
}

/** For people: empty if it cannot be read. */
function readCommandLine(pid: number): string {
	try {
		return readProcFile(`/proc/${pid}/cmdline`) ?? "";
	} catch {
		return "";
	}
}

function decode(part: string): string {
	try {
		return decodeURIComponent(part);
	} catch {
		return "";
	}
}

/** Whether /proc/<pid> is this user's. That of a process that must not be read is root's. */
function hasOwnFolder(pid: number): boolean {
	const folder = lstatSync(`/proc/${pid}`, { throwIfNoEntry: false });
	return folder?.uid === process.geteuid?.();
}

function killPid(pid: number, name: NodeJS.Signals): void {
	try {
		process.kill(pid, name);
	} catch (error) {
		// Gone already, or not ours to signal: the next look tells.
		if (errorCode(error) !== "ESRCH" && errorCode(error) !== "EPERM")
			throw error;
	}
}

function readProcess(pid: number): Process | undefined {
	return hasProc() ? readProcStat(pid) : readPsList(["-p", String(pid)])[0];
}

/** Fields of /proc/pid/stat count from the last `)`, for a name may hold anything; see proc(5). */
function readProcStat(pid: number): Process | undefined {
	const path = `/proc/${pid}/stat`;
	const stat = readProcFile(path);
	if (stat === undefined) {
		assertProc();
		return undefined;
	}
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	const [state, parent, , session] = fields;
	const start = fields[19];
	if (!start) throw new UnknownError(`${path} holds no start time`);
	return {
		pid,
		parent: Number(parent),
		session: Number(session),
		start,
		paused: state === "T",
		zombie: state === "Z" || state === "X",
		// Ticks of 10 ms, on every Linux: sysconf(_SC_CLK_TCK) is 100.
		cpu: fields.slice(11, 15).reduce((sum, each) => sum + Number(each) * 10, 0),
	};
}

/** The same from `ps`, whose start time has a resolution of one second. */
function readPsList(selection: string[]): Process[] {
	const columns = "pid=,ppid=,sess=,state=,time=,lstart=";
	return runPs(["-o", columns, ...selection])
		.split("\n")
		.flatMap((line) => {
			const [pid, parent, session, state, time, ...start] = line
				.trim()
				.split(/\s+/);
			const seconds = Date.parse(`${start.join(" ")} UTC`) / 1000;
			if (!pid || !state || Number.isNaN(seconds)) return [];
			return {
				pid: Number(pid),
				parent: Number(parent),
				session: Number(session),
				start: String(seconds),
				paused: state.startsWith("T"),
				zombie: state.startsWith("Z"),
				cpu: parseCpuTime(time ?? ""),
			};
		});
}

/** `[[days-]hours:]minutes:seconds` of ps, in ms. */
function parseCpuTime(text: string): number {
	const [clock = "", days = "0"] = text.split("-").reverse();
	const seconds = clock
		.split(":")
		.reduce((sum, part) => sum * 60 + Number(part), 0);
	return (Number(days) * 86_400 + seconds) * 1000;
}
