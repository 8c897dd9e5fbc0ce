/** The task record: its schema, and the type derived from it. Unknown keys stay in a record. */
import * as v from "valibot";
import { idPattern } from "./ids.ts";

export const schemaVersion = 1;

export const statuses = [
	"queued",
	"running",
	"completed",
	"error",
	"cancelled",
] as const;
export type Status = (typeof statuses)[number];

export const kinds = ["droid", "command", "native"] as const;

/** Weakest first: a task launched from inside another gets at most that one's level. */
export const autonomies = ["low", "medium", "high"] as const;
export type Autonomy = (typeof autonomies)[number];

/** How a prompt reaches droid: in argv, in a file, or in a file and nowhere else. */
const vias = ["argv", "file", "private"] as const;

/** Every reason of an end, and the status it leads to where that is always the same. */
export const statusByReason = {
	exit: undefined,
	spawn: "error",
	timeout: "error",
	stale: "error",
	lost: "error",
	"output-limit": "error",
	dependency: "error",
	cancel: "cancelled",
	shutdown: "cancelled",
	manual: undefined,
	hook: "completed",
	stream: "completed",
} as const satisfies Record<string, Status | undefined>;

export type Reason = keyof typeof statusByReason;
export const reasons = Object.keys(statusByReason) as [Reason, ...Reason[]];

/** What `cancel --signal` may begin with. */
export const stopSignals = ["TERM", "INT", "HUP", "QUIT", "KILL"] as const;

/** Which process: a pid means nothing without the machine, the boot and the start time. */
export const Identity = v.object({
	machine: v.string(),
	boot: v.string(),
	pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
	start: v.string(),
});
export type Identity = v.InferOutput<typeof Identity>;

/** A text that may be missing. */
export const optionalText = v.optional(v.string());

export const Progress = v.object({
	toolCalls: v.number(),
	lastTool: optionalText,
	lastUpdate: optionalText,
	lastMessage: optionalText,
	lastMessageAt: optionalText,
	outputFile: optionalText,
});
export type Progress = v.InferOutput<typeof Progress>;

export const LeftBehind = v.object({ pid: v.number(), command: v.string() });
export type LeftBehind = v.InferOutput<typeof LeftBehind>;

/** Why a task is being stopped; `at` is when that was asked. */
export const Stop = v.object({
	reason: v.picklist(reasons),
	at: v.string(),
	by: v.string(),
	signal: v.optional(v.picklist(stopSignals)),
});

export type Stop = v.InferOutput<typeof Stop>;

/** Fields that are plain text where they are there. */
export const textFields = [
	"prompt",
	"agent",
	"model",
	"parent_model",
	"cwd",
	"stdin",
	"session_id",
	"droid_session_id",
	"parent_session_id",
	"parent_task_id",
	"error",
	"result",
	"signal",
	"queued_at",
	"started_at",
	"completed_at",
	"active_at",
	"concurrency_key",
	"unique_key",
	"not_before",
	"paused_at",
	"worktree",
	"resume_of",
	"retry_of",
	"notified_at",
	"archived_at",
] as const;

/** Fields that are numbers where they are there. */
export const numberFields = [
	"schema",
	"depth",
	"exit_code",
	"pid",
	"priority",
	"timeout_ms",
	"elapsed_ms",
	"quiet_ms",
	"retries",
	"attempt",
	"max_output_bytes",
	"paused_ms",
] as const;

/** How tasks that another waits for may end: all completed, or whatever way. */
const afterModes = ["completed", "any"] as const;

/** One run of a task that was tried again. */
const Attempt = v.looseObject({
	attempt: v.number(),
	error: optionalText,
	exit_code: v.optional(v.number()),
	signal: optionalText,
	started_at: optionalText,
	completed_at: optionalText,
});

/** The rest of a record. Unknown keys stay: a record passes through here without losing anything. */
export const StructuredFields = v.looseObject({
	id: v.pipe(v.string(), v.regex(idPattern)),
	kind: v.optional(v.picklist(kinds), "droid"),
	description: v.optional(v.string(), ""),
	autonomy: v.optional(v.picklist(autonomies)),
	command: v.optional(v.array(v.string())),
	via: v.optional(v.picklist(vias)),
	status: v.picklist(statuses),
	reason: v.optional(v.picklist(reasons)),
	stop: v.optional(Stop),
	left_behind: v.optional(v.array(LeftBehind)),
	process: v.optional(Identity),
	supervisor: v.optional(Identity),
	progress: v.optional(Progress),
	usage: v.optional(v.record(v.string(), v.unknown())),
	tags: v.optional(v.array(v.string())),
	after: v.optional(v.array(v.string())),
	after_mode: v.optional(v.picklist(afterModes)),
	attempts: v.optional(v.array(Attempt)),
	on_end: v.optional(v.array(v.string())),
});

export type Task = v.InferOutput<typeof StructuredFields> & {
	[key in (typeof textFields)[number]]?: string;
} & { [key in (typeof numberFields)[number]]?: number };

/** At most this many bytes of a result stand in the record; the rest is in `.out`. */
export const maxResultBytes = 16 * 1024;

/** At most this many processes that a task left behind are named. */
export const maxLeftBehind = 20;

/** The most a task may write if its launch does not say, in bytes. */
const usualOutputLimit = 256 * 1024 * 1024;

/** The most a task may write, in bytes. Output past it is cut at the end of the task. */
export const outputLimit = (task: Task): number =>
	task.max_output_bytes ?? usualOutputLimit;
