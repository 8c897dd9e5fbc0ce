import { parseDurationFlag } from "../../control/schedule.ts";
import { type WaitOptions, waitForTasks } from "../../control/wait.ts";
import { exitCodes, usage } from "../../error.ts";
import { formatStatus } from "../../print/status.ts";
import { formatProgramCall, toLine, writeAll } from "../../print/text.ts";
import { formatTaskAge } from "../../print/units.ts";
import { checkSupervision } from "../../prune/supervision.ts";
import { isQueuePaused } from "../../spawn/queue.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import {
	findAncestors,
	findTask,
	readTask,
	resolveTaskId,
} from "../../store/records.ts";
import { listUnseen } from "../../store/sessions/notices.ts";
import { followSession } from "../../store/sessions/session-index.ts";
import type { Task } from "../../task/schema.ts";
import { taskVariable } from "../../task/variables.ts";
import { refuseEmpty, splitValues } from "../arguments.ts";
import {
	dismissNotice,
	formatFlags,
	isJsonWanted,
	openProgressLine,
	queuePausedWarning,
	truncateRecord,
	warn,
	writeJson,
} from "../reply.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

export default defineVerb({
	name: "wait",
	description: "Wait until tasks end, and show their results",
	group: "inspect",
	examples: {
		"bg wait": "all unfinished tasks",
		"bg wait --any --timeout 10m": "until one ends, at most 10 minutes",
	},
	args: {
		ids: optional("task ids (all unfinished tasks, and unseen ends)", {
			multiple: true,
			from: "unfinished",
		}),
		any: flag("until the first one ends"),
		timeout: option("90s|30m|2h", "the maximum time (exit code 124)"),
		session: option("id", "only tasks of this parent session ($BG_SESSION_ID)"),
		...formatFlags,
	},
	run: async ({ args }) => {
		const store = openStore();
		const ancestors = findAncestors(store, process.env[taskVariable]);
		const given = splitValues(args.ids).map((id) => resolveTaskId(store, id));
		for (const id of given)
			if (ancestors.has(id))
				throw usage(`unable to wait for ${id}: this command runs inside it`);
		const timeout = parseDurationFlag("--timeout", args.timeout);
		const own = process.env.BG_SESSION_ID;
		const session = refuseEmpty("--session", args.session) ?? own;
		const isOwned = session ? followSession(store, session) : undefined;
		const json = isJsonWanted(args);
		const line = await openProgressLine();
		const isPauseNews = watchPause(store);
		let isRead = true;
		const options: WaitOptions = {
			ids: given.length ? [...new Set(given)] : undefined,
			includes: (task) =>
				!ancestors.has(task.id) &&
				(!isOwned || isOwned(task)) &&
				// An old record without a process never gets an end.
				checkSupervision(task) !== "unknown",
			...(session &&
				session === own && { past: new Set(listUnseen(store, session)) }),
			any: args.any,
			timeout,
			onEnd: (task) => {
				line?.clear();
				if (!json) isRead = writeAll(1, `${describeEnded(task)}\n`) && isRead;
			},
			onPoll: (ids) => {
				if (isPauseNews(ids)) {
					line?.clear();
					warn(queuePausedWarning);
				}
				line?.show(describeWaiting(store, ids));
			},
		};
		const start = () => waitForTasks(store, options);
		const waited = await (line?.during(start) ?? start());
		if (typeof waited === "number") return waited;
		const { ended, running, missing, timedOut } = waited;
		const [firstMissing] = missing;
		// There is nothing else to report: throw the error of the record.
		if (firstMissing && ended.length + running.length === 0)
			readTask(store, firstMissing);
		const tasks = ended.map(
			({ id, status, exit_code, error, result, recorded }) =>
				truncateRecord(
					{ id, taskId: id, status, exit_code, error, result, recorded },
					`status ${id} --full`,
				),
		);
		const lost = missing.length && { missing };
		if (json) isRead = writeJson({ tasks, running, timedOut, ...lost });
		else if (running.length)
			writeAll(1, `still running: ${running.join(" ")}\n`);
		else if (!ended.length) writeAll(1, "nothing to wait for\n");
		if (isRead) for (const task of ended) dismissNotice(store, task);
		if (timedOut) return exitCodes.timedOut;
		for (const id of json ? [] : missing)
			warn(`unable to say how ${id} ended: its record is missing or broken`);
		if (missing.length) return exitCodes.missing;
		return ended.every(({ status }) => status === "completed");
	},
});

// --- internal ---

/** How often to look whether the queue is paused, in ms. */
const pauseCheckMs = 1000;

/** Returns a function that says once whether the queue is paused and one of the tasks is queued. */
function watchPause(store: Store): (ids: ReadonlySet<string>) => boolean {
	let nextCheckAt = 0;
	return (ids) => {
		if (performance.now() < nextCheckAt) return false;
		nextCheckAt = performance.now() + pauseCheckMs;
		const isNews =
			isQueuePaused(store) &&
			[...ids].some((id) => findTask(store, id)?.status === "queued");
		if (isNews) nextCheckAt = Number.POSITIVE_INFINITY;
		return isNews;
	};
}

/** The tasks waited for, with their ages. */
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
