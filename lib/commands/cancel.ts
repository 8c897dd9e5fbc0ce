import { answer, formatFlags, markCollected, paintStatus } from "../answer.ts";
import { filledOf, valuesOf } from "../arguments.ts";
import { brief } from "../brief.ts";
import { type Cancelled, cancelTasks } from "../cancel.ts";
import { openStore } from "../directory.ts";
import { BgError, exitCodes } from "../error.ts";
import type { Store } from "../names.ts";
import { toLine } from "../print.ts";
import { ancestorsOf, eachTask, readTask, resolveId } from "../store.ts";
import { isFinal, stopSignals, taskVariable } from "../task.ts";
import { defineVerb } from "../verb.ts";

export const cancel = defineVerb({
	meta: {
		name: "cancel",
		description: "Stop tasks with everything they started",
	},
	examples: [
		["bg cancel @last", "the newest task"],
		["bg cancel --all --signal INT", "all of this session, gently at first"],
	],
	args: {
		ids: {
			type: "positional",
			required: false,
			multiple: true,
			from: "unfinished",
			description: "task ids",
		},
		all: {
			type: "boolean",
			description: "all that are not over (of $BG_SESSION_ID where it is set)",
		},
		session: {
			type: "string",
			valueHint: "id",
			description: "all of this parent session that are not over",
		},
		signal: {
			type: "string",
			from: stopSignals,
			description: "what to begin with (TERM); KILL follows after 5 s",
		},
		only: {
			type: "boolean",
			description: "leave the tasks that were launched from inside",
		},
		...formatFlags,
	},
	run: async ({ args }) => {
		const given = valuesOf(args.ids);
		const session = filledOf("--session", args.session);
		const ways = [given.length > 0, args.all, session].filter((way) => way);
		if (ways.length !== 1)
			throw new BgError(
				"usage",
				"bg cancel takes ids, or --all, or --session ID",
			);
		const signal = signalOf(args.signal);
		const store = openStore({ write: true });
		const ids = given.length
			? [...new Set(given.map((id) => resolveId(store, id)))]
			: unfinished(store, session ?? process.env.BG_SESSION_ID);
		const only = args.only ?? false;
		const tasks = await cancelTasks(store, ids, { signal, only });
		const [first] = tasks;
		if (tasks.length === 1 && first && !first.status)
			readTask(store, first.taskId);
		const isRead = answer(
			args,
			{
				tasks: tasks.map((task) => brief(task, `status ${task.taskId} --full`)),
			},
			() => tasks.map(describe).join("\n") || "nothing to cancel",
		);
		if (isRead)
			for (const { taskId: id, status } of tasks)
				if (status) markCollected(store, { id, status });
		return tasks.every(({ cancelled }) => cancelled)
			? exitCodes.ok
			: exitCodes.failed;
	},
});

// --- internal ---

function signalOf(given: string | undefined) {
	const name = given?.toUpperCase().replace(/^SIG/, "");
	const signal = stopSignals.find((each) => each === name);
	if (given !== undefined && !signal)
		throw new BgError("usage", `--signal takes ${stopSignals.join(", ")}`);
	return signal;
}

function unfinished(store: Store, session: string | undefined): string[] {
	const own = ancestorsOf(store, process.env[taskVariable]);
	return [...eachTask(store)]
		.filter(
			(task) =>
				!isFinal(task) &&
				!own.has(task.id) &&
				(!session || task.parent_session_id === session),
		)
		.map(({ id }) => id);
}

function describe({ taskId, status, note, survivors }: Cancelled): string {
	const left = survivors
		.map(({ pid, command }) => `${pid} (${toLine(command, 60)})`)
		.join(", ");
	const more = left
		? `  still alive: ${left}`
		: note
			? `  ${toLine(note, 500)}`
			: "";
	return `${taskId}  ${status ? paintStatus(status) : "?"}${more}`;
}
