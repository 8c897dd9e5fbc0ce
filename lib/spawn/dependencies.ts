/**
 * The tasks that others come after (`--after`). The process that ends a task tells those that wait for it.
 * The first task in line looks for ends that were not told.
 */
import { rmSync } from "node:fs";
import { checkLiveness } from "../process/identity.ts";
import { createIn, listNames, removeEmptyFolder } from "../store/files.ts";
import { dependentsFolder, folderPath, type Store } from "../store/paths.ts";
import {
	findTask,
	readRecordVersion,
	updateTaskAsync,
} from "../store/records.ts";
import { idPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import {
	computeDelayLeftMs,
	dependencySentence,
	finishTask,
	isFinal,
	timestamp,
} from "../task/states.ts";
import { handOver } from "./hand-over.ts";
import { dismissTask, isParked, wakeTask } from "./parked.ts";
import { listLocalEntries, setRunnable } from "./queue.ts";

/** Whether a task may start as far as its `after` says; `error`: it never will. */
export type Readiness = "free" | "held" | { error: string };

/** How a task ended; `none` if it has not, `unknown` if its record is gone. */
export type End = Task | "none" | "unknown";

/** Notes for each task which tasks of other launches come after it. @throws the system's error. */
export function registerDependents(store: Store, tasks: readonly Task[]): void {
	const own = new Set(tasks.map(({ id }) => id));
	for (const { id, after = [] } of tasks)
		for (const other of after)
			if (!own.has(other)) createIn(store, dependentsFolder(store, other), id);
}

/** Whether a task may start, by its delay and the ends of those that it comes after. */
export function checkReadiness(
	task: Task,
	findEnd: (id: string) => End,
): Readiness {
	const { after = [], after_mode, paused_at } = task;
	let isHeld = paused_at !== undefined || computeDelayLeftMs(task) > 0;
	for (const id of after) {
		const end = findEnd(id);
		if (end === "none") isHeld = true;
		else if (end === "unknown")
			return { error: `not started: how ${id} ended is unknown` };
		else if (end.status !== "completed" && after_mode !== "any")
			return { error: dependencySentence(end) };
	}
	return isHeld ? "held" : "free";
}

/** How a task ended, by its record. */
export function findEnd(store: Store, id: string): End {
	const task = findTask(store, id);
	if (!task)
		return readRecordVersion(store, id) === undefined ? "unknown" : "none";
	return isFinal(task) ? task : "none";
}

/** The tasks that tasks of other launches come after. */
export const listAwaited = (store: Store): string[] =>
	listNames(store, folderPath(store, "after")).filter((id) =>
		idPattern.test(id),
	);

/**
 * Tells the tasks of other launches that come after an ended task. Those whose supervisors are on other machines are
 * told there, by the one that keeps that machine's queue.
 * @returns whether there were any: then places have to be handed over.
 */
export async function releaseDependents(
	store: Store,
	id: string,
): Promise<boolean> {
	const folder = dependentsFolder(store, id);
	let isAny = false;
	for (const name of listNames(store, folder)) {
		if (idPattern.test(name)) {
			if (waitsElsewhere(store, name)) continue;
			await releaseTask(store, name);
		}
		rmSync(`${folder}/${name}`, { force: true });
		isAny = true;
	}
	if (isAny) removeEmptyFolder(folder);
	return isAny;
}

/** A task that is held: the version of its record, and until when it is delayed, in ms since 1970. */
export type HeldTask = {
	version: string | undefined;
	until: number | undefined;
};

/**
 * Makes tasks ready that were held and are not any more: their delay has passed, or the process that should have done
 * so may have died before. A supervisor that waits for one is only woken; it keeps its delays itself.
 * @param own tasks of this process, which does this for them in its rounds.
 * @param known the tasks when this was called last. They are updated.
 * @returns whether there were any whose record has changed or whose delay has passed.
 */
export async function releaseHeld(
	store: Store,
	own: { has: (id: string) => boolean },
	known: Map<string, HeldTask>,
): Promise<boolean> {
	let isAnyChanged = false;
	const held = listLocalEntries(store, "queue").filter(
		({ state, id }) => state === "held" && !own.has(id),
	);
	const ids = new Set(held.map(({ id }) => id));
	for (const id of known.keys()) if (!ids.has(id)) known.delete(id);
	for (const id of ids) {
		const version = readRecordVersion(store, id);
		const before = known.get(id);
		const isDue = before?.until !== undefined && before.until <= Date.now();
		if (before && before.version === version && !isDue) continue;
		if (!before && !isParked(store, { id })) {
			known.set(id, { version, until: undefined });
			continue;
		}
		const task = findTask(store, id);
		const isDelayed = task && computeDelayLeftMs(task) > 0;
		const until = isDelayed ? Date.parse(task.not_before ?? "") : undefined;
		known.set(id, { version, until });
		isAnyChanged = true;
		await releaseTask(store, id);
	}
	return isAnyChanged;
}

/**
 * Does what follows ends that no supervisor recorded: wakes the supervisors, tells the tasks that come after these,
 * and hands their places in line over.
 */
export async function followEnds(
	store: Store,
	ids: Iterable<string>,
): Promise<void> {
	for (const id of ids) {
		const task = findTask(store, id);
		if (!task || !isFinal(task)) continue;
		if (task.started_at === undefined) dismissTask(store, task);
		else wakeTask(store, task);
		await releaseDependents(store, id);
	}
	handOver(store);
}

/**
 * Does for a parked task what its supervisor would do: makes it ready, or records that it never starts.
 * Another one, and one whose `--on-end` has to run in its own environment, is woken instead.
 */
export async function releaseTask(store: Store, id: string): Promise<void> {
	const task = findTask(store, id);
	if (task?.status !== "queued") return;
	if (!isParked(store, task)) return wakeTask(store, task);
	const readiness = checkReadiness(task, (other) => findEnd(store, other));
	if (readiness === "free") setRunnable(store, task, true);
	if (typeof readiness === "string") return;
	if (task.on_end) return wakeTask(store, task);
	const { error } = readiness;
	const ended = await updateTaskAsync(store, id, (now) =>
		now.status === "queued"
			? finishTask(now, { reason: "dependency", at: timestamp(), error })
			: undefined,
	).catch(() => undefined);
	if (!ended) return wakeTask(store, task);
	dismissTask(store, ended);
	await releaseDependents(store, id);
}

// --- internal ---

/** Whether a task waits in the queue of another machine. */
function waitsElsewhere(store: Store, id: string): boolean {
	const task = findTask(store, id);
	if (task?.status !== "queued" || task.engine || isParked(store, task))
		return false;
	const { supervisor } = task;
	return supervisor !== undefined && checkLiveness(supervisor) === "elsewhere";
}
