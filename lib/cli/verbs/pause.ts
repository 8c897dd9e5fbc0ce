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
import { defineVerb, idsArgument, type Verb } from "../verb.ts";

const args = {
	ids: idsArgument("unfinished", false),
	queue: {
		type: "boolean",
		description: "the whole queue: nothing new starts, running tasks continue",
	},
	...formatFlags,
} as const;

export const definePauseVerb = (
	name: string,
	description: string,
	paused: boolean,
	examples: Verb["examples"],
) =>
	defineVerb({
		meta: { name, description },
		group: "control",
		examples,
		args,
		run: async ({ args: given }) => {
			const words = splitValues(given.ids);
			if (words.length > 0 === Boolean(given.queue))
				throw usage(`bg ${name} takes ids, or --queue`);
			if (given.queue) assertOutsideTasks(`bg ${name} --queue`);
			const store = openStore({ write: true });
			const tasks: { taskId: string; status: string; paused: boolean }[] = [];
			for (const id of new Set(
				words.map((word) => resolveTaskId(store, word)),
			)) {
				const { status, paused_at } = await pauseTask(store, id, paused);
				tasks.push({ taskId: id, status, paused: paused_at !== undefined });
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
						({ taskId, status, paused: held }) =>
							`${taskId}  ${status}${held ? ", paused" : ""}`,
					),
					...(given.queue
						? [queue ? "the queue is paused" : "the queue is running"]
						: []),
				].join("\n"),
			);
		},
	});

export default definePauseVerb(
	"pause",
	"Pause tasks, or the whole queue",
	true,
	[
		["bg pause @last", "its process stops, and its time limit with it"],
		["bg pause --queue", "running tasks continue, nothing new starts"],
	],
);
