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
	listProcesses,
	type Process,
	readCommandLines,
	readEnvironment,
} from "./proc.ts";
import { hasProc } from "./system.ts";

/** All processes at one moment. It is slow to take, so tasks may share one. Marks are read on demand. */
export type Snapshot = { all: Process[]; marksOf: (pid: number) => TaskMarks };

type TaskMarks = {
	task?: string;
	attempt?: string;
	supervisor?: boolean;
	/** The process belongs to this user and its environment cannot be read. */
	isHidden?: boolean;
};

/** Takes a snapshot. @throws UnknownError if the processes cannot be read. */
export function takeSnapshot(): Snapshot {
	const all = listProcesses();
	const readVariables = hasProc() ? readEnvironment : createPsReader();
	const marks = new Map<number, TaskMarks>();
	const marksOf = (pid: number) => {
		const known = marks.get(pid) ?? findMarks(readVariables(pid));
		marks.set(pid, known);
		return known;
	};
	return { all, marksOf };
}

// --- internal ---

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
