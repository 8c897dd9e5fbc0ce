/**
 * Stopping tasks on demand. An intent is written first; then the supervisor stops the tree, for it
 * outlives a canceller that dies halfway. Where no supervisor lives, or it does not answer, the
 * canceller does it. Tasks launched from inside go with the task, unless they shall be left.
 */
import { setTimeout as delay } from "node:timers/promises";
import { commandOf, findTree, liveness, signal, stopTree } from "./process.ts";
import { settle, standingOf } from "./prune.ts";
import { eachTask, readTask, type Store, updateTask } from "./store.ts";
import {
	finish,
	intend,
	isFinal,
	type LeftBehind,
	type Status,
	type stopSignals,
	type Task,
} from "./task.ts";

export type CancelOptions = {
	/** The first signal; TERM where none is given. */
	signal?: (typeof stopSignals)[number] | undefined;
	/** Leave the tasks that were launched from inside. */
	only?: boolean;
};

export type Cancelled = {
	taskId: string;
	status: Status;
	/** Whether this call stopped something. */
	cancelled: boolean;
	survivors: LeftBehind[];
	/** Why nothing was stopped. */
	note?: string;
};

/** SIGTERM's 5 s, SIGKILL's 5 s, and time to write the end, in ms. */
const supervisorPatience = 13_000;

/** Cancels tasks, and what was launched from inside them, and waits until they are gone. */
export async function cancelTasks(
	store: Store,
	ids: readonly string[],
	options: CancelOptions = {},
): Promise<Cancelled[]> {
	const done = new Map<string, Cancelled>();
	for (let batch = [...ids]; batch.length; ) {
		const results = await Promise.all(
			batch.map((id) => cancelTask(store, id, options)),
		);
		for (const result of results) done.set(result.taskId, result);
		// A task may launch another until it is gone: look again until none is left.
		const parents = results.filter(({ cancelled }) => cancelled);
		batch = options.only
			? []
			: childrenOf(
					store,
					parents.map(({ taskId }) => taskId),
				).filter((id) => !done.has(id));
	}
	return [...done.values()];
}

/** The task a command runs in, and the tasks that one was launched from. */
export function ancestorsOf(store: Store, id: string | undefined): Set<string> {
	const ancestors = new Set<string>();
	for (let at = id; at && !ancestors.has(at); ) {
		ancestors.add(at);
		try {
			at = readTask(store, at).parent_task_id;
		} catch {
			break;
		}
	}
	return ancestors;
}

// --- internal ---

async function cancelTask(
	store: Store,
	id: string,
	options: CancelOptions,
): Promise<Cancelled> {
	const before = settle(store, readTask(store, id));
	if (isFinal(before)) return stopRemains(before);
	const standing = standingOf(before);
	if (standing === "elsewhere" || standing === "unknown")
		return {
			taskId: id,
			status: before.status,
			cancelled: false,
			survivors: [],
			note:
				standing === "unknown"
					? "no process of it is known"
					: `it runs on ${before.supervisor?.machine}`,
		};
	const at = new Date().toISOString();
	let intent = false;
	const task = updateTask(store, id, (now) => {
		if (isFinal(now)) return undefined;
		intent = true;
		const stop = {
			reason: "cancel",
			at,
			by: "bg cancel",
			...(options.signal && { signal: options.signal }),
		} as const;
		const stopping = intend(now, stop);
		return now.status === "queued"
			? finish(stopping, { reason: "cancel", at })
			: stopping;
	});
	if (!intent) return stopRemains(task);
	const end = task.status === "running" ? await awaitStop(store, task) : task;
	const survivors = describe(findTree(id, task.process));
	return {
		taskId: id,
		status: end.status,
		cancelled: end.status === "cancelled" && survivors.length === 0,
		survivors,
	};
}

/** Asks the supervisor, and does it itself where that does not answer. */
async function awaitStop(store: Store, task: Task): Promise<Task> {
	const { supervisor } = task;
	if (supervisor && liveness(supervisor) === "alive") {
		signal(supervisor, "SIGUSR2");
		const deadline = performance.now() + supervisorPatience;
		for (
			let pause = 5;
			performance.now() < deadline;
			pause = Math.min(pause * 2, 50)
		) {
			await delay(pause);
			const now = readTask(store, task.id);
			if (isFinal(now)) return now;
			if (liveness(supervisor) !== "alive") break;
		}
	}
	await stopTree(task.id, {
		root: task.process,
		...(task.stop?.signal && { signal: `SIG${task.stop.signal}` }),
	});
	return settle(store, readTask(store, task.id));
}

/** A finished task's state stays; what is left of its processes is stopped. */
async function stopRemains(task: Task): Promise<Cancelled> {
	const { id, status } = task;
	const remains = findTree(id, task.process);
	if (remains.length === 0)
		return {
			taskId: id,
			status,
			cancelled: false,
			survivors: [],
			note: `already ${status}`,
		};
	const survivors = describe(await stopTree(id, { root: task.process }));
	return { taskId: id, status, cancelled: survivors.length === 0, survivors };
}

function childrenOf(store: Store, parents: readonly string[]): string[] {
	if (parents.length === 0) return [];
	return [...eachTask(store)]
		.filter(
			(task) => !isFinal(task) && parents.includes(task.parent_task_id ?? ""),
		)
		.map(({ id }) => id);
}

const describe = (processes: readonly { pid: number }[]): LeftBehind[] =>
	processes.map(({ pid }) => ({ pid, command: commandOf(pid).slice(0, 200) }));
