/**
 * The process tree of a task: every process it started, and how all of them are stopped or paused.
 *
 * Each process of a task has the task's id in its environment and passes it on. A process that cleared
 * its environment is found by its parent or its session. A supervisor has a mark of its own: neither it
 * nor its descendants belong to the tree of the task that launched it.
 */
import type { Identity, Task } from "../task/schema.ts";
import { isAlive } from "./identity.ts";
import { isOwn, type Process } from "./proc.ts";
import { sleep } from "./runtime.ts";
import { signalProcess } from "./signals.ts";
import { type Snapshot, takeSnapshot, takeSnapshotAsync } from "./snapshot.ts";
import { UnknownError } from "./system.ts";

/**
 * Finds the living processes of a task: this user's processes that have its id in their environment,
 * `root` and its session while `root` lives, processes in `known` (see processKey), and the descendants
 * of all of these; none of an attempt after `maxAttempt`.
 * @throws UnknownError if the processes cannot be read.
 */
export function findTree(
	taskId: string,
	root?: Identity,
	{
		known = new Set(),
		maxAttempt = Number.POSITIVE_INFINITY,
		snapshot: { all, marksOf, hasTask } = takeSnapshot(),
	}: {
		known?: ReadonlySet<string>;
		maxAttempt?: number;
		snapshot?: Snapshot;
	} = {},
): Process[] {
	const isRootAlive = root !== undefined && isAlive(root);
	// A shared snapshot is asked for many tasks: most of them have left nothing.
	if (!isRootAlive && known.size === 0 && !hasTask(taskId)) return [];
	const member = new Map<number, boolean>();
	const byPid = new Map(all.map((each) => [each.pid, each]));
	const decide = (each: Process): boolean => {
		const { pid, session } = each;
		const mark = marksOf(pid);
		if (mark.task === taskId && isOwn(pid))
			return !(Number(mark.attempt) > maxAttempt);
		if (mark.supervisor) return false;
		if (known.has(processKey(each))) return true;
		if (isRootAlive && (pid === root.pid || session === root.pid)) return true;
		const parent = byPid.get(each.parent);
		return parent !== undefined && belongs(parent);
	};
	const belongs = (each: Process): boolean => {
		const decided = member.get(each.pid);
		if (decided !== undefined) return decided;
		member.set(each.pid, false);
		const isMember = decide(each);
		member.set(each.pid, isMember);
		return isMember;
	};
	return all.filter((each) => each.pid !== process.pid && belongs(each));
}

/**
 * Finds the first process of a task's current attempt by its marks; undefined if there is none.
 * @throws UnknownError if there may be one: this user has a process that is younger than the task's
 * supervisor and does not show its environment.
 */
export function findFirst(
	{ id: taskId, attempt = 1, supervisor }: Task,
	snapshot: Snapshot,
): Process | undefined {
	const [first] = findTree(taskId, undefined, { snapshot })
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
	root?: Identity;
	/** The first signal; SIGKILL follows. */
	signal?: NodeJS.Signals;
	/** The time between the first signal and SIGKILL, in ms. */
	graceMs?: number;
	/** The last attempt to stop: a later one belongs to another supervisor. */
	maxAttempt?: number | undefined;
	/** Signals the root without a scan. Used while scans fail. */
	signalRoot?: (name: NodeJS.Signals) => void;
};

/** The time after SIGKILL until the processes that are left count as survivors, in ms. */
const killTimeoutMs = 5000;

/**
 * Stops a task's tree: the first signal, a grace, SIGKILL. It has stopped when two scans find nothing,
 * because a process may start another between a scan and its signal. A failed scan or signal is repeated
 * until the time has passed.
 * @returns the processes that survived SIGKILL.
 * @throws UnknownError if the last scan failed.
 */
export async function stopTree(
	taskId: string,
	{
		root,
		signal = "SIGTERM",
		graceMs = 5000,
		maxAttempt,
		signalRoot,
	}: StopOptions = {},
): Promise<Process[]> {
	const known = new Set<string>();
	const signalled = new Set<string>();
	const scan = async () =>
		findTree(taskId, root, {
			known,
			...(maxAttempt && { maxAttempt }),
			snapshot: await takeSnapshotAsync(),
		});
	const start = performance.now();
	for (let quiet = 0, pause = 5; ; pause = Math.min(pause * 2, 100)) {
		const elapsed = performance.now() - start;
		const isLast = elapsed > graceMs + killTimeoutMs;
		const left = await (isLast ? scan() : unlessUnknownAsync(scan));
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
			await unlessUnknownAsync(() => {
				signalProcess(each, name);
				signalled.add(key);
			});
		}
		await sleep(pause);
	}
}

/**
 * Pauses or continues a task's tree. Ends when two scans find no process left to signal.
 * @throws UnknownError if the processes cannot be read.
 */
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
		await sleep(5);
	}
}

/**
 * Continues the paused processes of an ended task: nobody can unpause it any more.
 * @throws UnknownError if the processes cannot be read.
 */
export function resumeTree(
	{ id, process }: Pick<Task, "id" | "process">,
	snapshot = takeSnapshot(),
): void {
	for (const each of findTree(id, process, { snapshot }))
		if (each.paused) signalProcess(each, "SIGCONT");
}

// --- internal ---

const processKey = ({ pid, start }: Process) => `${pid}:${start}`;

/** Awaits a scan or a signal; undefined if the result is "cannot tell". */
async function unlessUnknownAsync<T>(
	act: () => T | Promise<T>,
): Promise<T | undefined> {
	try {
		return await act();
	} catch (error) {
		if (error instanceof UnknownError) return undefined;
		throw error;
	}
}
