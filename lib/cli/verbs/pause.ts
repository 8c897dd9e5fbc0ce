import { assertOutsideTasks } from "../../control/autonomy.ts";
import { pauseTask } from "../../control/pause.ts";
import { usage } from "../../error.ts";
import { handOver } from "../../spawn/hand-over.ts";
import { isQueuePaused, setQueuePaused } from "../../spawn/queue.ts";
import { openStore } from "../../store/directory.ts";
import { notifyWaiters } from "../../store/ends.ts";
import { resolveTaskId } from "../../store/records.ts";
import { splitValues } from "../arguments.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb, flag, optional, type Verb } from "../verb.ts";

const args = {
	ids: optional("task ids", { multiple: true, from: "unfinished" }),
	queue: flag("the whole queue: nothing new starts, running tasks continue"),
	...formatFlags,
} as const;

type PausedTask = {
	id: string;
	taskId: string;
	status: string;
	paused: boolean;
};

type PauseVerb = Pick<Verb, "name" | "description" | "examples"> & {
	paused: boolean;
};

export const definePauseVerb = ({ paused, ...verb }: PauseVerb) =>
	defineVerb({
		...verb,
		group: "control",
		args,
		run: async ({ args: given }) => {
			if ((given.ids !== undefined) === Boolean(given.queue))
				throw usage(`bg ${verb.name} takes ids, or --queue`);
			if (given.queue) assertOutsideTasks(`bg ${verb.name} --queue`);
			const store = openStore({ write: true });
			const tasks: PausedTask[] = [];
			const ids = splitValues(given.ids).map((id) =>
				resolveTaskId(store, id, { unfinished: true }),
			);
			for (const id of new Set(ids)) {
				const { status, paused_at } = await pauseTask(store, id, paused);
				tasks.push({ id, taskId: id, status, paused: paused_at !== undefined });
			}
			if (given.queue) {
				setQueuePaused(store, paused);
				if (!paused) {
					handOver(store);
					notifyWaiters(store);
				}
			}
			const queue = isQueuePaused(store);
			reply(given, { tasks, queue: { paused: queue } }, () =>
				[
					...tasks.map(
						(each) =>
							`${each.taskId}  ${each.status}${each.paused ? ", paused" : ""}`,
					),
					...(given.queue
						? [`the queue is ${queue ? "paused" : "running"}`]
						: []),
				].join("\n"),
			);
		},
	});

export default definePauseVerb({
	name: "pause",
	description: "Pause tasks, or the queue",
	paused: true,
	examples: {
		"bg pause @last": "its process stops, and its time limit with it",
		"bg pause --queue": "running tasks continue, nothing new starts",
	},
});
