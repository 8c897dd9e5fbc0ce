/**
 * The tree of a task: what it started, wherever that moved, and how all of it is stopped.
 *
 * Every process of a task carries its id in its environment, and hands it on. Who cleared that is
 * found by its parent or its session. A supervisor carries a mark of its own: it belongs to no
 * tree, nor does what it runs.
 */
import { setTimeout as delay } from "node:timers/promises";
import {
	hasProc,
	listProcesses,
	liveness,
	type Process,
	ps,
	readUnlessGone,
	signalProcess,
} from "./process.ts";
import type { Identity } from "./task.ts";

/** Stands in the environment of every process of a task, and finds it again wherever it moved. */
export const taskVariable = "BG_TASK_ID";

/** Stands in the environment of a supervisor, which is never part of a task's tree. */
export const supervisorVariable = "BG_SUPERVISOR";

/**
 * The living processes of a task: every process of ours whose environment names it, `root` and the
 * rest of its session while it lives, `known` ones, and the children of all of these.
 */
export function findTree(
	taskId: string,
	root?: Identity,
	known: ReadonlySet<string> = new Set(),
): Process[] {
	const all = listProcesses();
	const rootLives = root !== undefined && liveness(root) === "alive";
	const environments = environmentReader();
	const member = new Map<number, boolean>();
	const byPid = new Map(all.map((each) => [each.pid, each]));
	const belongs = (each: Process): boolean => {
		const decided = member.get(each.pid);
		if (decided !== undefined) return decided;
		member.set(each.pid, false);
		const mark = environments(each.pid);
		const parent = byPid.get(each.parent);
		const answer =
			mark.task === taskId ||
			(!mark.supervisor &&
				(known.has(keyOf(each)) ||
					(rootLives && (each.pid === root.pid || each.session === root.pid)) ||
					(parent !== undefined && belongs(parent))));
		member.set(each.pid, answer);
		return answer;
	};
	return all.filter((each) => each.pid !== process.pid && belongs(each));
}

export type StopOptions = {
	root?: Identity | undefined;
	/** The first signal; SIGKILL follows. */
	signal?: NodeJS.Signals;
	/** How long the first signal may take, in ms. */
	grace?: number;
};

/**
 * Stops a task's tree: the signal, a grace, SIGKILL. Looks again until two looks find nothing, for
 * a process may start another between a look and its signal.
 * @returns what survived even that, 5 s after the first SIGKILL.
 */
export async function stopTree(
	taskId: string,
	{ root, signal = "SIGTERM", grace = 5000 }: StopOptions = {},
): Promise<Process[]> {
	const known = new Set<string>();
	const asked = new Set<string>();
	const start = performance.now();
	for (let quiet = 0, pause = 5; ; pause = Math.min(pause * 2, 100)) {
		const left = findTree(taskId, root, known);
		quiet = left.length ? 0 : quiet + 1;
		if (quiet === 2) return [];
		const spent = performance.now() - start;
		if (spent > grace + 5000) return left;
		for (const each of left) {
			const key = keyOf(each);
			known.add(key);
			if (spent > grace) signalProcess(each, "SIGKILL");
			else if (!asked.has(key)) signalProcess(each, signal);
			asked.add(key);
		}
		await delay(pause);
	}
}

// --- internal ---

const keyOf = ({ pid, start }: Process) => `${pid}:${start}`;

type Marks = { task: string | undefined; supervisor: boolean };

/** Reads the marks that bg leaves in the environment of the processes it starts. */
function environmentReader(): (pid: number) => Marks {
	const marksIn = (environment: string, separator: string): Marks => {
		const variables = environment.split(separator);
		const task = variables.find((each) => each.startsWith(`${taskVariable}=`));
		return {
			task: task?.slice(taskVariable.length + 1),
			supervisor: variables.some((each) =>
				each.startsWith(`${supervisorVariable}=`),
			),
		};
	};
	if (hasProc())
		return (pid) => marksIn(readUnlessGone(`/proc/${pid}/environ`) ?? "", "\0");
	const lines = new Map(
		ps(["eww", "-ax", "-o", "pid=,command="])
			.split("\n")
			.map((line) => line.trim())
			.map((line) => [Number.parseInt(line, 10), line]),
	);
	return (pid) => marksIn(lines.get(pid) ?? "", " ");
}
