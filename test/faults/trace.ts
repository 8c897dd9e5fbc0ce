/** System calls: which of them a process makes on the store, the errors that fit each, and one that fails. */
import { existsSync, readFileSync } from "node:fs";

/** One call of a process, by its place among the calls of that name that the same thread makes. */
export type CallSite = { call: string; index: number };

/** A call that fails once. Calls of one kind differ in the numbers of processes, tasks and descriptors alone. */
export type Fault = CallSite & { error: string; kind: string };

const creating = ["ENOSPC", "EIO", "EROFS", "EACCES"];
const removing = ["EIO", "EROFS", "EACCES"];
const asking = ["EIO", "EACCES"];
const opening = ["EIO", "EACCES", "ENFILE", "EMFILE", "EINTR"];
const starting = ["EAGAIN", "ENOMEM"];

/** The errors that fit each call. */
const errorsOfCall: Record<string, readonly string[]> = {
	openat: opening,
	mkdir: creating,
	rename: creating,
	symlink: creating,
	link: creating,
	unlink: removing,
	rmdir: removing,
	ftruncate: removing,
	chmod: removing,
	utimensat: removing,
	write: ["ENOSPC", "EIO", "EINTR", "EAGAIN"],
	pwrite64: ["ENOSPC", "EIO", "EINTR", "EAGAIN"],
	read: ["EIO", "EINTR", "EAGAIN"],
	pread64: ["EIO", "EINTR", "EAGAIN"],
	fsync: ["ENOSPC", "EIO"],
	fdatasync: ["ENOSPC", "EIO"],
	statx: asking,
	newfstatat: asking,
	access: asking,
	readlink: asking,
	getdents64: ["EIO"],
	vfork: starting,
	pidfd_open: ["EMFILE", "ENFILE"],
	execve: ["EACCES", "ENOMEM"],
	kill: ["EPERM"],
	inotify_init1: ["EMFILE", "ENFILE"],
	inotify_add_watch: ["ENOSPC", "EACCES"],
};

/** Calls of the runtime itself: its memory, its cgroup. */
const ownFiles = /\/(maps|smaps|cgroup|statm|mountinfo)\b/;

const traced = Object.keys(errorsOfCall).join(",");

/** How many of the calls that differ in numbers alone are tried: a scan of /proc makes hundreds. */
const maxTimes = 3;

/** The argv of strace for a process that is watched, or one of whose calls fails. */
export function straceArgs(log: string, fault?: Fault): string[] {
	if (!fault) return ["-qq", "-y", "-s", "0", `--trace=${traced}`, "-o", log];
	const { call, index, error } = fault;
	const failing = `--inject=${call}:error=${error}:when=${index}`;
	return ["-qq", `--trace=${call},execve`, "-o", log, failing];
}

/**
 * Reads what `straceArgs` without a fault logged.
 * @param dir only calls about this store, about other processes, on standard input and output.
 * @returns every fault that may be tried, in the order of the calls.
 */
export function readFaults(log: string, dir: string): Fault[] {
	const counts = new Map<string, number>();
	const foreign = new Map<string, number>();
	const seen = new Map<string, number>();
	const faults: Fault[] = [];
	const programs = new Set<string>();
	for (const line of readFileSync(log, "utf8").split("\n")) {
		const { thread, call, rest } = parseLine(line);
		const errors = errorsOfCall[call];
		if (!errors || line.includes(" resumed>")) continue;
		const key = `${thread} ${call}`;
		const index = (counts.get(key) ?? 0) + 1;
		counts.set(key, index);
		// A process that was started for a task: its calls are its own business.
		if (isProgram(call, rest)) programs.add(thread);
		if (programs.has(thread)) {
			foreign.set(call, Math.max(foreign.get(call) ?? 0, index));
			continue;
		}
		const isOurs =
			rest.includes(dir) ||
			/\/proc\/\d+/.test(rest) ||
			isAlwaysOurs(call, rest);
		if (!isOurs || ownFiles.test(rest)) continue;
		const kind = `${call} ${rest.replaceAll(dir, "").replace(/AT_FDCWD<.*?>|0x\w+|bg_\w+|[0-9a-f-]{32,}|\d+/g, "")}`;
		const times = (seen.get(kind) ?? 0) + 1;
		seen.set(kind, times);
		if (times > maxTimes) continue;
		const fitting =
			call === "openat" && rest.includes("O_CREAT")
				? [...creating, "ENFILE", "EMFILE", "EINTR"]
				: errors;
		for (const error of fitting) faults.push({ call, index, error, kind });
	}
	return faults.filter(({ call, index }) => index > (foreign.get(call) ?? 0));
}

/** Whether the call of a fault was reached, and by no program of a task. */
export function wasInjected(log: string): boolean {
	if (!existsSync(log)) return false;
	const programs = new Set<string>();
	const threads: string[] = [];
	for (const line of readFileSync(log, "utf8").split("\n")) {
		const { thread, call, rest } = parseLine(line);
		if (isProgram(call, rest)) programs.add(thread);
		if (line.includes("(INJECTED)")) threads.push(thread);
	}
	return threads.length > 0 && !threads.some((each) => programs.has(each));
}

// --- internal ---

function parseLine(line: string): {
	thread: string;
	call: string;
	rest: string;
} {
	const [, thread = "", call = "", rest = ""] =
		/^(?:(\d+) +)?(?:<\.\.\. )?(\w+)[( ](.*)$/.exec(line) ?? [];
	return { thread, call, rest };
}

/** Whether a program other than bg starts. */
const isProgram = (call: string, rest: string) =>
	call === "execve" && !rest.includes('/dist/bg"');

/** Standard input, standard output and error, a process that is started or signalled, a watch. */
const isAlwaysOurs = (call: string, rest: string) =>
	/^(vfork|pidfd_open|kill|inotify_init1|inotify_add_watch)$/.test(call) ||
	(call === "read" && rest.startsWith("0<")) ||
	(call === "write" && /^[12]</.test(rest));
