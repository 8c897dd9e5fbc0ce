import { type ReportedTask, renderReport } from "../../print/report.ts";
import { writeAll } from "../../print/text.ts";
import { refuseEmpty } from "../arguments.ts";
import { dismissNotice } from "../reply.ts";
import { describeTask, openTasks, warnUnreadable } from "../tasks.ts";
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
		const { store, tasks: all, unreadable } = openTasks();
		const tasks: ReportedTask[] = [];
		for (const task of all) {
			const isOthers = session && task.parent_session_id !== session;
			if (!args.all && (task.archived_at || isOthers)) continue;
			tasks.push(describeTask(store, task));
		}
		if (!writeAll(1, renderReport(tasks))) return;
		for (const task of tasks) dismissNotice(store, task);
		warnUnreadable(unreadable);
	},
});
