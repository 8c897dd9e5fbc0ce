import { addProgress, addUsage } from "../../droid/task-output.ts";
import { mayHaveWorktree } from "../../droid/worktree/birth.ts";
import { type ReportedTask, renderReport } from "../../print/report.ts";
import { writeAll } from "../../print/text.ts";
import { describeJobWait } from "../../prune/queue-state.ts";
import { reconcileTasks } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import { iterateTasks, type UnreadableRecord } from "../../store/records.ts";
import { dismissNotice, warn } from "../reply.ts";
import { createMatcher, parseSelectors, selectorFlags } from "../selectors.ts";
import { defineVerb } from "../verb.ts";

export default defineVerb({
	name: "report",
	description: "Summarize tasks, as a Markdown report",
	group: "inspect",
	examples: {
		"bg report": "the tasks of this session",
		"bg report --tag nightly --status error": "failed tasks with that tag",
		"bg report --all": "all tasks, archived ones included",
	},
	args: {
		...selectorFlags,
	},
	run: async ({ args }) => {
		const selectors = parseSelectors(args);
		const own = args.all ? undefined : process.env.BG_SESSION_ID;
		const store = openStore();
		const matches = createMatcher(store, selectors, own);
		const unreadable: UnreadableRecord[] = [];
		const found = iterateTasks(store, unreadable, { archived: args.all });
		const all = reconcileTasks(store, found);
		const tasks: ReportedTask[] = [];
		for (const task of all) {
			if (!matches(task)) continue;
			const current = addUsage(store, addProgress(store, task));
			const waits_for =
				task.status === "queued" ? describeJobWait(task) : undefined;
			tasks.push({ ...current, note: describeNote(task), waits_for });
		}
		if (!writeAll(1, renderReport(await addChanged(store, tasks)))) return;
		for (const task of tasks) dismissNotice(store, task);
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});

// --- internal ---

/** Adds what the tasks with a worktree changed. */
async function addChanged(store: Store, tasks: readonly ReportedTask[]) {
	if (!tasks.some(mayHaveWorktree)) return tasks;
	const { addChanges, describeChanges } = await import(
		"../../droid/worktree/changes.ts"
	);
	return (await addChanges(store, tasks)).map(({ changes, ...task }) => ({
		...task,
		changed: changes && describeChanges(changes),
	}));
}
