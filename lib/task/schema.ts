/** The task record: its schema and the type derived from it. Unknown keys are kept. */
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

/** Weakest first. A task launched by another task gets at most that task's level. */
export const autonomies = ["low", "medium", "high"] as const;
export type Autonomy = (typeof autonomies)[number];

/** Every reason for an end and its status; undefined if the status depends on the end. */
export const statusByReason = {
	exit: undefined,
	spawn: "error",
	timeout: "error",
	stale: "error",
	lost: "error",
	"output-limit": "error",
	budget: "error",
	dependency: "error",
	/** The job that its supervisor was is over, and that supervisor recorded no end. */
	engine: "error",
	cancel: "cancelled",
	shutdown: "cancelled",
	manual: undefined,
	hook: "completed",
	stream: "completed",
} as const satisfies Record<string, Status | undefined>;

export type Reason = keyof typeof statusByReason;
export const reasons = Object.keys(statusByReason) as [Reason, ...Reason[]];

/** The first signals that `cancel --signal` accepts. */
export const stopSignals = ["TERM", "INT", "HUP", "QUIT", "KILL"] as const;

export const optionalText = v.optional(v.string());

const identity = () =>
	v.object({
		machine: v.string(),
		boot: v.string(),
		pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
		start: v.string(),
		/** Of a process in a job: `<engine>:<cluster>:<number>`, with `:<run>` if the job was started again. */
		job: optionalText,
	});
/** A process. A pid identifies one only together with machine, boot and start time. */
export type Identity = v.InferOutput<ReturnType<typeof identity>>;

export const Progress = v.object({
	toolCalls: v.number(),
	lastTool: optionalText,
	lastUpdate: optionalText,
	lastMessage: optionalText,
	lastMessageAt: optionalText,
	outputFile: optionalText,
});
export type Progress = v.InferOutput<typeof Progress>;

const leftBehind = () => v.object({ pid: v.number(), command: v.string() });
export type LeftBehind = v.InferOutput<ReturnType<typeof leftBehind>>;

/** A request to stop a task: why, when (`at`) and by what. */
export const Stop = v.object({
	reason: v.picklist(reasons),
	at: v.string(),
	by: v.string(),
	signal: v.optional(v.picklist(stopSignals)),
});

export type Stop = v.InferOutput<typeof Stop>;

/** The engines that can run a task's supervisor. Without one it runs on this machine. */
export const engineNames = ["slurm"] as const;
export type EngineName = (typeof engineNames)[number];

/** Where a task's supervisor runs, as a job. */
const engine = () =>
	v.object({
		name: v.picklist(engineNames),
		/** The arguments of the user. */
		args: v.optional(v.array(v.string())),
		/** The name of the job: the first task of the submission. */
		launch: optionalText,
		/** Its place in the job array, from 0. */
		index: v.optional(v.number()),
		/** Added by the supervisor: the number of its job, its node, and how often the job was started again. */
		job: optionalText,
		node: optionalText,
		run: v.optional(v.number()),
	});
export type TaskEngine = v.InferOutput<ReturnType<typeof engine>>;

/** Optional text fields. */
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
	"worktree_dir",
	"worktree_branch",
	"worktree_start",
	"resume_of",
	"retry_of",
	"notified_at",
	"archived_at",
] as const;

/** Optional number fields. */
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
	"max_tokens",
	"paused_ms",
] as const;

/** An earlier attempt of a retried task. */
const attempt = () =>
	v.looseObject({
		attempt: v.number(),
		error: optionalText,
		exit_code: v.optional(v.number()),
		signal: optionalText,
		started_at: optionalText,
		completed_at: optionalText,
		usage: v.optional(v.record(v.string(), v.unknown())),
		/** Whether its engine has put it back into its queue. */
		put_back: v.optional(v.boolean()),
	});

const structuredFields = () =>
	v.looseObject({
		id: v.pipe(v.string(), v.regex(idPattern)),
		kind: v.optional(v.picklist(kinds), "droid"),
		description: v.optional(v.string(), ""),
		autonomy: v.optional(v.picklist(autonomies)),
		command: v.optional(v.array(v.string())),
		/** How a prompt reaches droid: in argv, in a file, or in a file and not in the record. */
		via: v.optional(v.picklist(["argv", "file", "private"])),
		status: v.picklist(statuses),
		reason: v.optional(v.picklist(reasons)),
		stop: v.optional(Stop),
		left_behind: v.optional(v.array(leftBehind())),
		process: v.optional(identity()),
		supervisor: v.optional(identity()),
		engine: v.optional(engine()),
		progress: v.optional(Progress),
		/** What a droid used, all attempts together (task/usage.ts); droid's own keys. */
		usage: v.optional(v.record(v.string(), v.unknown())),
		/** What the session that a droid continues had used when the current attempt began. */
		usage_before: v.optional(v.record(v.string(), v.unknown())),
		tags: v.optional(v.array(v.string())),
		after: v.optional(v.array(v.string())),
		/** How the tasks in `after` must end: all completed, or any way. */
		after_mode: v.optional(v.picklist(["completed", "any"])),
		attempts: v.optional(v.array(attempt())),
		on_end: v.optional(v.array(v.string())),
	});

export type StructuredFields = ReturnType<typeof structuredFields>;

let fields: StructuredFields | undefined;

/**
 * The schema of the fields with structure. Unknown keys pass through unchanged. It is built on demand: the hook that
 * completes a task reads usual records only, which need no schema (task/parse.ts).
 */
export function structuredFieldsSchema(): StructuredFields {
	fields ??= structuredFields();
	return fields;
}

export type Task = v.InferOutput<StructuredFields> & {
	[key in (typeof textFields)[number]]?: string;
} & { [key in (typeof numberFields)[number]]?: number };

/** The most bytes of a result in the record; `.out` has all of it. */
export const maxResultBytes = 16 * 1024;

/** The most left-behind processes that a record names. */
export const maxLeftBehind = 20;

/** The output limit if the launch sets none, in bytes. */
const defaultOutputLimit = 256 * 1024 * 1024;

/** The most output a task may write, in bytes. Output past it is cut when the task ends. */
export const outputLimit = (task: Task): number =>
	task.max_output_bytes ?? defaultOutputLimit;
