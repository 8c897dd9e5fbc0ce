import { cancelTasks } from "../../control/cancel/cancel.ts";
import type { CancelResult } from "../../control/cancel/request.ts";
import { formatStatus } from "../../print/status.ts";
import { toLine } from "../../print/text.ts";
import { openStore } from "../../store/directory.ts";
import { readTask } from "../../store/records.ts";
import { stopSignals } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { parseChoice } from "../arguments.ts";
import {
	addId,
	confirm,
	dismissNotice,
	formatFlags,
	reply,
	truncateRecord,
	yesFlag,
} from "../reply.ts";
import {
	checkNaming,
	hasSelectors,
	nameTasks,
	ownSelectorFlags,
} from "../selectors.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

export default defineVerb({
	name: "cancel",
	description: "Stop tasks, with everything they started",
	group: "control",
	examples: {
		"bg cancel @last": "the newest task",
		"bg cancel --tag nightly --status queued": "queued tasks with that tag",
		"bg cancel --all --signal INT":
			"all unfinished tasks, with INT as the first signal",
	},
	args: {
		ids: optional("task ids", { multiple: true, from: "unfinished" }),
		...ownSelectorFlags,
		signal: option(
			"signal",
			"the first signal (TERM); KILL follows after 5 s",
			{ from: stopSignals },
		),
		only: flag("do not stop the tasks that these tasks launched"),
		...yesFlag,
		...formatFlags,
	},
	run: async ({ args }) => {
		checkNaming("cancel", args);
		const signal = parseChoice(
			"--signal",
			stopSignals,
			args.signal?.toUpperCase().replace(/^SIG/, ""),
		);
		const store = openStore({ write: true });
		const ids = nameTasks(store, args, {
			verb: "cancel",
			what: "unfinished task",
			applies: (task) => !isFinal(task),
			acts: true,
			unfinished: true,
		});
		const question = () =>
			hasSelectors(args) && ids.length > 1
				? `stop ${ids.length} tasks with everything they started?`
				: undefined;
		if (!(await confirm(args, question))) return false;
		const tasks = await cancelTasks(store, ids, { signal, only: args.only });
		const [first] = tasks;
		if (tasks.length === 1 && first && !first.status)
			readTask(store, first.taskId);
		const isRead = reply(
			args,
			{
				tasks: tasks.map((task) =>
					truncateRecord(addId(task), `status ${task.taskId} --full`),
				),
			},
			() => tasks.map(describeResult).join("\n") || "nothing to cancel",
		);
		if (isRead)
			for (const { taskId: id, status } of tasks)
				if (status) dismissNotice(store, { id, status });
		return tasks.every(({ cancelled }) => cancelled);
	},
});

// --- internal ---

function describeResult(result: CancelResult): string {
	const { taskId, status, note, survivors } = result;
	const left = survivors
		.map(({ pid, command }) => `${pid} (${toLine(command, 60)})`)
		.join(", ");
	const more = left ? `still alive: ${left}` : note && toLine(note, 500);
	const end = status ? formatStatus(status) : "?";
	return `${taskId}  ${end}${more ? `  ${more}` : ""}`;
}
