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
	listProcesses,
	type Process,
	readCommandLines,
	readEnvironment,
} from "./proc.ts";
import { hasProc } from "./system.ts";

/** All processes at one moment. It is slow to take, so tasks may share one. Marks are read on demand. */
export type Snapshot = { all: Process[]; marksOf: (pid: number) => TaskMarks };

type TaskMarks = {
	task?: string | undefined;
	attempt?: string | undefined;
	supervisor?: boolean;
	/** The process belongs to this user and its environment cannot be read. */
	isHidden?: boolean;
};

/** Takes a snapshot. @throws UnknownError if the processes cannot be read. */
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

// --- internal ---

/** Returns a function that reads the marks of a process. */
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
	// `ps e` prints the environment after the arguments. A mark among the arguments does not count.
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
