/**
 * Ends that a hook reports: of a task whose session ended, and of subagents that droid itself runs
 * in the background. Those are tasks as well, so one list holds all.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import {
	findLastAssistantText,
	type HookPayload,
	parseSubagent,
} from "../droid/payloads.ts";
import { truncateBytes } from "../print/text.ts";
import { buildIndexSlice } from "../prune/index-build.ts";
import { withPendingLaunch } from "../store/claims.ts";
import type { Store } from "../store/paths.ts";
import { createTask, findTask, updateTask } from "../store/records.ts";
import {
	claimSession,
	indexSession,
	listSessionTasks,
	readSessionNote,
	writeSessionNote,
} from "../store/session-index.ts";
import { createSessionId, createTaskId } from "../task/ids.ts";
import { maxResultBytes, schemaVersion, type Task } from "../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../task/states.ts";
import { writeHookReply } from "./notify.ts";

/** When a hook is to be done, in ms since it was started: it has 1 s in all. */
const deadlineMs = 900;

/** What is left of that for a lock, in ms. */
export const measureTimeLeft = () =>
	Math.max(50, deadlineMs - performance.now());

/** How long a hook may build on the index, in ms. */
const indexTimeoutMs = 300;

const maxTranscriptBytes = 4 * 1024 * 1024;

/** The most of a subagent's name or type that is recorded, in bytes. */
const maxNameBytes = 1000;

const cutName = (name: string) => truncateBytes(name, maxNameBytes, "first");

/** A subagent that droid runs in the background is a task as well: one list holds all. */
export function recordSubagent(
	store: Store,
	payload: HookPayload,
	parent: string | undefined,
): void {
	const subagent = parseSubagent(payload);
	if (!subagent || !payload.session_id) return;
	const { sessionId, description, prompt, subagent_type } = subagent;
	if (!claimSession(store, sessionId)) return;
	const at = timestamp();
	const task: Task = {
		schema: schemaVersion,
		id: createTaskId(),
		kind: "native",
		description: cutName(description),
		prompt: truncateBytes(prompt, maxResultBytes, "first"),
		agent: cutName(subagent_type),
		session_id: createSessionId(),
		droid_session_id: sessionId,
		parent_session_id: payload.session_id,
		...(parent && { parent_task_id: parent }),
		status: "running",
		queued_at: at,
		started_at: at,
	};
	withPendingLaunch(store, [task.id], () => createTask(store, task));
	indexSession(store, payload.session_id, task.id);
	indexSession(store, sessionId, task.id);
	applyEndNote(store, task);
}

/** A subagent whose end was noted, because its record came later or could not be locked. */
export function applyEndNote(
	store: Store,
	{ id, droid_session_id }: Task,
): void {
	if (!droid_session_id) return;
	const ended = readSessionNote(store, droid_session_id, "ended");
	if (ended !== undefined) finishByHook(store, id, ended);
}

/** A SubagentStop: of whom it speaks, that task is completed. */
export function handleSubagentStop(
	store: Store,
	verb: string,
	payload: HookPayload,
): void {
	const { session_id, task_name, agent_id } = payload;
	if (!session_id) throw new Error("no session_id");
	buildIndexSlice(store, Math.min(indexTimeoutMs, measureTimeLeft()));
	const tasks = listUnfinishedTasks(store, session_id);
	const isAboutSubagent = task_name !== undefined || agent_id !== undefined;
	const matching = tasks.filter((task) =>
		isAboutSubagent
			? task.kind === "native" &&
				task.parent_session_id === session_id &&
				task_name !== undefined &&
				task.description === cutName(task_name)
			: [task.session_id, task.droid_session_id].includes(session_id),
	);
	const [task] = matching;
	// Of two with the same name nobody can say which it was: their own sessions' ends tell.
	if (!task || (isAboutSubagent && matching.length > 1)) {
		if (verb === "hook-complete")
			writeHookReply({ error: `no task of session ${session_id} to complete` });
		return;
	}
	// Droid says "" where a hook ran inside the subagent: its own session's end knows better.
	if (payload.task_result === "") return;
	const said = isAboutSubagent
		? (payload.task_result ?? payload.last_assistant_message ?? "")
		: (payload.last_assistant_message ??
			readTranscript(payload.transcript_path) ??
			"");
	const { status } = finishByHook(store, task.id, said);
	writeHookReply({ taskId: task.id, status, completed: isFinal({ status }) });
}

/** Ends a task with its words, unless it is over or being stopped. */
export function finishByHook(store: Store, id: string, result: string): Task {
	return updateTask(
		store,
		id,
		(now) =>
			isFinal(now) || now.stop
				? undefined
				: finishTask(now, {
						reason: "hook",
						at: timestamp(),
						facts: { result: truncateBytes(result, maxResultBytes, "first") },
					}),
		{ timeoutMs: measureTimeLeft() },
	);
}

/** Notes what a subagent said in the end, for a record that comes later. */
export function writeEndNote(
	store: Store,
	session: string,
	said: string,
): void {
	const text = truncateBytes(said, maxResultBytes, "first");
	writeSessionNote(store, session, "ended", text);
}

/** The tasks of a session that are not over. */
export function listUnfinishedTasks(store: Store, session: string): Task[] {
	return listSessionTasks(store, session)
		.flatMap((id) => findTask(store, id) ?? [])
		.filter((task) => !isFinal(task));
}

/** The last words in a transcript: from its end, so that a long one costs no more than a short. */
export function readTranscript(path: string | undefined): string | undefined {
	if (!path) return undefined;
	try {
		const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
		try {
			const status = fstatSync(fd);
			if (!status.isFile()) return undefined;
			const length = Math.min(status.size, maxTranscriptBytes);
			const bytes = Buffer.alloc(length);
			const read = readSync(fd, bytes, 0, length, status.size - length);
			return findLastAssistantText(bytes.subarray(0, read));
		} finally {
			closeSync(fd);
		}
	} catch {
		return undefined;
	}
}
