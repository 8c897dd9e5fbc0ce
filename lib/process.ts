/**
 * Processes: which one it is, whether it lives, and which ones there are. The only room that sends
 * a signal, and it checks the identity of a process right before each one.
 *
 * A process is known by machine (on Linux with its pid namespace), boot, pid and start time. Where
 * `/proc` is missing the start time comes from `ps`. A zombie is gone. Of a process on another
 * machine nobody here can say anything.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { BgError, codeOf } from "./error.ts";
import type { Identity } from "./task.ts";

export type Liveness = "alive" | "gone" | "elsewhere";

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

let here: Pick<Identity, "machine" | "boot"> | undefined;

/** The machine (id, else host name; on Linux with the pid namespace) and its boot. */
export function thisMachine(): Pick<Identity, "machine" | "boot"> {
	if (here) return here;
	const namespace = attempt(() => readlinkSync("/proc/self/ns/pid"));
	const id =
		attempt(() => readFileSync("/etc/machine-id", "utf8").trim()) ||
		process.getBuiltinModule("node:os").hostname();
	const boot =
		attempt(() =>
			readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim(),
		) ?? sysctl("kern.bootsessionuuid");
	here = {
		machine: namespace ? `${id}:${namespace.replace(/\D/g, "")}` : id,
		boot,
	};
	return here;
}

/** Who a living process is; undefined where there is none, or a zombie. */
export function identify(pid: number): Identity | undefined {
	const found = inspect(pid);
	return found && !found.zombie
		? { ...thisMachine(), pid, start: found.start }
		: undefined;
}

/** Who a child of ours is that may have ended already: until it is waited for it has an entry. */
export function identifyChild(pid: number): Identity {
	return { ...thisMachine(), pid, start: inspect(pid)?.start ?? "ended" };
}

let own: Identity | undefined;

/** Who this process is. */
export function self(): Identity {
	own ??= identify(process.pid);
	if (!own) throw new Error(`cannot identify process ${process.pid}`);
	return own;
}

export function liveness(identity: Identity): Liveness {
	const { machine, boot } = thisMachine();
	if (identity.machine !== machine) return "elsewhere";
	if (identity.boot !== boot) return "gone";
	return identify(identity.pid)?.start === identity.start ? "alive" : "gone";
}

/** Where a process is of which nobody here can say anything. */
export function describeMachine(machine: string): string {
	const [host, namespace] = machine.split(":");
	return thisMachine().machine.startsWith(`${host}:`)
		? `in another pid namespace (${namespace})`
		: `on ${host}`;
}

/** An identity as a file name: what a claim is called. */
export function formatHolder(identity: Identity, nonce: string): string {
	const { machine, boot, pid, start } = identity;
	return [pid, start, boot, machine, nonce].map(encodeURIComponent).join(",");
}

/** The identity in a claim's name, or undefined where the name is not one. */
export function parseHolder(name: string): Identity | undefined {
	const [pid, start, boot, machine, nonce, ...rest] = name
		.split(",")
		.map((part) => attempt(() => decodeURIComponent(part)) ?? "");
	if (!(Number(pid) > 0) || !start || !boot || !machine || !nonce) return;
	return rest.length ? undefined : { machine, boot, pid: Number(pid), start };
}

/** Processes with their command lines (at most 200 characters), for people. */
export function describeProcesses(
	processes: readonly Process[],
): { pid: number; command: string }[] {
	return processes.map(({ pid }) => {
		const args = hasProc()
			? readUnlessGone(`/proc/${pid}/cmdline`)
			: ps(["-o", "command=", "-p", String(pid)]);
		const command = (args ?? "").replaceAll("\0", " ").trim();
		return { pid, command: command.slice(0, 200) };
	});
}

/**
 * Asks a supervisor to look at its records now, and not within a second. By default this signal is
 * ignored, so it harms nobody who has only just been started and does not listen yet.
 */
export const lookSignal = "SIGURG";

/** Sends a signal to a process, if it still is who it was. */
export function signal(target: Identity, name: NodeJS.Signals): void {
	if (liveness(target) === "alive") kill(target.pid, name);
}

/** Signals a process of a list, if it still is who it was, and wakes it where it is paused. */
export function signalProcess(target: Process, signal: NodeJS.Signals): void {
	if (identify(target.pid)?.start !== target.start) return;
	kill(target.pid, signal);
	if (target.paused) kill(target.pid, "SIGCONT");
}

/** Lets a signal that was listened to act on this process after all. */
export const raise = (name: NodeJS.Signals) => kill(process.pid, name);

/** Stops the job this process belongs to, as Ctrl-Z does, until its shell wakes it again. */
export const suspendJob = () => kill(0, "SIGTSTP");

/** All processes that live. */
export function listProcesses(): Process[] {
	const all = hasProc()
		? readdirSync("/proc").flatMap((name) => {
				const pid = Number(name);
				return pid > 0 ? (readProc(pid) ?? []) : [];
			})
		: readPs(["-ax"]);
	return all.filter((each) => !each.zombie);
}

/**
 * Reads what the kernel says of a process; undefined where it is gone, or not ours to look into. Any
 * other fault (no descriptor left, say) is thrown: it must not pass for a death.
 */
export function readUnlessGone(path: string): string | undefined {
	try {
		return readFileSync(path, "utf8");
	} catch (error) {
		const code = codeOf(error) ?? "";
		if (["ENOENT", "ESRCH", "EACCES", "EPERM"].includes(code)) return undefined;
		throw error;
	}
}

let proc: boolean | undefined;

/** Whether the kernel tells of processes in `/proc`; else `ps` does. */
export function hasProc(): boolean {
	proc ??= existsSync("/proc/self/stat");
	return proc;
}

/**
 * What `ps` says, in UTC and without a language; empty where it knows of no such process.
 * @throws BgError (refused) where it cannot tell: that must not pass for a death.
 */
export function ps(args: string[]): string {
	const env = { ...process.env, LC_ALL: "C", TZ: "UTC" };
	return capture("ps", args, env);
}

// --- internal ---

function kill(pid: number, name: NodeJS.Signals): void {
	try {
		process.kill(pid, name);
	} catch (error) {
		// Gone already, or not ours to signal: the next look tells.
		if (codeOf(error) !== "ESRCH" && codeOf(error) !== "EPERM") throw error;
	}
}

function attempt<T>(read: () => T): T | undefined {
	try {
		return read();
	} catch {
		return undefined;
	}
}

function inspect(pid: number): Process | undefined {
	return hasProc() ? readProc(pid) : readPs(["-p", String(pid)])[0];
}

/** Fields of /proc/pid/stat count from the last `)`, for a name may hold anything; see proc(5). */
function readProc(pid: number): Process | undefined {
	const stat = readUnlessGone(`/proc/${pid}/stat`);
	if (!stat) return undefined;
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	const [state, parent, , session] = fields;
	const start = fields[19];
	if (!start) return undefined;
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
function readPs(selection: string[]): Process[] {
	const columns = "pid=,ppid=,sess=,state=,time=,lstart=";
	return ps(["-o", columns, ...selection])
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

function sysctl(name: string): string {
	return attempt(() => capture("sysctl", ["-n", name]).trim()) || "unknown";
}

/** What a short program says. Where there is a /proc, nothing loads this. */
function capture(program: string, args: string[], env = process.env): string {
	const { spawnSync } = process.getBuiltinModule("node:child_process");
	const said = spawnSync(program, args, { env, encoding: "utf8" });
	const problem =
		said.error?.message ?? (said.status ? said.stderr.trim() : said.signal);
	if (!problem) return said.stdout;
	throw new BgError("refused", `unable to run ${program}: ${problem}`);
}
