/**
 * What a hook is given, and what droid writes of a session: payloads and transcripts. Pure.
 *
 * Measured on droid 0.215.0: SubagentStop is about a subagent, and its `session_id` the parent's;
 * it carries `task_name` and `task_result` (another client: `agent_id`). A transcript is one JSON
 * object a line, role and content inside `message`, or in older ones on top.
 */
import * as v from "valibot";
import { sessionPattern } from "./patterns.ts";

const text = v.optional(v.string());

export const Payload = v.object({
	hook_event_name: text,
	session_id: v.optional(v.pipe(v.string(), v.regex(sessionPattern))),
	calling_session_id: v.optional(v.pipe(v.string(), v.regex(sessionPattern))),
	transcript_path: text,
	tool_name: text,
	tool_input: v.optional(v.unknown()),
	tool_response: v.optional(v.unknown()),
	task_name: text,
	task_result: text,
	agent_id: text,
	last_assistant_message: text,
	stop_hook_active: v.optional(v.boolean()),
});
export type Payload = v.InferOutput<typeof Payload>;

const ToolInput = v.object({
	subagent_type: v.optional(v.string(), "worker"),
	description: v.optional(v.string(), ""),
	prompt: v.optional(v.string(), ""),
});

/** A subagent that droid started in the background. */
export type Subagent = v.InferOutput<typeof ToolInput> & { sessionId: string };

/** The subagent that a Task tool's call started in the background; undefined for any other. */
export function subagentOf(payload: Payload): Subagent | undefined {
	const { tool_name, tool_response } = payload;
	const input = v.safeParse(ToolInput, payload.tool_input);
	if (tool_name !== "Task" || !input.success) return undefined;
	if (typeof tool_response !== "string") return undefined;
	if (!tool_response.startsWith("Task launched in background"))
		return undefined;
	const sessionId = /^task_id: (\S+)$/m.exec(tool_response)?.[1] ?? "";
	return sessionPattern.test(sessionId)
		? { ...input.output, sessionId }
		: undefined;
}

const Content = v.union([v.string(), v.array(v.object({ type: text, text }))]);
const Message = v.object({ role: v.literal("assistant"), content: Content });
const Line = v.union([
	v.pipe(
		v.object({ message: Message }),
		v.transform(({ message }) => message),
	),
	Message,
]);

/**
 * The last words of the assistant in the end of a transcript. A line that is torn, or no message,
 * is passed over.
 */
export function lastAssistantText(bytes: Buffer): string | undefined {
	let end = bytes.length;
	while (end > 0) {
		const start = bytes.lastIndexOf(0x0a, end - 1) + 1;
		const words = assistantText(bytes.toString("utf8", start, end));
		if (words) return words;
		end = start - 1;
	}
	return undefined;
}

// --- internal ---

function assistantText(line: string): string | undefined {
	if (!line.includes('"assistant"')) return undefined;
	try {
		const parsed = v.safeParse(Line, JSON.parse(line));
		if (!parsed.success) return undefined;
		const { content } = parsed.output;
		if (typeof content === "string") return content;
		return content
			.filter((part) => part.type === "text")
			.map((part) => part.text ?? "")
			.join("\n");
	} catch {
		return undefined;
	}
}
