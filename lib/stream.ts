/**
 * What droid says: its stream, read event by event, summed up and shown. Pure: no file, no process.
 *
 * Measured on droid 0.215.0. The stream is one JSON object a line: `system` (init), `message`,
 * `tool_call`, `tool_result`, `error`, `completion`. A line that is no such object is text. A torn
 * last line is left for the next look.
 */
import * as v from "valibot";
import { isTooDeep, maxResultBytes, Progress } from "./task.ts";

const text = v.optional(v.string());

const Event = v.variant("type", [
	v.object({
		type: v.literal("system"),
		subtype: text,
		session_id: text,
		model: text,
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
		error: v.optional(v.object({ message: text })),
		timestamp: v.optional(v.number()),
	}),
	v.object({ type: v.literal("error"), source: text, message: v.string() }),
	v.object({
		type: v.literal("completion"),
		finalText: v.optional(v.string(), ""),
		numTurns: v.optional(v.number()),
		durationMs: v.optional(v.number()),
		usage: v.optional(v.record(v.string(), v.unknown())),
	}),
]);
export type Event =
	| v.InferOutput<typeof Event>
	| { type: "text"; text: string };

/** One line of droid's output; a line that is no event is text. */
export function readEvent(line: string): Event {
	if (line.startsWith("{")) {
		try {
			const parsed = v.safeParse(Event, JSON.parse(line));
			if (parsed.success && !isTooDeep(parsed.output)) return parsed.output;
		} catch {}
	}
	return { type: "text", text: line };
}

/** What a stream has said up to a byte; a reader goes on from there. */
export const Digest = v.object({
	/** Bytes read, always at the start of a line. */
	offset: v.pipe(v.number(), v.integer(), v.minValue(0)),
	progress: Progress,
	sessionId: text,
	model: text,
	finalText: text,
	usage: v.optional(v.record(v.string(), v.unknown())),
	lastError: text,
	/** The first line that was no event: of a droid that never started, the reason. */
	firstText: text,
});
export type Digest = v.InferOutput<typeof Digest>;

const maxMessage = 500;

// What a stream says goes into the record. A session id or usage that is longer is ignored.
const maxSession = 200;
const maxModel = 200;
const maxUsage = 16 * 1024;

/** Nothing read yet, or, of something that is no digest, the same. */
export function readDigest(from: unknown): Digest {
	const parsed = v.safeParse(Digest, from);
	return parsed.success && !isTooDeep(parsed.output)
		? parsed.output
		: { offset: 0, progress: { toolCalls: 0 } };
}

/** Reads on in a stream: `bytes` are what follows `digest.offset`. A torn last line is left. */
export function digestStream(digest: Digest, bytes: Buffer): Digest {
	const end = bytes.lastIndexOf(0x0a) + 1;
	const next: Digest = {
		...digest,
		progress: { ...digest.progress },
		offset: digest.offset + end,
	};
	for (const line of bytes.toString("utf8", 0, end).split("\n"))
		if (line.trim()) digestEvent(next, readEvent(line));
	return next;
}

/** The last completion and error, and the first text, of the end of a stream, whose first line may be torn. */
export function digestTail(bytes: Buffer): Digest {
	const digest: Digest = { offset: 0, progress: { toolCalls: 0 } };
	for (const line of bytes.toString("utf8").split("\n").slice(-2000))
		if (line.trim()) digestEvent(digest, readEvent(line));
	return digest;
}

/** An event as a person reads it; empty where there is nothing to say. */
export function renderEvent(event: Event): string {
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
				? indent(`✗ ${event.error?.message ?? asText(event.value)}`)
				: indent(asText(event.value));
		case "error":
			return `✗ ${event.message}${event.source ? ` (${event.source})` : ""}`;
		case "completion":
			return `# done${describeCompletion(event)}`;
	}
}

/** What a droid's words cost: `120 tokens in, 7 out`. */
export function describeUsage(usage: Record<string, unknown>): string {
	const [read, wrote] = [usage.input_tokens, usage.output_tokens].map((each) =>
		typeof each === "number" ? each : "?",
	);
	return `${read} tokens in, ${wrote} out`;
}

// --- internal ---

function digestEvent(digest: Digest, event: Event): void {
	const { progress } = digest;
	if ("timestamp" in event && event.timestamp !== undefined)
		progress.lastUpdate = timeOf(event.timestamp) ?? progress.lastUpdate;
	switch (event.type) {
		case "system":
			if ((event.session_id?.length ?? 0) <= maxSession)
				digest.sessionId ??= event.session_id;
			digest.model ??= event.model?.slice(0, maxModel);
			break;
		case "message":
			if (event.role !== "assistant") break;
			progress.lastMessage = cut(event.text, maxMessage);
			progress.lastMessageAt = progress.lastUpdate;
			break;
		case "tool_call":
			progress.toolCalls++;
			progress.lastTool = cut(event.toolName, 100);
			break;
		case "error":
			// The client's own "Exec failed" comes last and says less than what went before.
			if (event.source !== "cli" || !digest.lastError)
				digest.lastError = cut(event.message, maxMessage);
			break;
		case "completion":
			digest.finalText = cut(event.finalText, maxResultBytes);
			if (JSON.stringify(event.usage ?? {}).length <= maxUsage)
				digest.usage = event.usage;
			break;
		case "text":
			digest.firstText ??= cut(event.text, maxMessage);
			break;
	}
}

function timeOf(ms: number): string | undefined {
	const time = new Date(ms);
	return Number.isNaN(time.getTime()) ? undefined : time.toISOString();
}

const cut = (value: string, length: number) => value.slice(0, length);

const asText = (value: unknown) =>
	typeof value === "string"
		? value
		: value === undefined
			? ""
			: JSON.stringify(value);

const indent = (value: string) => value.trimEnd().replace(/^/gm, "  ");

/** A tool's parameters in one line: the one that says it all where there is such a one. */
function describeParameters(parameters: unknown): string {
	if (typeof parameters !== "object" || parameters === null)
		return asText(parameters);
	const fields = parameters as Record<string, unknown>;
	for (const key of ["command", "file_path", "pattern", "url", "description"])
		if (typeof fields[key] === "string") return fields[key];
	return JSON.stringify(parameters);
}

function describeCompletion({
	numTurns,
	durationMs,
	usage,
}: Extract<Event, { type: "completion" }>): string {
	const parts = [
		numTurns !== undefined && `${numTurns} turns`,
		durationMs !== undefined && `${(durationMs / 1000).toFixed(1)}s`,
		usage && describeUsage(usage),
	].filter((part) => part);
	return parts.length ? ` (${parts.join(", ")})` : "";
}
