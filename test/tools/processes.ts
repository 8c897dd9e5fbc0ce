/** The processes of a store, from /proc: of what kind each is, and what all of them cost. Linux only. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { supervisorVariable, taskVariable } from "../../lib/task/variables.ts";

/**
 * `supervisor`: bg beside its tasks. `parked`: a shell that waits for a place and becomes a supervisor
 * then. `other`: a task's own process, a call of bg, what a parked shell has started.
 */
export type ProcessKind = "supervisor" | "parked" | "other";

export type StoreProcess = {
	pid: number;
	parent: number;
	/** In clock ticks since boot. With the pid, it names one process. */
	start: number;
	/** As in proc(5): R, S, D, T, …; never Z. */
	state: string;
	kind: ProcessKind;
	/** In bytes. */
	rss: number;
	/** CPU time of it and of the children it waited for, in ms. */
	cpu: number;
	argv: string[];
};

/** Lists the living processes that have a store in their environment, and those with the given pids. */
export function listStoreProcesses(
	dir: string,
	pids: ReadonlySet<number> = new Set(),
): StoreProcess[] {
	return readdirSync("/proc").flatMap((name) => {
		if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
		try {
			const env = readWords(name, "environ");
			const belongs = env.includes(`BG_DIR=${dir}`) || pids.has(Number(name));
			return belongs ? (describe(name, env) ?? []) : [];
		} catch {
			// It has exited, or belongs to another user.
			return [];
		}
	});
}

/** Counts processes by their kind. */
export function countKinds(
	processes: readonly StoreProcess[],
): Record<ProcessKind, number> {
	const counts = { supervisor: 0, parked: 0, other: 0 };
	for (const { kind } of processes) counts[kind]++;
	return counts;
}

/** How many inotify instances a process has open; 0 if it has exited. */
export function countInotify(pid: number): number {
	const folder = `/proc/${pid}/fd`;
	return unlessGone(() => readdirSync(folder), [] as string[]).filter(
		(fd) =>
			unlessGone(() => readlinkSync(`${folder}/${fd}`), "") ===
			"anon_inode:inotify",
	).length;
}

/** The memory that a process shares with no other, in bytes; 0 if it has exited. */
export function readPrivateMemory(pid: number): number {
	const path = `/proc/${pid}/smaps_rollup`;
	const lines = /^Private_(?:Clean|Dirty):\s+(\d+) kB/gm;
	return unlessGone(() => readSize(path, lines), 0);
}

// --- internal ---

/** In USER_HZ, which is 100 on every platform of Linux that Bun knows. */
const msPerTick = 10;

const shells = /^(?:sh|dash|bash|ash|busybox|ksh|mksh|zsh|yash)$/;

/** Describes a process; undefined for a zombie. @throws if it has exited. */
function describe(
	pid: string,
	env: readonly string[],
): StoreProcess | undefined {
	const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
	const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
	const [state = "", parent] = fields;
	if (/[ZX]/.test(state)) return undefined;
	const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields
		.slice(11, 15)
		.map(Number);
	const argv = readWords(pid, "cmdline");
	return {
		pid: Number(pid),
		parent: Number(parent),
		start: Number(fields[19]),
		state,
		kind: kindOf(pid, argv, env),
		rss: readSize(`/proc/${pid}/status`, /^VmRSS:\s+(\d+) kB/gm),
		cpu: (user + system + childUser + childSystem) * msPerTick,
		argv,
	};
}

/** A task's process has the mark of its task and not that of a supervisor. */
function kindOf(
	pid: string,
	argv: readonly string[],
	env: readonly string[],
): ProcessKind {
	const has = (name: string) => env.some((each) => each.startsWith(`${name}=`));
	const isMarked = has(supervisorVariable);
	if (has(taskVariable) && !isMarked) return "other";
	if (!isMarked && !argv.includes("supervise")) return "other";
	if (shells.test(basename(readlinkSync(`/proc/${pid}/exe`)))) return "parked";
	return argv.includes("supervise") ? "supervisor" : "other";
}

function readWords(pid: string, file: string): string[] {
	const text = readFileSync(`/proc/${pid}/${file}`, "utf8");
	return text.split("\0").slice(0, -1);
}

/** The sum of the lines of a file that a pattern selects, in bytes. @throws if the process has exited. */
function readSize(path: string, lines: RegExp): number {
	const sizes = readFileSync(path, "utf8").matchAll(lines);
	return [...sizes].reduce((sum, [, size]) => sum + Number(size) * 1024, 0);
}

/** Reads; `otherwise` if the process has exited. */
function unlessGone<T>(read: () => T, otherwise: T): T {
	try {
		return read();
	} catch {
		return otherwise;
	}
}
