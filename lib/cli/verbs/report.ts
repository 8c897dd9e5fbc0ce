import { addProgress, addUsage } from "../../droid/task-output.ts";
import { type ReportedTask, renderReport } from "../../print/report.ts";
import { writeAll } from "../../print/text.ts";
import { reconcileTasks } from "../../prune/reconcile.ts";
import { describeNote } from "../../prune/supervision.ts";
import { openStore } from "../../store/directory.ts";
import { iterateTasks, type UnreadableRecord } from "../../store/records.ts";
import {
	findOwnedSessions,
	isOwned,
} from "../../store/sessions/session-index.ts";
import { refuseEmpty } from "../arguments.ts";
import { dismissNotice, warn } from "../reply.ts";
import { defineVerb, flag, option } from "../verb.ts";

export default defineVerb({
	name: "report",
	description: "Summarize a session, as Markdown",
	group: "inspect",
	examples: {
		"bg report": "the tasks of this session",
		"bg report --all": "all tasks, archived ones included",
	},
	args: {
		session: option("id", "the tasks of this parent session ($BG_SESSION_ID)"),
		all: flag("all tasks of all sessions"),
	},
	run: ({ args }) => {
		const session =
			refuseEmpty("--session", args.session) ?? process.env.BG_SESSION_ID;
		const store = openStore();
		const sessions = session ? findOwnedSessions(store, session) : undefined;
		const unreadable: UnreadableRecord[] = [];
		const found = iterateTasks(store, unreadable, { archived: args.all });
		const all = reconcileTasks(store, found);
		const tasks: ReportedTask[] = [];
		for (const task of all) {
			const isOthers = sessions && !isOwned(sessions, task);
			if (!args.all && (task.archived_at || isOthers)) continue;
			const current = addUsage(store, addProgress(store, task));
			tasks.push({ ...current, note: describeNote(task) });
		}
		if (!writeAll(1, renderReport(tasks))) return;
		for (const task of tasks) dismissNotice(store, task);
		for (const { taskId, problem } of unreadable)
			warn(`unable to read the record of ${taskId}: ${problem}`);
	},
});
