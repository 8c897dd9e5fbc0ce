/**
 * A snapshot: all processes at one moment, and the marks that bg leaves in the environment of the
 * processes it starts (task/variables.ts).
 */
import {
	attemptVariable,
	supervisorVariable,
	taskVariable,
} from "../task/variables.ts";
import {
	type Environment,
	listPids,
	listPidsAfter,
	listProcesses,
	type Process,
	readCommandLines,
	readEnvironment,
	readLiving,
} from "./proc.ts";
import { sleep } from "./runtime.ts";
import { hasProc } from "./system.ts";

/** All processes at one moment. It is slow to take, so tasks may share one. */
export type Snapshot = {
	all: Process[];
	/** Reads the marks of a process, once. */
	marksOf: (pid: number) => TaskMarks;
	/** Whether a process has the mark of this task. */
	hasTask: (taskId: string) => boolean;
};

type TaskMarks = {
	task?: string;
	attempt?: string;
	supervisor?: boolean;
	/** The process belongs to this user and its environment cannot be read. */
	isHidden?: boolean;
};

/** Takes a snapshot. @throws UnknownError if the processes cannot be read. */
export const takeSnapshot = (): Snapshot =>
	toSnapshot(listProcesses(), createMarksReader());

let upcoming: Promise<Snapshot> | undefined;

/**
 * Like takeSnapshot, but other work of this process goes on after each slice of processes. (`ps` is one
 * call, and blocks.) Calls that follow each other at once share the snapshot, which is taken after them.
 */
export function takeSnapshotAsync(): Promise<Snapshot> {
	upcoming ??= sleep(0).then(() => {
		upcoming = undefined;
		return hasProc() ? takeInSlices() : takeSnapshot();
	});
	return upcoming;
}

/**
 * Whether a task has certainly left no process with its mark, by the pids since its own; false if unknown.
 * @param withinMs how long ago its process began, in ms.
 */
export function hasLeftNothing(
	taskId: string,
	pid: number,
	withinMs: number,
): boolean {
	const pids = listPidsAfter(pid, withinMs);
	if (!pids) return false;
	const read = createMarksReader();
	return pids.every((each) => read(each).task !== taskId);
}

// --- internal ---

/** How many processes are read without a pause: about 8 system calls each. */
const sliceLength = 250;

async function takeInSlices(): Promise<Snapshot> {
	const all: Process[] = [];
	const snapshot = toSnapshot(all, createMarksReader());
	for (const [count, pid] of listPids().entries()) {
		if (count % sliceLength === sliceLength - 1) await sleep(0);
		const found = readLiving(pid);
		if (!found) continue;
		all.push(found);
		snapshot.marksOf(pid);
	}
	return snapshot;
}

function toSnapshot(
	all: Process[],
	read: (pid: number) => TaskMarks,
): Snapshot {
	const marks = new Map<number, TaskMarks>();
	const marksOf = (pid: number) => {
		const known = marks.get(pid) ?? read(pid);
		marks.set(pid, known);
		return known;
	};
	let tasks: Set<string | undefined> | undefined;
	const hasTask = (taskId: string) => {
		tasks ??= new Set(all.map(({ pid }) => marksOf(pid).task));
		return tasks.has(taskId);
	};
	return { all, marksOf, hasTask };
}

/** Returns a function that reads the marks of a process. */
function createMarksReader(): (pid: number) => TaskMarks {
	const read = hasProc() ? readEnvironment : createPsReader();
	return (pid) => findMarks(read(pid));
}

function findMarks(variables: Environment): TaskMarks {
	if (variables === "unreadable") return { isHidden: true };
	const find = (name: string) =>
		variables
			.find((each) => each.startsWith(`${name}=`))
			?.slice(name.length + 1);
	return {
		task: find(taskVariable),
		attempt: find(attemptVariable),
		supervisor: find(supervisorVariable) !== undefined,
	};
}

/**
 * Reads all environments by `ps e`, which prints them after the arguments. A mark among the arguments
 * does not count.
 */
function createPsReader(): (pid: number) => Environment {
	const withoutEnvironment = readCommandLines("axww");
	const withEnvironment = readCommandLines("axeww");
	return (pid) => {
		const args = withoutEnvironment.get(pid);
		const line = withEnvironment.get(pid) ?? "";
		const isSame = args !== undefined && line.startsWith(args);
		return isSame ? line.slice(args.length).split(" ") : [];
	};
}
