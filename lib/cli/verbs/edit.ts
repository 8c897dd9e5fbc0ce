import { assertAutonomyOver } from "../../control/autonomy.ts";
import { parseNumberFlag, parseTimeoutFlag } from "../../control/schedule.ts";
import { loadedEngine } from "../../engine/engine.ts";
import { refused, usage } from "../../error.ts";
import { formatDuration } from "../../print/units.ts";
import { sendSignal, wakeSignal } from "../../process/signals.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import {
	checkSupervision,
	describeSupervision,
} from "../../prune/supervision.ts";
import { reorderTask } from "../../spawn/hand-over.ts";
import { priorities } from "../../spawn/limits.ts";
import { isParked } from "../../spawn/parked.ts";
import { openStore } from "../../store/directory.ts";
import { readTask, resolveTaskId, updateTask } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb, option, required } from "../verb.ts";

export default defineVerb({
	name: "edit",
	description: "Change a queued task",
	group: "control",
	examples: {
		"bg edit @last --priority 10": "it starts before those of priority 0",
		"bg edit @last --timeout 2h": "its maximum run time, once it runs",
	},
	args: {
		id: required("task id", { from: "unfinished" }),
		priority: option("number", "higher starts first, from -999 to 999"),
		timeout: option("90s|30m|2h", "the maximum run time"),
		...formatFlags,
	},
	run: ({ args }) => {
		const priority = parseNumberFlag("--priority", args.priority, priorities);
		const timeout_ms = parseTimeoutFlag(args.timeout);
		if (priority === undefined && timeout_ms === undefined)
			throw usage("nothing to change: give --priority or --timeout");
		const store = openStore({ write: true });
		const id = resolveTaskId(store, args.id, { unfinished: true });
		const before = reconcileTask(store, readTask(store, id));
		assertEditable(before);
		assertAutonomyOver(before, "edit");
		if (before.engine && priority !== undefined)
			throw refused(
				`${id} is a job of ${before.engine.name}, which orders its jobs: --priority has no effect there (scontrol update job=N nice=M)`,
			);
		const task = updateTask(store, id, (now) => {
			assertEditable(now);
			return {
				...now,
				...(priority !== undefined && { priority }),
				...(timeout_ms !== undefined && { timeout_ms }),
			};
		});
		if (!task.engine) reorderTask(store, id);
		else if (task.supervisor) void loadedEngine()?.ring([task]);
		// A parked shell reads its record only when it becomes a supervisor.
		if (task.supervisor && !isParked(store, task))
			sendSignal(task.supervisor, wakeSignal);
		const changed = {
			id,
			taskId: id,
			status: task.status,
			priority: task.priority ?? priorities.usual,
			timeout_ms: task.timeout_ms,
		};
		reply(args, changed, () => {
			const limit = changed.timeout_ms
				? `timeout ${formatDuration(changed.timeout_ms)}`
				: "no timeout";
			return `${id}  queued, priority ${changed.priority}, ${limit}`;
		});
	},
});

// --- internal ---

/** @throws BgError (refused) if it is not queued, or its supervisor cannot be told from here. */
function assertEditable(task: Task): void {
	const { id, status } = task;
	if (status !== "queued")
		throw refused(
			`${id} is ${status}: only a queued task can be edited (bg status ${id})`,
		);
	const supervision = checkSupervision(task);
	if (task.engine && supervision === "unclear") return;
	if (supervision !== "watched")
		throw refused(
			`${id} cannot be edited here: ${describeSupervision(task, supervision) ?? supervision} (bg status ${id})`,
		);
}
