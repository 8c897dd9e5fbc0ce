import { describeNote, dismissNotice, warn } from "../answer.ts";
import { refuseEmpty } from "../arguments.ts";
import { openStore } from "../directory.ts";
import { addProgress } from "../output.ts";
import { writeAll } from "../print.ts";
import { reconcileTask } from "../prune.ts";
import { type ReportedTask, renderReport } from "../report.ts";
import { iterateTasks, type UnreadableRecord } from "../store.ts";
import { defineVerb } from "../verb.ts";

export const report = defineVerb({
	meta: {
		name: "report",
		description: "Sum up the tasks of a session in Markdown",
	},
	examples: [
		["bg report", "this session, to be printed as it is"],
		["bg report --all", "every session, also what cleanup put away"],
	],
	args: {
		session: {
			type: "string",
			valueHint: "id",
			description: "the tasks of this parent session ($BG_SESSION_ID)",
		},
		all: { type: "boolean", description: "all there are, whosever they are" },
	},
	run: ({ args }) => {
		const session =
			refuseEmpty("--session", args.session) ?? process.env.BG_SESSION_ID;
		const store = openStore();
		const unreadable: UnreadableRecord[] = [];
		const tasks: ReportedTask[] = [];
		for (const each of iterateTasks(store, unreadable)) {
			const isOthers = session && each.parent_session_id !== session;
			if (!args.all && (each.archived_at || isOthers)) continue;
			const task = reconcileTask(store, each);
			tasks.push({ ...addProgress(store, task), note: describeNote(task) });
		}
		if (!writeAll(1, renderReport(tasks))) return;
		for (const task of tasks) dismissNotice(store, task);
		for (const { taskId, problem } of unreadable)
			warn(`the record of ${taskId} cannot be read: ${problem}`);
	},
});
