/**
 * The tree of a task: every process it started, and how all of them are stopped or held.
 *
 * Each process of a task has the task's id in its environment and hands it on. A process that
 * cleared its environment is found by its parent or its session. A supervisor carries a mark of its
 * own: it belongs to no tree, nor does what it runs.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Identity, Task } from "../task/schema.ts";
import {
	attemptVariable,
	supervisorVariable,
	taskVariable,
} from "../task/variables.ts";
import { isAlive } from "./identity.ts";
import { isOwn, listProcesses, type Process, readEnvironment } from "./proc.ts";
import { signalProcess } from "./signals.ts";
import { hasProc, runPs, UnknownError } from "./system.ts";

/** All processes at one moment, and the marks they carry. It is slow to take, so tasks may share one. */
export type Snapshot = { all: Process[]; marksOf: (pid: number) => TaskMarks };

/** @throws UnknownError if the processes cannot be read. */
export function takeSnapshot(): Snapshot {
	const all = listProcesses();
	const read = createMarksReader();
	const marks = new Map<number, TaskMarks>();
	const marksOf = (pid: number) => {
		const known = marks.get(pid) ?? read(pid);
		marks.set(pid, known);
		return known;
	};
	return { all, marksOf };
}

/**
 * The living processes of a task: this user's processes whose environment names it, `root` and the
 * rest of its session while it lives, `known` ones, and the children of all of these.
 * @throws UnknownError if the processes cannot be read.
 */
export function findTree(
	taskId: string,
	root?: Identity,
	known: ReadonlySet<string> = new Set(),
	{ all, marksOf }: Snapshot = takeSnapshot(),
): Process[] {
	const isRootAlive = root !== undefined && isAlive(root);
	const member = new Map<number, boolean>();
	const byPid = new Map(all.map((each) => [each.pid, each]));
	const belongs = (each: Process): boolean => {
		const decided = member.get(each.pid);
		if (decided !== undefined) return decided;
		member.set(each.pid, false);
		const mark = marksOf(each.pid);
		const parent = byPid.get(each.parent);
		const isMarked = mark.task === taskId && isOwn(each.pid);
		const isMember =
			isMarked ||
			(!mark.supervisor &&
				(known.has(processKey(each)) ||
					(isRootAlive &&
						(each.pid === root.pid || each.session === root.pid)) ||
					(parent !== undefined && belongs(parent))));
		member.set(each.pid, isMember);
		return isMember;
	};
	return all.filter((each) => each.pid !== process.pid && belongs(each));
}

/**
 * The first process of a task's attempt, found by its marks alone; undefined if there is none.
 * @throws UnknownError if the environment of a process cannot be read that may be it: one of this
 * user that is younger than the task's supervisor.
 */
export function findFirst(
	{ id: taskId, attempt = 1, supervisor }: Task,
	snapshot: Snapshot,
): Process | undefined {
	const [first] = findTree(taskId, undefined, undefined, snapshot)
		.filter(({ pid }) => snapshot.marksOf(pid).attempt === String(attempt))
		.sort((a, b) => Number(a.start) - Number(b.start) || a.pid - b.pid);
	const hidden = snapshot.all.find(
		({ pid, start }) =>
			snapshot.marksOf(pid).isHidden &&
			Number(start) >= Number(supervisor?.start),
	);
	if (first || !hidden) return first;
	throw new UnknownError(`/proc/${hidden.pid}/environ cannot be read`);
}

export type StopOptions = {
	root?: Identity | undefined;
	/** The first signal; SIGKILL follows. */
	signal?: NodeJS.Signals;
	/** How long the first signal may take, in ms. */
	graceMs?: number;
	/** Signals the root without a scan: for as long as scans fail. */
	signalRoot?: (name: NodeJS.Signals) => void;
};

/** How long SIGKILL may take, in ms, before what is left counts as a survivor. */
const killTimeoutMs = 5000;

/**
 * Stops a task's tree: the signal, a grace, SIGKILL. It ends when two scans find nothing, for a
 * process may start another between a scan and its signal. A scan or a signal that fails is
 * repeated until the time is over.
 * @returns what survived even SIGKILL.
 * @throws UnknownError if the last scan failed.
 */
export async function stopTree(
	taskId: string,
	{ root, signal = "SIGTERM", graceMs = 5000, signalRoot }: StopOptions = {},
): Promise<Process[]> {
	const known = new Set<string>();
	const signalled = new Set<string>();
	const start = performance.now();
	for (let quiet = 0, pause = 5; ; pause = Math.min(pause * 2, 100)) {
		const elapsed = performance.now() - start;
		const isLast = elapsed > graceMs + killTimeoutMs;
		const left = unlessUnknown(
			() => findTree(taskId, root, known),
			isLast ? "throw" : "ignore",
		);
		quiet = left && left.length === 0 ? quiet + 1 : 0;
		if (quiet === 2) return [];
		if (left && isLast) return left;
		const name = elapsed > graceMs ? "SIGKILL" : signal;
		if (!left && !signalled.has(name)) {
			signalRoot?.(name);
			signalled.add(name);
		}
		for (const each of left ?? []) {
			const key = processKey(each);
			known.add(key);
			if (name === signal && signalled.has(key)) continue;
			unlessUnknown(() => {
				signalProcess(each, name);
				signalled.add(key);
			});
		}
		await delay(pause);
	}
}

/** Holds a task's tree, or lets it go on; ends when two scans find no process left to signal. */
export async function pauseTree(
	taskId: string,
	root: Identity | undefined,
	paused: boolean,
): Promise<void> {
	for (let quiet = 0, scans = 0; quiet < 2 && scans < 100; scans++) {
		const left = findTree(taskId, root).filter(
			(each) => each.paused !== paused,
		);
		quiet = left.length ? 0 : quiet + 1;
		for (const each of left)
			signalProcess(each, paused ? "SIGSTOP" : "SIGCONT");
		await delay(5);
	}
}

/**
 * Lets the stopped processes of an ended task go on.
 * @throws UnknownError if the processes cannot be read.
 */
export function resumeTree(taskId: string): void {
	for (const each of findTree(taskId))
		if (each.paused) signalProcess(each, "SIGCONT");
}

// --- internal ---

const processKey = ({ pid, start }: Process) => `${pid}:${start}`;

/** Undefined if the kernel does not answer. */
function unlessUnknown<T>(
	act: () => T,
	otherwise: "throw" | "ignore" = "ignore",
): T | undefined {
	try {
		return act();
	} catch (error) {
		if (otherwise === "throw" || !(error instanceof UnknownError)) throw error;
		return undefined;
	}
}

type TaskMarks = {
	task?: string | undefined;
	attempt?: string | undefined;
	supervisor?: boolean;
	/** A process of this user whose environment cannot be read. */
	isHidden?: boolean;
};

/** Reads the marks that bg leaves in the environment of the processes it starts. */
function createMarksReader(): (pid: number) => TaskMarks {
	const marksIn = (variables: readonly string[]): TaskMarks => {
		const read = (name: string) =>
			variables
				.find((each) => each.startsWith(`${name}=`))
				?.slice(name.length + 1);
		return {
			task: read(taskVariable),
			attempt: read(attemptVariable),
			supervisor: read(supervisorVariable) !== undefined,
		};
	};
	if (hasProc())
		return (pid) => {
			const variables = readEnvironment(pid);
			return variables === "unreadable"
				? { isHidden: true }
				: marksIn(variables);
		};
	// What follows the arguments is the environment: a mark among the arguments is none.
	const [withoutEnvironment, withEnvironment] = [
		readCommandLines("axww"),
		readCommandLines("axeww"),
	];
	return (pid) => {
		const args = withoutEnvironment.get(pid);
		const line = withEnvironment.get(pid) ?? "";
		const isSame = args !== undefined && line.startsWith(args);
		return marksIn(isSame ? line.slice(args.length).split(" ") : []);
	};
}

/** What every process was started as. Written without a dash, for there the systems agree. */
function readCommandLines(options: string): Map<number, string> {
	const lines = runPs([options, "-o", "pid=,command="]).split("\n");
	return new Map(
		lines.map((line) => {
			const [, pid, command = ""] = /^\s*(\d+) (.*)$/.exec(line) ?? [];
			return [Number(pid), command];
		}),
	);
}
