import { type CancelResult, cancelTasks } from "../../control/cancel.ts";
import { usage } from "../../error.ts";
import { formatStatus } from "../../print/status.ts";
import { toLine } from "../../print/text.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	findAncestors,
	iterateTasks,
	readTask,
	resolveTaskId,
} from "../../store/records.ts";
import {
	findOwnedSessions,
	isOwned,
} from "../../store/sessions/session-index.ts";
import { stopSignals } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { taskVariable } from "../../task/variables.ts";
import { parseChoice, refuseEmpty, splitValues } from "../arguments.ts";
import {
	addId,
	confirm,
	dismissNotice,
	formatFlags,
	reply,
	truncateRecord,
	yesFlag,
} from "../reply.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

export default defineVerb({
	name: "cancel",
	description: "Stop tasks, with everything they started",
	group: "control",
	examples: {
		"bg cancel @last": "the newest task",
		"bg cancel --all --signal INT":
			"all of this session, with INT as the first signal",
	},
	args: {
		ids: optional("task ids", { multiple: true, from: "unfinished" }),
		all: flag("all unfinished tasks (of $BG_SESSION_ID if set)"),
		session: option("id", "all unfinished tasks of this parent session"),
		signal: option(
			"signal",
			"the first signal (TERM); KILL follows after 5 s",
			{ from: stopSignals },
		),
		only: flag("not the tasks that were launched from inside"),
		...yesFlag,
		...formatFlags,
	},
	run: async ({ args }) => {
		const given = splitValues(args.ids);
		const session = refuseEmpty("--session", args.session);
		if ([given.length, args.all, session].filter(Boolean).length !== 1)
			throw usage("bg cancel takes ids, or --all, or --session ID");
		const signal = parseChoice(
			"--signal",
			stopSignals,
			args.signal?.toUpperCase().replace(/^SIG/, ""),
		);
		const store = openStore({ write: true });
		const ids = given.length
			? [
					...new Set(
						given.map((id) => resolveTaskId(store, id, { unfinished: true })),
					),
				]
			: listUnfinished(store, session ?? process.env.BG_SESSION_ID);
		const question = () =>
			!given.length && ids.length > 1
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

function listUnfinished(store: Store, session: string | undefined): string[] {
	const ancestors = findAncestors(store, process.env[taskVariable]);
	const sessions = session ? findOwnedSessions(store, session) : undefined;
	return [...iterateTasks(store)]
		.filter(
			(task) =>
				!isFinal(task) &&
				!ancestors.has(task.id) &&
				(!sessions || isOwned(sessions, task)),
		)
		.map(({ id }) => id);
}

function describeResult(result: CancelResult): string {
	const { taskId, status, note, survivors } = result;
	const left = survivors
		.map(({ pid, command }) => `${pid} (${toLine(command, 60)})`)
		.join(", ");
	const more = left ? `still alive: ${left}` : note && toLine(note, 500);
	const end = status ? formatStatus(status) : "?";
	return `${taskId}  ${end}${more ? `  ${more}` : ""}`;
}
