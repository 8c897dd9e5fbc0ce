/**
 * Reads processes from /proc; without /proc, from ps. A failed read means "cannot tell" and throws.
 */
import { lstatSync, readdirSync } from "node:fs";
import type { LeftBehind } from "../task/schema.ts";
import {
	hasProc,
	isDenied,
	readKernel,
	readProcFile,
	runPs,
	UnknownError,
	unlessUnknown,
} from "./system.ts";

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

/** Pids and command lines of processes for people. A line has at most 200 characters. */
export function describeProcesses(processes: readonly Process[]): LeftBehind[] {
	if (processes.length === 0) return [];
	const lines = hasProc() ? undefined : readCommandLines("axww");
	return processes.map(({ pid }) => {
		const args = lines
			? lines.get(pid)
			: unlessUnknown(() => readProcFile(`/proc/${pid}/cmdline`));
		const command = (args ?? "").replaceAll("\0", " ").trim();
		return { pid, command: command.slice(0, 200) };
	});
}

/**
 * The command lines of all processes from `ps`. Options without a dash mean the same on Linux and macOS.
 * @throws UnknownError if `ps` fails.
 */
export function readCommandLines(options: string): Map<number, string> {
	const lines = runPs([options, "-o", "pid=,command="]).split("\n");
	return new Map(
		lines.map((line) => {
			const [, pid, command = ""] = /^\s*(\d+) (.*)$/.exec(line) ?? [];
			return [Number(pid), command];
		}),
	);
}

/**
 * Lists all living processes. With hidepid, those of other users are left out.
 * @throws UnknownError if one cannot be read.
 */
export function listProcesses(): Process[] {
	return hasProc()
		? listPids().flatMap((pid) => readLiving(pid) ?? [])
		: readPsList(["-ax"]).filter((each) => !each.zombie);
}

/** Lists the pids in /proc. @throws UnknownError if it cannot be read. */
export const listPids = (): number[] =>
	readKernel("/proc", (path) => readdirSync(path))
		.map(Number)
		.filter((pid) => pid > 0);

/**
 * Lists the pids that the system has given out after `pid`, in turn and from the start again at the
 * highest. Few system calls if they are few, however many processes there are.
 * @param withinMs how long ago that process began, in ms.
 * @returns undefined if they are many, or if all may have been given out since.
 */
export function listPidsAfter(
	pid: number,
	withinMs: number,
): number[] | undefined {
	if (!hasProc()) return undefined;
	const read = (path: string) =>
		Number(/\d+$/.exec(readProcFile(path)?.trim() ?? "")?.[0]);
	const last = read("/proc/loadavg");
	const highest = read("/proc/sys/kernel/pid_max");
	const cpus = read("/sys/devices/system/cpu/online") + 1;
	const mostGivenOut = cpus * maxPidsPerMs * withinMs;
	if (!(last > 0 && mostGivenOut < highest / 2)) return undefined;
	const count = last >= pid ? last - pid : highest - pid + last;
	if (count > maxListedPids) return undefined;
	return Array.from({ length: count }, (_, index) =>
		pid + index + 1 > highest ? pid + index + 1 - highest : pid + index + 1,
	);
}

/**
 * Reads a process of /proc; undefined if it is gone, a zombie, or of another user and hidden.
 * @throws UnknownError if it cannot be read.
 */
export function readLiving(pid: number): Process | undefined {
	try {
		const found = readProcStat(pid);
		return found?.zombie ? undefined : found;
	} catch (error) {
		if (isDenied(error) && !hasOwnFolder(pid)) return undefined;
		throw error;
	}
}

/** The environment of a process: NAME=value each. */
export type Environment = readonly string[] | "unreadable";

/**
 * Reads the environment of a process; empty if the process is gone or belongs to another user.
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

/** Whether a process has this user's real uid. @throws UnknownError if it cannot be read. */
export function isOwn(pid: number): boolean {
	const uid = hasProc()
		? /^Uid:\s+(\d+)/m.exec(readProcFile(`/proc/${pid}/status`) ?? "")?.[1]
		: runPs(["-o", "ruid=", "-p", String(pid)]).trim();
	return uid === String(process.geteuid?.());
}

/** Reads a process; undefined if it is gone. @throws UnknownError if it cannot be read. */
export function readProcess(pid: number): Process | undefined {
	return hasProc() ? readProcStat(pid) : readPsList(["-p", String(pid)])[0];
}

/**
 * How long ago a process of this boot began, in ms, also if the clock was set since; undefined if the system does
 * not say. @throws UnknownError if that cannot be read.
 */
export function readProcessAge(start: string): number | undefined {
	if (!hasProc()) return undefined;
	const uptime = Number(
		/^[\d.]+/.exec(readProcFile("/proc/uptime") ?? "")?.[0],
	);
	const age = uptime * 1000 - Number(start) * msPerTick;
	// A container may report its own uptime, and the start by that of the host.
	return age >= 0 ? age : undefined;
}

// --- internal ---

/** sysconf(_SC_CLK_TCK) is 100 on every Linux. */
const msPerTick = 10;

/** How many processes and threads one CPU can start in a millisecond: each takes 10 µs at least. */
const maxPidsPerMs = 100;

/** As many pids as are quicker to look at than the list of all processes. */
const maxListedPids = 500;

/** Whether /proc/<pid> belongs to this user. For a process that this user may not trace, it is root's. */
function hasOwnFolder(pid: number): boolean {
	const folder = lstatSync(`/proc/${pid}`, { throwIfNoEntry: false });
	return folder?.uid === process.geteuid?.();
}

/** Fields of /proc/pid/stat are counted from the last `)`: a name may contain anything (proc(5)). */
function readProcStat(pid: number): Process | undefined {
	const path = `/proc/${pid}/stat`;
	const stat = readProcFile(path);
	if (stat === undefined) {
		// If /proc was unmounted, the process may still live.
		if (lstatSync("/proc/self/stat", { throwIfNoEntry: false }))
			return undefined;
		throw new UnknownError("/proc was unmounted");
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
		cpu: fields
			.slice(11, 15)
			.reduce((sum, each) => sum + Number(each) * msPerTick, 0),
	};
}

/** Reads processes from `ps`. Its start time has a resolution of one second. */
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
