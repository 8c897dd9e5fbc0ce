/**
 * Submits planned tasks to an engine: records first, then the jobs. A launch succeeds as a whole or not at all: if it
 * fails or its process dies halfway, what was written is withdrawn, here or by the next verb.
 */
import { loadEngine } from "../../engine/engine.ts";
import {
	createPendingLaunch,
	endPendingLaunch,
	groupBy,
	keepPending,
	noteSubmitted,
	readJobNumber,
} from "../../engine/submissions.ts";
import type { Engine, Submission } from "../../engine/types.ts";
import { usage } from "../../error.ts";
import { buildSelfCommand } from "../../process/executables.ts";
import { withdrawLaunch } from "../../prune/withdraw.ts";
import { createOnEndMark } from "../../spawn/command.ts";
import { registerDependents } from "../../spawn/dependencies.ts";
import {
	buildLimitFlags,
	buildSupervisorEnvironment,
} from "../../spawn/supervisor.ts";
import { writePrivateFile } from "../../store/files.ts";
import { environmentFile, type Store } from "../../store/paths.ts";
import { createTasks, findTask } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { computeDelayLeftMs, isFinal } from "../../task/states.ts";
import type { LaunchPlan, LaunchResult } from "./plan.ts";

/** The most tasks of one job array (Slurm's MaxArraySize is 1001 unless a site raised it). */
const maxArray = 1000;

/**
 * Submits all plans or none.
 * @throws BgError: usage for the arguments of the engine, refused in its words.
 */
export async function submitPlans(
	store: Store,
	plans: readonly LaunchPlan[],
): Promise<LaunchResult[]> {
	const engine = await loadEngine(store);
	const parts = groupTasks(plans.map(({ task }) => task));
	const tasks = parts.flatMap((part) => part.tasks);
	for (const task of tasks) checkPredecessors(store, task, tasks);
	const pending = createPendingLaunch(
		store,
		parts.map((part) => ({
			launch: part.launch,
			ids: part.tasks.map(({ id }) => id),
		})),
	);
	try {
		registerDependents(store, tasks);
		for (const { task, env, writeFiles } of plans) {
			writeFiles(store);
			if (Object.keys(env).length)
				writePrivateFile(environmentFile(store, task.id), JSON.stringify(env));
			if (task.on_end) createOnEndMark(store, task.id);
		}
		await createTasks(store, tasks);
		keepPending(pending);
		const jobs = new Map<string, string>();
		for (const part of parts)
			noteSubmitted(store, pending, {
				launch: part.launch,
				job: submitPart({ store, engine, jobs }, part),
			});
	} catch (error) {
		withdrawLaunch(store, engine, pending);
		throw error;
	}
	endPendingLaunch(pending);
	const submitted = new Map(tasks.map((task) => [task.id, task]));
	return plans.map(({ task, warnings }) => ({
		task: submitted.get(task.id) ?? task,
		warnings,
	}));
}

// --- internal ---

/** Tasks that are submitted together. */
type Part = { launch: string; tasks: Task[] };

/**
 * Tasks with the same arguments and delay, and none before them, make an array; each other one is a submission of its
 * own, after those that it comes after.
 */
function groupTasks(tasks: readonly Task[]): Part[] {
	const together = groupBy(tasks, (task) => {
		const { id, after, engine, not_before = "" } = task;
		// An engine counts seconds.
		const second = not_before.slice(0, "2000-01-01T00:00:00".length);
		return after ? id : JSON.stringify([engine?.args, second]);
	});
	const groups = together.flatMap((all) =>
		Array.from({ length: Math.ceil(all.length / maxArray) }, (_, part) =>
			all.slice(part * maxArray, (part + 1) * maxArray),
		),
	);
	return sortByOrder(groups).map((group) => {
		const launch = group[0]?.id ?? "";
		const isArray = group.length > 1;
		return {
			launch,
			tasks: group.map((task, index) => ({
				...task,
				engine: {
					...task.engine,
					name: task.engine?.name ?? "slurm",
					launch,
					...(isArray && { index }),
				},
			})),
		};
	});
}

/** Those that others come after first. The plans of a batch have no cycle. */
function sortByOrder(groups: readonly Task[][]): Task[][] {
	const sorted: Task[][] = [];
	const left = new Set(groups);
	const waiting = new Set(groups.flat().map(({ id }) => id));
	while (left.size) {
		const free = [...left].filter((group) =>
			group.every(({ after = [] }) => !after.some((id) => waiting.has(id))),
		);
		const next = free.length ? free : [...left];
		for (const group of next) {
			sorted.push(group);
			left.delete(group);
			for (const { id } of group) waiting.delete(id);
		}
	}
	return sorted;
}

/** A task on an engine may follow a local one that has ended. @throws BgError (usage). */
function checkPredecessors(
	store: Store,
	{ after = [] }: Task,
	own: readonly Task[],
): void {
	for (const id of after) {
		if (own.some((task) => task.id === id)) continue;
		const task = findTask(store, id);
		if (task && !task.engine && !isFinal(task))
			throw usage(
				`--after ${id}: it runs on this machine and has not ended, so an engine cannot wait for it (bg wait ${id})`,
			);
	}
}

function submitPart(
	{
		store,
		engine,
		jobs,
	}: { store: Store; engine: Engine; jobs: Map<string, string> },
	{ launch, tasks }: Part,
): string {
	const [first] = tasks;
	const submission: Submission = {
		launch,
		tasks,
		args: first?.engine?.args ?? [],
		after: (first?.after ?? []).flatMap((id) => findJob(store, jobs, id)),
		delayMs: first ? computeDelayLeftMs(first) : 0,
		command: [...buildSelfCommand(), "supervise", ...buildLimitFlags()],
		env: buildSupervisorEnvironment(store, 1),
	};
	const job = engine.submit(submission);
	for (const { id, engine: own } of tasks)
		jobs.set(id, own?.index === undefined ? job : `${job}_${own.index}`);
	return job;
}

/** The job of a task that another one comes after; none if it has ended. */
function findJob(
	store: Store,
	jobs: ReadonlyMap<string, string>,
	id: string,
): string[] {
	const own = jobs.get(id);
	if (own) return [own];
	const task = findTask(store, id);
	if (!task?.engine || isFinal(task)) return [];
	const { launch = "", index, job } = task.engine;
	const number = job ?? readJobNumber(store, launch);
	if (!number) return [];
	return [job || index === undefined ? number : `${number}_${index}`];
}
