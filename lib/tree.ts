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
import {
	attemptVariable,
	type Identity,
	supervisorVariable,
	taskVariable,
} from "./task.ts";

/** All processes at one moment, and the marks they carry: dear to take, so tasks may share one. */
export type Snapshot = { all: Process[]; marksOf: (pid: number) => Marks };

export function takeSnapshot(): Snapshot {
	const all = listProcesses();
	const read = marksReader();
	const marks = new Map<number, Marks>();
	const marksOf = (pid: number) => {
		const known = marks.get(pid) ?? read(pid);
		marks.set(pid, known);
		return known;
	};
	return { all, marksOf };
}

/**
 * The living processes of a task: every process of ours whose environment names it, `root` and the
 * rest of its session while it lives, `known` ones, and the children of all of these.
 */
export function findTree(
	taskId: string,
	root?: Identity,
	known: ReadonlySet<string> = new Set(),
	{ all, marksOf }: Snapshot = takeSnapshot(),
): Process[] {
	const rootLives = root !== undefined && liveness(root) === "alive";
	const member = new Map<number, boolean>();
	const byPid = new Map(all.map((each) => [each.pid, each]));
	const belongs = (each: Process): boolean => {
		const decided = member.get(each.pid);
		if (decided !== undefined) return decided;
		member.set(each.pid, false);
		const mark = marksOf(each.pid);
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

/** Holds a task's tree where it is, or lets it go on; looks again until two looks find none left. */
export async function pauseTree(
	taskId: string,
	root: Identity | undefined,
	paused: boolean,
): Promise<void> {
	for (let quiet = 0, looks = 0; quiet < 2 && looks < 100; looks++) {
		const left = findTree(taskId, root).filter(
			(each) => each.paused !== paused,
		);
		quiet = left.length ? 0 : quiet + 1;
		for (const each of left)
			signalProcess(each, paused ? "SIGSTOP" : "SIGCONT");
		await delay(5);
	}
}

// --- internal ---

const keyOf = ({ pid, start }: Process) => `${pid}:${start}`;

type Marks = {
	task: string | undefined;
	attempt: string | undefined;
	supervisor: boolean;
};

/** Reads the marks that bg leaves in the environment of the processes it starts. */
function marksReader(): (pid: number) => Marks {
	const marksIn = (environment: string, separator: string): Marks => {
		const variables = environment.split(separator);
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
		return (pid) => marksIn(readUnlessGone(`/proc/${pid}/environ`) ?? "", "\0");
	// What follows the arguments is the environment: a mark among the arguments is none.
	const [bare, whole] = [commandLines("axww"), commandLines("axeww")];
	return (pid) => {
		const args = bare.get(pid);
		const line = whole.get(pid) ?? "";
		const isSame = args !== undefined && line.startsWith(args);
		return marksIn(isSame ? line.slice(args.length) : "", " ");
	};
}

/** What every process was started as. Written without a dash, for there the systems agree. */
function commandLines(options: string): Map<number, string> {
	const lines = ps([options, "-o", "pid=,command="]).split("\n");
	return new Map(
		lines.map((line) => {
			const [, pid, command = ""] = /^\s*(\d+) (.*)$/.exec(line) ?? [];
			return [Number(pid), command];
		}),
	);
}
