import { parseDurationFlag } from "../../control/schedule.ts";
import { type WaitOptions, waitForTasks } from "../../control/wait.ts";
import { exitCodes, usage } from "../../error.ts";
import { formatStatus } from "../../print/status.ts";
import { formatProgramCall, toLine, writeAll } from "../../print/text.ts";
import { formatTaskAge } from "../../print/units.ts";
import { checkSupervision } from "../../prune/supervision.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	findAncestors,
	findTask,
	readTask,
	resolveTaskId,
} from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { taskVariable } from "../../task/variables.ts";
import { refuseEmpty, splitValues } from "../arguments.ts";
import {
	dismissNotice,
	formatFlags,
	isJsonWanted,
	openProgressLine,
	reply,
	truncateRecord,
	warn,
} from "../reply.ts";
import { defineVerb } from "../verb.ts";

export default defineVerb({
	meta: {
		name: "wait",
		description: "Wait until tasks are over, and bring their results",
	},
	examples: [
		["bg wait", "all that are not over"],
		["bg wait --any --timeout 10m", "the first one, and no longer than that"],
	],
	args: {
		ids: {
			type: "positional",
			required: false,
			multiple: true,
			from: "unfinished",
			description: "task ids; without, all that are not over",
		},
		any: { type: "boolean", description: "until the first one is over" },
		timeout: {
			type: "string",
			valueHint: "90s|30m|2h",
			description: "no longer than this (exit code 124)",
		},
		session: {
			type: "string",
			valueHint: "id",
			description: "those of this parent session ($BG_SESSION_ID)",
		},
		...formatFlags,
	},
	run: async ({ args }) => {
		const store = openStore();
		const ancestors = findAncestors(store, process.env[taskVariable]);
		const given = splitValues(args.ids).map((id) => resolveTaskId(store, id));
		for (const id of given)
			if (ancestors.has(id))
				throw usage(
					`${id} is the task this runs in, or one it was launched from: it cannot be waited for here`,
				);
		const timeout = parseDurationFlag("--timeout", args.timeout);
		const session =
			refuseEmpty("--session", args.session) ?? process.env.BG_SESSION_ID;
		const json = isJsonWanted(args);
		const line = await openProgressLine();
		let isRead = true;
		const options: WaitOptions = {
			ids: given.length ? [...new Set(given)] : undefined,
			includes: (task) =>
				!ancestors.has(task.id) &&
				(!session || task.parent_session_id === session) &&
				// Nobody would ever say that it ended: an old record that names no process.
				checkSupervision(task) !== "unknown",
			any: args.any,
			timeout,
			onEnd: (task) => {
				line?.clear();
				if (!json) isRead = writeAll(1, `${describeEnded(task)}\n`) && isRead;
			},
			...(line && { onPoll: (ids) => line.show(describeWaiting(store, ids)) }),
		};
		const start = () => waitForTasks(store, options);
		const waited = await (line?.during(start) ?? start());
		if (typeof waited === "number") return waited;
		const { ended, running, missing, timedOut } = waited;
		const [firstMissing] = missing;
		// Nothing else to tell than that: in the words of the record's own fault.
		if (firstMissing && ended.length + running.length === 0)
			readTask(store, firstMissing);
		const tasks = ended.map(
			({ id, status, exit_code, error, result, recorded }) =>
				truncateRecord(
					{ taskId: id, status, exit_code, error, result, recorded },
					`status ${id} --full`,
				),
		);
		const lost = missing.length ? { missing } : {};
		if (json)
			isRead = reply(args, { tasks, running, timedOut, ...lost }, () => "");
		else if (running.length)
			writeAll(1, `still running: ${running.join(" ")}\n`);
		else if (!ended.length) writeAll(1, "nothing to wait for\n");
		if (isRead) for (const task of ended) dismissNotice(store, task);
		if (timedOut) return exitCodes.timedOut;
		for (const id of missing)
			warn(`nobody can say how ${id} ended: its record is gone or broken`);
		if (missing.length) return exitCodes.missing;
		return ended.every(({ status }) => status === "completed")
			? exitCodes.ok
			: exitCodes.failed;
	},
});

// --- internal ---

/** What is waited for, and for how long already. */
function describeWaiting(store: Store, ids: ReadonlySet<string>): string {
	const names = [...ids].slice(0, 10).flatMap((id) => {
		const task = findTask(store, id);
		return task
			? `${task.description} (${task.status} ${formatTaskAge(task)})`
			: [];
	});
	const what = ids.size === 1 ? "1 task" : `${ids.size} tasks`;
	return `waiting for ${what}: ${names.join(", ")}`;
}

function describeEnded(task: Task): string {
	const note = task.recorded === false ? "  not recorded" : "";
	const what = `${task.id}  ${formatStatus(task.status)}  ${formatTaskAge(task)}  ${toLine(task.description, 60)}${note}`;
	const words = task.error ?? task.result ?? "";
	const shown = toLine(words);
	const all = toLine(words, words.length);
	const more =
		shown === all ? "" : ` (${formatProgramCall(`status ${task.id} --full`)})`;
	return shown ? `${what}\n    ${shown}${more}` : what;
}
