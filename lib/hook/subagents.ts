/**
 * Ends that hooks report: of a task whose droid session stops, and of subagents that droid runs in
 * the background by itself. Such a subagent is recorded as a task of kind `native`.
 */
import {
	findLastAssistantText,
	type HookPayload,
	parseSubagent,
} from "../droid/payloads.ts";
import { truncateBytes } from "../print/text.ts";
import { resumeTree } from "../process/process-tree.ts";
import { readOwnTaskId } from "../process/self.ts";
import { unlessUnknown } from "../process/system.ts";
import { buildIndexSlice } from "../prune/index-build.ts";
import { withPendingLaunch } from "../store/claims.ts";
import type { Store } from "../store/paths.ts";
import { createTask, findTask, updateTask } from "../store/records.ts";
import {
	claimSession,
	findOwnedSessions,
	indexSession,
	listSameSessions,
	listSessionTasks,
	readSessionNote,
	writeSessionNote,
} from "../store/sessions/session-index.ts";
import { createSessionId, createTaskId } from "../task/ids.ts";
import { maxResultBytes, schemaVersion, type Task } from "../task/schema.ts";
import { finishTask, isFinal, timestamp } from "../task/states.ts";
import { measureTimeLeft } from "./deadline.ts";
import { writeHookReply } from "./notify.ts";
import { readBytes } from "./transcript.ts";

/** How long a hook may spend on building the index, in ms. */
const indexTimeoutMs = 300;

const maxTranscriptBytes = 4 * 1024 * 1024;

/** The longest recorded name or type of a subagent, in bytes. */
const maxNameBytes = 1000;

const cutName = (name: string) => truncateBytes(name, maxNameBytes, "first");
const cutResult = (text: string) =>
	truncateBytes(text, maxResultBytes, "first");

/** Records a subagent that droid just started in the background as a task. */
export function recordSubagent(store: Store, payload: HookPayload): void {
	const subagent = parseSubagent(payload);
	if (!subagent || !payload.session_id) return;
	const { sessionId, description, prompt, subagent_type } = subagent;
	if (!claimSession(store, sessionId)) return;
	const at = timestamp();
	const id = createTaskId();
	const task: Task = {
		schema: schemaVersion,
		id,
		kind: "native",
		description: cutName(description),
		prompt: cutResult(prompt),
		agent: cutName(subagent_type),
		session_id: createSessionId(id),
		droid_session_id: sessionId,
		parent_session_id: payload.session_id,
		parent_task_id: readOwnTaskId(),
		status: "running",
		queued_at: at,
		started_at: at,
	};
	withPendingLaunch(store, [task.id], () => createTask(store, task));
	indexSession(store, payload.session_id, task.id);
	indexSession(store, sessionId, task.id);
	applyEndNote(store, task);
}

/** Ends a subagent whose end was noted before its record existed, or while that was locked. */
export function applyEndNote(store: Store, task: Task): void {
	const { id, droid_session_id } = task;
	if (!droid_session_id) return;
	const ended = readSessionNote(store, droid_session_id, "ended");
	if (ended !== undefined) finishByHook(store, id, ended);
}

/** Completes the task that a SubagentStop is about. */
export function handleSubagentStop(
	store: Store,
	payload: HookPayload,
	verb: string,
): void {
	const { session_id, task_name, agent_id } = payload;
	if (!session_id) throw new Error("no session_id");
	buildIndexSlice(store, Math.min(indexTimeoutMs, measureTimeLeft()));
	const isAboutSubagent = task_name !== undefined || agent_id !== undefined;
	const findMatching = (session: string) =>
		listUnfinishedTasks(store, session).filter((task) =>
			isAboutSubagent
				? task.kind === "native" &&
					task.parent_session_id === session &&
					task_name !== undefined &&
					task.description === cutName(task_name)
				: [task.session_id, task.droid_session_id].includes(session),
		);
	let matching = findMatching(session_id);
	if (matching.length === 0)
		// Its task may know it under another id.
		matching = listOtherIds(store, session_id, {
			withForked: isAboutSubagent,
		}).flatMap(findMatching);
	const [task] = matching;
	// Two subagents may have the same name: then each ends with its own session.
	if (!task || (isAboutSubagent && matching.length > 1)) {
		if (verb === "hook-complete")
			writeHookReply({ error: `no task of session ${session_id} to complete` });
		return;
	}
	// Droid sends "" if a hook ran inside the subagent: the end of its session has the true result.
	if (payload.task_result === "") return;
	const { task_result, last_assistant_message, transcript_path } = payload;
	const result = isAboutSubagent
		? (task_result ?? last_assistant_message)
		: (last_assistant_message ?? readTranscript(transcript_path));
	const { status } = finishByHook(store, task.id, result ?? "");
	const { id } = task;
	writeHookReply({
		id,
		taskId: id,
		status,
		completed: isFinal({ status }),
	});
}

/** Ends a task with a result, unless it has ended or is being stopped. Returns the task. */
export function finishByHook(store: Store, id: string, result: string): Task {
	const facts = { result: cutResult(result) };
	const task = updateInTime(store, id, (now) =>
		isFinal(now) || now.stop
			? now
			: finishTask(now, { reason: "hook", at: timestamp(), facts }),
	);
	if (isFinal(task) && task.paused_at) unlessUnknown(() => resumeTree(task));
	return task;
}

/** Updates a record within the time that this hook has left. */
export const updateInTime = (
	store: Store,
	id: string,
	decide: (task: Task) => Task,
) => updateTask(store, id, decide, { timeoutMs: measureTimeLeft() });

/** Notes the result of a subagent that may be recorded later. */
export const noteEnd = (store: Store, session: string, result: string) =>
	writeSessionNote(store, session, "ended", cutResult(result));

/** Lists the unfinished tasks of a session. */
export function listUnfinishedTasks(store: Store, session: string): Task[] {
	return listSessionTasks(store, session)
		.flatMap((id) => findTask(store, id) ?? [])
		.filter((task) => !isFinal(task));
}

/** The other ids of a session, and with `withForked` of those it is a fork of. */
function listOtherIds(
	store: Store,
	session: string,
	{ withForked }: { withForked: boolean },
): string[] {
	const ids = withForked
		? [...findOwnedSessions(store, session).keys()]
		: listSameSessions(store, session);
	return ids.filter((each) => each !== session);
}

/** The last assistant text in the end of a transcript; undefined if it cannot be read. */
export function readTranscript(path: string | undefined): string | undefined {
	const bytes = readBytes(path, { from: "end", most: maxTranscriptBytes });
	return bytes && findLastAssistantText(bytes);
}
