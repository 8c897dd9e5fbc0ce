import { addProgress, addUsage } from "../../droid/task-output.ts";
import { mayHaveWorktree } from "../../droid/worktree/birth.ts";
import { isColourWanted } from "../../print/status.ts";
import { formatProgramCall, isTerminal, writeAll } from "../../print/text.ts";
import { findQueueState } from "../../prune/queue-state.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import {
	readTaskMessages,
	renderTaskMessages,
} from "../../prune/task-messages.ts";
import { openStore } from "../../store/directory.ts";
import { locateOutput } from "../../store/output-files.ts";
import type { Store } from "../../store/paths.ts";
import { findTask, readTask, resolveTaskId } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import {
	dismissNotice,
	formatFlags,
	isJsonWanted,
	truncateRecord,
	writeJson,
} from "../reply.ts";
import { defineVerb, flag, required } from "../verb.ts";

/** The width of a line in a pipe, in columns. */
const unlimitedColumns = 500;

export default defineVerb({
	name: "status",
	description: "Show a task's details, with its progress up to now",
	group: "inspect",
	examples: {
		"bg status @last": "the newest task",
		"bg status @last --full --json": "the whole record",
	},
	args: {
		id: required("task id", { from: "tasks" }),
		full: flag("truncate nothing"),
		...formatFlags,
	},
	run: async ({ args }) => {
		const store = openStore();
		const id = resolveTaskId(store, args.id);
		const reconciled = reconcileTask(store, readTask(store, id));
		const note = describeNote(reconciled);
		const waitsFor =
			reconciled.status === "queued"
				? findQueueState(store)?.describeWait(
						reconciled,
						(other) => findTask(store, other)?.status,
					)
				: undefined;
		const messages = readTaskMessages(store, reconciled, args.full);
		const full = {
			...addUsage(store, addProgress(store, reconciled)),
			note,
			waits_for: waitsFor,
			...messages,
			changes: await findChanges(store, reconciled),
		};
		const task = args.full ? full : truncateRecord(full, `status ${id} --full`);
		if (isJsonWanted(args)) {
			if (writeJson(task)) dismissNotice(store, reconciled);
			return;
		}
		const { renderTaskDetails } = await import("../../print/task-details.ts");
		const { readTerminalSize } = await import("../../print/terminal.ts");
		const details = renderTaskDetails(task, {
			note,
			waitsFor,
			...renderTaskMessages(readTaskMessages(store, reconciled, true), id),
			changes:
				full.changes && (await loadChanges()).describeChanges(full.changes),
			output: locateOutput(store, id),
			width: isTerminal(1) ? readTerminalSize().columns : unlimitedColumns,
			colour: isColourWanted(),
		});
		const more =
			task === full ? [] : [formatProgramCall(`status ${id} --full`)];
		if (writeAll(1, `${[...details, ...more].join("\n")}\n`))
			dismissNotice(store, reconciled);
	},
});

// --- internal ---

const loadChanges = () => import("../../droid/worktree/changes.ts");

/** What a task changed in a worktree of its own. */
const findChanges = async (store: Store, task: Task) =>
	mayHaveWorktree(task)
		? (await loadChanges()).readChanges(store, task)
		: undefined;
