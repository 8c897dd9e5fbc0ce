/** What tests of the hooks share: payloads, transcripts, tasks without a process. */
import { expect } from "bun:test";
import {
	existsSync,
	readdirSync,
	readFileSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { openStore } from "../../lib/store/directory.ts";
import type { Store } from "../../lib/store/paths.ts";
import { createTask, updateTask } from "../../lib/store/records.ts";
import { listNotices } from "../../lib/store/sessions/notices.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { finishTask } from "../../lib/task/states.ts";
import {
	type Answer,
	type CallOptions,
	readOrNothing,
	type Sandbox,
} from "./harness.ts";
import { holdLock } from "./locks.ts";

/** Ids and payloads as droid 0.215.0 was recorded to send them. */
export const parent = "9ed08124-c6d3-40d1-b6ad-e9e504747dac";
export const child = "3eda2caf-d63d-4cfd-b5bf-8ec4ad278e06";
export const other = "7c0f5a52-1d6b-4c1c-9f0e-2f6f6f1f0a11";

export type Fields = Record<string, unknown>;

export const payload = (
	event: string,
	session: string,
	fields: Fields = {},
) => ({
	session_id: session,
	transcript_path: `/nowhere/${session}.jsonl`,
	cwd: "/home/dev/project",
	permission_mode: "auto-high",
	hook_event_name: event,
	...fields,
});

export const stopOf = (session: string, fields: Fields = {}) =>
	payload("SubagentStop", session, { stop_hook_active: false, ...fields });

export const toolUse = (session: string, fields: Fields = {}) =>
	payload("PostToolUse", session, {
		tool_name: "Execute",
		tool_input: { command: "true" },
		tool_response: "",
		...fields,
	});

/** The Task tool's call, answered at once because the subagent runs in the background. */
export const taskCall = (
	session: string,
	subagent: string,
	name = "sub task",
) =>
	toolUse(session, {
		tool_name: "Task",
		tool_input: {
			subagent_type: "worker",
			description: name,
			prompt: "say hello to the parent",
		},
		tool_response: `Task launched in background.\ntask_id: ${subagent}\nsession_id: ${subagent}\nsubagent_type: worker\ndescription: ${name}\nThe task is running in a subagent session.`,
	});

export const sessionStart = (session: string, fields: Fields = {}) =>
	payload("SessionStart", session, { source: "startup", ...fields });

export const sessionEnd = (session: string, fields: Fields = {}) =>
	payload("SessionEnd", session, {
		message_id: "41683ba2-0a0a-4880-bdd9-0417f8552af6",
		reason: "other",
		session_duration_ms: 2319.67431640625,
		message_count: 6,
		...fields,
	});

/** Calls a hook; again if it had no payload in time, for which it does nothing: the machine was too slow. */
export async function send(
	box: Sandbox,
	input: unknown,
	options: CallOptions = {},
): Promise<Answer> {
	for (let tries = 1; ; tries++) {
		const call = { ...options, input: JSON.stringify(input) };
		const answer = await box.bg(["hook"], call);
		if (tries === 4 || answer.stdout || !forgetLateHook(box)) return answer;
	}
}

/** Removes the fault of a hook that had no payload in time; false if there is none. */
function forgetLateHook({ dir }: Sandbox): boolean {
	const path = join(dir, ".hook.log");
	const lines = readOrNothing(path).split("\n");
	const late = lines.findIndex((line) => line.includes("no payload within "));
	if (late < 0) return false;
	const rest = lines.toSpliced(late, 1).join("\n");
	if (rest) writeFileSync(path, rest);
	else rmSync(path);
	return true;
}

export const nested = (text: string) =>
	JSON.stringify({
		type: "message",
		message: { role: "assistant", content: [{ type: "text", text }] },
	});
export const flat = (text: string) =>
	JSON.stringify({ role: "assistant", content: [{ type: "text", text }] });

/** Writes a transcript and returns the field that names it. */
export function transcript(box: Sandbox, ...lines: string[]): Fields {
	const path = join(box.home, `${crypto.randomUUID()}.jsonl`);
	writeFileSync(path, lines.join("\n"));
	return { transcript_path: path };
}

/** A recorded task without a process. */
export function addTask(
	{ dir }: Pick<Sandbox, "dir">,
	fields: Partial<Task> = {},
): string {
	const id = createTaskId();
	const store = openStore({ dir, write: true });
	const queued_at = new Date().toISOString();
	const plain = { kind: "command", description: "a task" } as const;
	createTask(store, { ...plain, id, status: "running", queued_at, ...fields });
	return id;
}

export function endTask(box: Sandbox, id: string, result = "done"): void {
	updateTask({ dir: box.dir }, id, (task) =>
		finishTask(task, {
			reason: "manual",
			at: new Date().toISOString(),
			facts: { result },
		}),
	);
}

/** A finished task of a session, its notice not delivered. */
export function addEnd(box: Sandbox, session: string, result?: string): string {
	const id = addTask(box, { parent_session_id: session });
	endTask(box, id, result);
	return id;
}

/** The context that a hook adds for the model; undefined if none. */
export function noticeIn(
	answer: Answer,
	event = "PostToolUse",
): string | undefined {
	expect(answer.code).toBe(0);
	if (!answer.stdout) return undefined;
	const { hookSpecificOutput, suppressOutput } = answer.json();
	expect(suppressOutput).toBe(true);
	expect(hookSpecificOutput.hookEventName).toBe(event);
	return hookSpecificOutput.additionalContext;
}

export const faults = (box: Pick<Sandbox, "dir">): string[] => {
	const path = join(box.dir, ".hook.log");
	if (!existsSync(path)) return [];
	return readFileSync(path, "utf8").split("\n").slice(0, -1);
};

export const listed = async (box: Sandbox): Promise<Fields[]> =>
	(await box.bg(["list"])).json().tasks;

/** The id of the one native task. */
export function nativeTask(box: Sandbox): string {
	const ids = readdirSync(box.dir)
		.filter((name) => name.endsWith(".json"))
		.map((name) => name.slice(0, -".json".length))
		.filter((id) => box.record(id).kind === "native");
	expect(ids).toHaveLength(1);
	return ids[0] ?? "";
}

export const lock = (box: Sandbox, id: string): (() => void) =>
	holdLock(box.dir, id);

/** A hook never harms its caller. */
export function expectHarmless({ code, stdout, stderr }: Answer): void {
	expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
	if (stdout) expect(JSON.parse(stdout)).toBeObject();
}

/** The ids of a session's notices: those that are due, and those whose end is still awaited. */
export function readNotices(
	store: Store,
	session: string,
): { due: string[]; awaited: string[] } {
	const { awaited = [], due = [] } = Object.groupBy(
		listNotices(store, session),
		({ state }) => (state === "awaited" ? "awaited" : "due"),
	);
	const idsOf = (notices: typeof due) => notices.map(({ id }) => id);
	return { due: idsOf(due), awaited: idsOf(awaited) };
}
