/**
 * The stream of droid: parsed into events, summarized as a digest, rendered as text. Pure.
 *
 * Measured on droid 0.215.0. The stream has one JSON object a line: `system` (init), `message`,
 * `tool_call`, `tool_result`, `error`, `completion`. Any other line is text. A torn last line is left
 * for the next read.
 */
import * as v from "valibot";
import { describeUsage } from "../print/units.ts";
import { isTooDeep } from "../task/parse.ts";
import { maxResultBytes, optionalText, Progress } from "../task/schema.ts";

const StreamEvent = v.variant("type", [
	v.object({
		type: v.literal("system"),
		subtype: optionalText,
		session_id: optionalText,
		model: optionalText,
		cwd: optionalText,
	}),
	v.object({
		type: v.literal("message"),
		role: v.string(),
		text: v.string(),
		timestamp: v.optional(v.number()),
	}),
	v.object({
		type: v.literal("tool_call"),
		toolName: v.string(),
		parameters: v.optional(v.unknown()),
		timestamp: v.optional(v.number()),
	}),
	v.object({
		type: v.literal("tool_result"),
		isError: v.optional(v.boolean(), false),
		value: v.optional(v.unknown()),
		error: v.optional(v.object({ message: optionalText })),
		timestamp: v.optional(v.number()),
	}),
	v.object({
		type: v.literal("error"),
		source: optionalText,
		message: v.string(),
	}),
	v.object({
		type: v.literal("completion"),
		finalText: v.optional(v.string(), ""),
		numTurns: v.optional(v.number()),
		durationMs: v.optional(v.number()),
		usage: v.optional(v.record(v.string(), v.unknown())),
	}),
]);
const StreamLine = v.pipe(v.string(), v.parseJson(), StreamEvent);
export type StreamEvent =
	| v.InferOutput<typeof StreamEvent>
	| { type: "text"; text: string };

/** Parses one line of droid's output. A line that is not an event is text. */
export function parseEvent(line: string): StreamEvent {
	const parsed = line.startsWith("{")
		? v.safeParse(StreamLine, line)
		: undefined;
	return parsed?.success && !isTooDeep(parsed.output)
		? parsed.output
		: { type: "text", text: line };
}

/** A summary of a stream up to a byte, from which a reader continues. */
export const Digest = v.object({
	/** How many bytes were read; always the start of a line. */
	offset: v.pipe(v.number(), v.integer(), v.minValue(0)),
	progress: Progress,
	sessionId: optionalText,
	model: optionalText,
	finalText: optionalText,
	usage: v.optional(v.record(v.string(), v.unknown())),
	lastError: optionalText,
	/** The lines before the first event, each once: why droid did not start, if it did not. */
	firstText: optionalText,
});
export type Digest = v.InferOutput<typeof Digest>;

const maxMessageLength = 500;

/** droid answers an unknown model with the list of those it knows. */
const maxTextLength = 2000;

// These values go into the record. A longer session id or usage is ignored.
const maxSession = 200;
const maxModel = 200;
const maxUsage = 16 * 1024;

/** Parses a digest. Returns the digest of an empty stream if it is none. */
export function parseDigest(from: unknown): Digest {
	const parsed = v.safeParse(Digest, from);
	return parsed.success && !isTooDeep(parsed.output)
		? parsed.output
		: { offset: 0, progress: { toolCalls: 0 } };
}

/** Adds `bytes`, which follow `digest.offset`, to a digest. A torn last line is left. */
export function digestStream(digest: Digest, bytes: Buffer): Digest {
	const end = bytes.lastIndexOf(0x0a) + 1;
	const { progress, offset } = digest;
	const next = { ...digest, progress: { ...progress }, offset: offset + end };
	return addLines(next, bytes.toString("utf8", 0, end).split("\n"));
}

/** Summarizes the last 2,000 lines of a stream. The first of them may be torn. */
export const digestTail = (bytes: Buffer): Digest =>
	addLines(
		parseDigest(undefined),
		bytes.toString("utf8").split("\n").slice(-2000),
	);

/** Renders an event for a person; empty for an event that shows nothing. */
export function renderEvent(event: StreamEvent): string {
	switch (event.type) {
		case "text":
			return event.text;
		case "system":
			return event.subtype === "init"
				? `# session ${event.session_id ?? "?"}, model ${event.model ?? "?"}`
				: "";
		case "message":
			return event.role === "assistant"
				? event.text
				: event.text.replace(/^/gm, "> ");
		case "tool_call":
			return `→ ${event.toolName} ${describeParameters(event.parameters)}`.trimEnd();
		case "tool_result":
			return event.isError
				? indentLines(`✗ ${event.error?.message ?? formatValue(event.value)}`)
				: indentLines(formatValue(event.value));
		case "error":
			return `✗ ${event.message}${event.source ? ` (${event.source})` : ""}`;
		case "completion":
			return `# done${describeCompletion(event)}`;
	}
}

// --- internal ---

/** Changes and returns the digest. */
function addLines(digest: Digest, lines: readonly string[]): Digest {
	for (const line of lines) if (line.trim()) addEvent(digest, parseEvent(line));
	return digest;
}

function addEvent(digest: Digest, event: StreamEvent): void {
	const { progress } = digest;
	// The JSON of a time past the range of dates is null.
	if ("timestamp" in event && event.timestamp !== undefined)
		progress.lastUpdate =
			new Date(event.timestamp).toJSON() ?? progress.lastUpdate;
	switch (event.type) {
		case "system":
			if ((event.session_id?.length ?? 0) <= maxSession)
				digest.sessionId ??= event.session_id;
			digest.model ??= event.model?.slice(0, maxModel);
			break;
		case "message":
			if (event.role !== "assistant") break;
			progress.lastMessage = event.text.slice(0, maxMessageLength);
			progress.lastMessageAt = progress.lastUpdate;
			break;
		case "tool_call":
			progress.toolCalls++;
			progress.lastTool = event.toolName.slice(0, 100);
			break;
		case "error":
			// The client's own "Exec failed" comes last and says less than the error before it.
			if (event.source !== "cli" || !digest.lastError)
				digest.lastError = event.message.slice(0, maxMessageLength);
			break;
		case "completion":
			digest.finalText = event.finalText.slice(0, maxResultBytes);
			if (JSON.stringify(event.usage ?? {}).length <= maxUsage)
				digest.usage = event.usage;
			break;
		case "text":
			addText(digest, event.text);
			break;
	}
}

/** Adds a line of text; after the first event, only if it is the first line. */
function addText(digest: Digest, text: string): void {
	const { firstText = "", sessionId, progress } = digest;
	const lines = firstText.split("\n");
	const hasBegun = sessionId ?? progress.lastUpdate ?? progress.lastMessage;
	if (firstText && hasBegun) return;
	if (lines.includes(text)) return;
	const all = firstText ? `${firstText}\n${text}` : text;
	digest.firstText = all.slice(0, maxTextLength);
}

const formatValue = (value: unknown) =>
	typeof value === "string" ? value : (JSON.stringify(value) ?? "");

const indentLines = (value: string) => value.trimEnd().replace(/^/gm, "  ");

/** Describes a tool's parameters in one line: by the most telling one if it has it, else as JSON. */
function describeParameters(parameters: unknown): string {
	const fields: Record<string, unknown> = Object(parameters);
	for (const key of ["command", "file_path", "pattern", "url", "description"])
		if (typeof fields[key] === "string") return fields[key];
	return formatValue(parameters);
}

function describeCompletion(
	event: Extract<StreamEvent, { type: "completion" }>,
): string {
	const { numTurns, durationMs, usage } = event;
	const parts = [
		numTurns !== undefined && `${numTurns} turns`,
		durationMs !== undefined && `${(durationMs / 1000).toFixed(1)}s`,
		usage && describeUsage(usage),
	].filter((part) => part);
	return parts.length ? ` (${parts.join(", ")})` : "";
}
