import { markCollected, noteOf, remark } from "../answer.ts";
import { filledOf } from "../arguments.ts";
import { openStore } from "../directory.ts";
import { withProgress } from "../output.ts";
import { writeAll } from "../print.ts";
import { settle } from "../prune.ts";
import { type Reported, renderReport } from "../report.ts";
import { eachTask, type Unreadable } from "../store.ts";
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
			filledOf("--session", args.session) ?? process.env.BG_SESSION_ID;
		const store = openStore();
		const unreadable: Unreadable[] = [];
		const tasks: Reported[] = [];
		for (const each of eachTask(store, unreadable)) {
			const isOthers = session && each.parent_session_id !== session;
			if (!args.all && (each.archived_at || isOthers)) continue;
			const task = settle(store, each);
			tasks.push({ ...withProgress(store, task), note: noteOf(task) });
		}
		if (!writeAll(1, renderReport(tasks))) return;
		for (const task of tasks) markCollected(store, task);
		for (const { taskId, problem } of unreadable)
			remark(`the record of ${taskId} cannot be read: ${problem}`);
	},
});
