import { assertOutsideTasks } from "../../control/autonomy.ts";
import { pauseTask } from "../../control/pause.ts";
import { BgError, usage } from "../../error.ts";
import { handOver } from "../../spawn/hand-over.ts";
import { isQueuePaused, setQueuePaused } from "../../spawn/queue.ts";
import { openStore } from "../../store/directory.ts";
import { notifyWaiters } from "../../store/ends.ts";
import { readTask } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { formatFlags, reply } from "../reply.ts";
import {
	checkNaming,
	hasSelectors,
	nameTasks,
	ownSelectorFlags,
} from "../selectors.ts";
import { defineVerb, flag, optional, type Verb } from "../verb.ts";

const defineArgs = (queue: string) =>
	({
		ids: optional("task ids", { multiple: true, from: "unfinished" }),
		...ownSelectorFlags,
		queue: flag(queue),
		...formatFlags,
	}) as const;

type PausedTask = {
	id: string;
	taskId: string;
	status: string;
	paused: boolean;
	/** Why it was not changed. */
	note?: string;
};

type PauseVerb = Pick<Verb, "name" | "description" | "examples"> & {
	paused: boolean;
};

export const definePauseVerb = ({ paused, ...verb }: PauseVerb) =>
	defineVerb({
		...verb,
		group: "control",
		args: defineArgs(
			paused
				? "the whole queue: nothing new starts, running tasks continue"
				: "the whole queue: queued tasks start again",
		),
		run: async ({ args: given }) => {
			const isNamed = given.ids !== undefined || hasSelectors(given);
			if (isNamed === Boolean(given.queue))
				throw usage(
					`bg ${verb.name} takes ids, or selectors such as --tag, or --queue`,
				);
			if (isNamed) checkNaming(verb.name, given);
			if (given.queue) assertOutsideTasks(`bg ${verb.name} --queue`);
			const store = openStore({ write: true });
			const tasks: PausedTask[] = [];
			const ids = isNamed
				? nameTasks(store, given, {
						verb: verb.name,
						what: paused ? "task to pause" : "paused task",
						applies: (task) => canChange(task, paused),
						acts: true,
						unfinished: true,
					})
				: [];
			for (const id of ids) {
				try {
					const task = await pauseTask(store, id, paused);
					tasks.push(toReply(task));
				} catch (error) {
					// One that cannot be paused, or ended meanwhile, does not affect the others.
					if (!(error instanceof BgError) || ids.length === 1) throw error;
					tasks.push({ ...toReply(readTask(store, id)), note: error.message });
				}
			}
			if (given.queue) {
				setQueuePaused(store, paused);
				// This takes back what was granted before a pause, and waits for a hand-over that began before it.
				handOver(store);
				if (!paused) notifyWaiters(store);
			}
			const queue = isQueuePaused(store);
			reply(given, { tasks, queue: { paused: queue } }, () =>
				[
					...tasks.map(
						({ id, status, paused, note }) =>
							`${id}  ${status}${paused ? ", paused" : ""}${note ? `  ${note}` : ""}`,
					),
					...(isNamed && ids.length === 0 ? [`nothing to ${verb.name}`] : []),
					...(given.queue
						? [`the queue is ${queue ? "paused" : "running"}`]
						: []),
				].join("\n"),
			);
			return tasks.every(({ note }) => note === undefined);
		},
	});

const toReply = ({ id, status, paused_at }: Task): PausedTask => ({
	id,
	taskId: id,
	status,
	paused: paused_at !== undefined,
});

/** Whether a selector means a task: one that can be paused and is not, or the reverse. */
const canChange = (task: Task, paused: boolean) =>
	!isFinal(task) &&
	task.kind !== "native" &&
	!task.engine &&
	paused === (task.paused_at === undefined);

export default definePauseVerb({
	name: "pause",
	description: "Pause tasks, or the queue",
	paused: true,
	examples: {
		"bg pause @last": "its process stops, and its time limit with it",
		"bg pause --tag nightly": "all unfinished tasks with that tag",
		"bg pause --queue": "running tasks continue, nothing new starts",
	},
});
