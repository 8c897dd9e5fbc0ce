/**
 * The payloads of hooks and the transcripts of sessions, as droid writes them. Pure.
 *
 * Measured on droid 0.215.0: SubagentStop is about a subagent, and its `session_id` is the parent's; it
 * has `task_name` and `task_result` (another client: `agent_id`). A transcript has one JSON object a
 * line, with role and content inside `message`, in older transcripts at the top level.
 */
import * as v from "valibot";
import { sessionPattern } from "../task/ids.ts";
import { optionalText } from "../task/schema.ts";

export const HookPayload = v.object({
	hook_event_name: optionalText,
	session_id: v.optional(v.pipe(v.string(), v.regex(sessionPattern))),
	calling_session_id: v.optional(v.pipe(v.string(), v.regex(sessionPattern))),
	previous_session_id: v.fallback(
		v.optional(v.pipe(v.string(), v.regex(sessionPattern))),
		undefined,
	),
	source: v.fallback(optionalText, undefined),
	transcript_path: optionalText,
	tool_name: optionalText,
	tool_input: v.optional(v.unknown()),
	tool_response: v.optional(v.unknown()),
	task_name: optionalText,
	task_result: optionalText,
	agent_id: optionalText,
	last_assistant_message: optionalText,
	stop_hook_active: v.optional(v.boolean()),
});
export type HookPayload = v.InferOutput<typeof HookPayload>;

const SubagentLaunch = v.object({
	tool_name: v.literal("Task"),
	tool_input: v.object({
		subagent_type: v.optional(v.string(), "worker"),
		description: v.optional(v.string(), ""),
		prompt: v.optional(v.string(), ""),
	}),
	/** The session's id in it. */
	tool_response: v.pipe(
		v.string(),
		v.startsWith("Task launched in background"),
		v.transform((text) => /^task_id: (\S+)$/m.exec(text)?.[1]),
		v.string(),
		v.regex(sessionPattern),
	),
});

/** A subagent that droid started in the background. */
type Subagent = v.InferOutput<typeof SubagentLaunch>["tool_input"] & {
	sessionId: string;
};

/** The subagent that a call of the Task tool started in the background; undefined for other calls. */
export function parseSubagent(payload: HookPayload): Subagent | undefined {
	const { success, output } = v.safeParse(SubagentLaunch, payload);
	if (!success) return undefined;
	return { ...output.tool_input, sessionId: output.tool_response };
}

const TextParts = v.pipe(
	v.array(v.object({ type: optionalText, text: v.optional(v.string(), "") })),
	v.transform((parts) => parts.filter(({ type }) => type === "text")),
	v.transform((parts) => parts.map(({ text }) => text).join("\n")),
);
const Message = v.object({
	role: v.literal("assistant"),
	content: v.union([v.string(), TextParts]),
});
const TranscriptLine = v.pipe(
	v.string(),
	v.parseJson(),
	v.union([
		v.pipe(
			v.object({ message: Message }),
			v.transform(({ message }) => message),
		),
		Message,
	]),
);

const SessionHead = v.pipe(
	v.string(),
	v.parseJson(),
	v.object({
		type: v.literal("session_start"),
		parent: v.string(),
		// A fork names the message it was made at, or null.
		forkedAtMessageId: v.optional(v.never()),
	}),
);

/**
 * Whether a transcript, of which this is the beginning, was made by the compaction of another session: the
 * payload of its SessionStart often says `resume`, as that of a fork does.
 */
export function isCompactionOf(previous: string, start: string): boolean {
	const [head = "", next = ""] = start.split("\n", 2);
	const { success, output } = v.safeParse(SessionHead, head);
	return (
		success &&
		output.parent === previous &&
		next.startsWith('{"type":"compaction_state"')
	);
}

/**
 * Finds the last text of the assistant in the last bytes of a transcript. Lines that are torn or have
 * no such text are skipped.
 */
export function findLastAssistantText(bytes: Buffer): string | undefined {
	let end = bytes.length;
	while (end > 0) {
		const start = bytes.lastIndexOf(0x0a, end - 1) + 1;
		const text = parseAssistantText(bytes.toString("utf8", start, end));
		if (text) return text;
		end = start - 1;
	}
	return undefined;
}

// --- internal ---

function parseAssistantText(line: string): string | undefined {
	if (!line.includes('"assistant"')) return undefined;
	const { success, output } = v.safeParse(TranscriptLine, line);
	return success ? output.content : undefined;
}
