/**
 * The task record: its schema, its states, and every way it may change. Pure: no file, no process.
 *
 *     launch ─→ queued ─→ running ─→ completed | error | cancelled
 *
 * The first final state wins; facts that come later (exit code, signal) are added beside it. An
 * intent to stop is written before the first signal, and from then on the end is that intent's,
 * whatever the process answers: droid exits 0 on SIGTERM.
 */
import * as v from "valibot";
import { idPattern } from "./patterns.ts";

export const schemaVersion = 1;

/** Stands in the environment of every process of a task, and finds it again wherever it moved. */
export const taskVariable = "BG_TASK_ID";

/** Which attempt of the task a process belongs to: an earlier one may have left some behind. */
export const attemptVariable = "BG_ATTEMPT";

/** Stands in the environment of a supervisor, which is never part of a task's tree. */
export const supervisorVariable = "BG_SUPERVISOR";

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
const statusByReason = {
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

const LeftBehind = v.object({ pid: v.number(), command: v.string() });
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
const textFields = [
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
const numberFields = [
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
const StructuredFields = v.looseObject({
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

/** Fields that may hold anything; of all others the structure says how deep they are. */
const isOpenField = (key: string) =>
	!(key in StructuredFields.entries) || key === "usage" || key === "attempts";

export type Task = v.InferOutput<typeof StructuredFields> & {
	[key in (typeof textFields)[number]]?: string;
} & { [key in (typeof numberFields)[number]]?: number };

/** What ended a task, as whoever saw it tells it. */
export type TaskEnd = {
	reason: Reason;
	/** Only where the reason leaves it open (`exit`, `manual`). */
	failed?: boolean;
	at: string;
	/** One sentence for a person. */
	error?: string;
	facts?: Partial<
		Pick<
			Task,
			| "result"
			| "exit_code"
			| "signal"
			| "left_behind"
			| "progress"
			| "usage"
			| "droid_session_id"
		>
	>;
};

/** At most this many bytes of a result stand in the record; the rest is in `.out`. */
export const maxResultBytes = 16 * 1024;

/** At most this many characters of an error stand in the record; of each earlier attempt's, fewer. */
const maxErrorLength = 4096;
const maxAttemptErrorLength = 200;

/** At most this many processes that a task left behind are named. */
export const maxLeftBehind = 20;

/** At most this many characters of a sentence that names why a task was not started. */
const maxDependencyLength = 300;

let lastId = { ms: 0, low: 0 };

/**
 * A new id: `bg_`, the milliseconds in hex, six hex digits that are random and count up within
 * one process, so that ids of one batch sort in the order they were made.
 */
export function createTaskId(now = Date.now()): string {
	const isLater = now > lastId.ms;
	const low = isLater
		? (crypto.getRandomValues(new Uint32Array(1))[0] as number) & 0x7fffff
		: lastId.low + 1;
	lastId = { ms: isLater ? now : lastId.ms, low };
	return `bg_${lastId.ms.toString(16)}${low.toString(16).padStart(6, "0")}`;
}

/** The time as records have it. */
export const timestamp = () => new Date().toISOString();

/** A session id of our own: the key of an answer, as the old script had it. */
export function createSessionId(): string {
	return `ses_${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`;
}

/** By a bg that knows more than this one: its record is shown, and left as it is. */
export const hasNewerSchema = ({ schema = 0 }: Pick<Task, "schema">) =>
	schema > schemaVersion;

/** Says that of a record which says nothing else to this one. */
export class NewerSchemaError extends Error {}

export function isFinal(task: Pick<Task, "status">): boolean {
	return task.status !== "queued" && task.status !== "running";
}

/** Orders ids by age, oldest first; those of the old script are shorter and come first. */
export function compareIds(a: string, b: string): number {
	return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/**
 * Reads one record, as JSON text. A null (the old script wrote them) counts as absent. Half of the
 * fields are checked by a table, for a list reads ten thousand records at once. Of a record by a newer
 * schema what this one does not understand is left out.
 * @throws Error where the text is no record.
 */
export function parseTask(json: string): Task {
	const raw: unknown = JSON.parse(json);
	if (typeof raw !== "object" || raw === null) throw new Error("not an object");
	const record = raw as Record<string, unknown>;
	for (const key in record) {
		const value = record[key];
		if (value === null) delete record[key];
		else if (typeof value === "object" && isOpenField(key) && isTooDeep(value))
			throw new Error(`its ${key} is too deep`);
	}
	if (typeof record.schema === "number" && hasNewerSchema(record))
		return parseNewerRecord(record);
	assertFieldTypes(record, textFields, "string");
	assertFieldTypes(record, numberFields, "number");
	return v.parse(StructuredFields, record);
}

/** Whether a value of JSON is nested so deep that writing it again could fail. */
export function isTooDeep(value: unknown, levels = 100): boolean {
	if (typeof value !== "object" || value === null) return false;
	if (levels === 0) return true;
	const fields = value as Record<string, unknown>;
	for (const key in fields) if (isTooDeep(fields[key], levels - 1)) return true;
	return false;
}

/** queued → running, or undefined where somebody ended the task first. */
export function markRunning(
	task: Task,
	process: Identity,
	at: string,
): Task | undefined {
	if (task.status !== "queued" || task.stop) return undefined;
	const { not_before: _, ...rest } = task;
	return {
		...rest,
		status: "running",
		process,
		pid: process.pid,
		started_at: at,
	};
}

/** The most a task may write if its launch does not say, in bytes. */
const usualOutputLimit = 256 * 1024 * 1024;

/** The most a task may write, in bytes. Output past it is cut at the end of the task. */
export const outputLimit = (task: Task): number =>
	task.max_output_bytes ?? usualOutputLimit;

/** How long a task waits before its n-th attempt, in ms: 1 s, 2 s, 4 s … at most 60 s. */
export const computeRetryDelayMs = (attempt: number) =>
	Math.min(1000 * 2 ** (attempt - 2), 60_000);

/** Whether a task that ended like this is to be tried again. */
export function isRetryable(task: Task, ended: Task): boolean {
	return (
		!isFinal(task) &&
		ended.status === "error" &&
		(ended.reason === "exit" || ended.reason === "spawn") &&
		(task.attempt ?? 1) <= (task.retries ?? 0)
	);
}

/** running → queued: what came of this attempt is kept, and the next one is waited for. */
export function requeueForRetry(task: Task, ended: Task): Task {
	const attempt = task.attempt ?? 1;
	const { started_at, ...before } = task;
	const {
		process: _,
		pid: __,
		elapsed_ms: ___,
		quiet_ms: ____,
		...rest
	} = before;
	const { exit_code, signal, completed_at = timestamp() } = ended;
	const error = ended.error && cut(ended.error, maxAttemptErrorLength);
	const finished = {
		attempt,
		error,
		exit_code,
		signal,
		started_at,
		completed_at,
	};
	const delayMs = computeRetryDelayMs(attempt + 1);
	return {
		...rest,
		status: "queued",
		attempt: attempt + 1,
		attempts: [...(task.attempts ?? []), omitUndefined(finished)],
		not_before: new Date(Date.parse(completed_at) + delayMs).toISOString(),
	};
}

/** Writes down why a task is about to be stopped; the first intent stays. */
export function requestStop(task: Task, stop: NonNullable<Task["stop"]>): Task {
	return isFinal(task) || task.stop ? task : { ...task, stop };
}

/** Ends a task: the first final state wins, facts that come later are added beside it. */
export function finishTask(task: Task, end: TaskEnd): Task {
	const facts: Partial<Task> = omitUndefined(end.facts ?? {});
	if (isFinal(task)) return { ...facts, ...task };
	const reason = task.stop?.reason ?? end.reason;
	const status = statusByReason[reason] ?? (end.failed ? "error" : "completed");
	const error = task.stop ? describeStop(task.stop) : end.error;
	return {
		...task,
		...facts,
		status,
		reason,
		completed_at: end.at,
		...(error &&
			status !== "completed" && { error: cut(error, maxErrorLength) }),
	};
}

/** How a process ended, in words and numbers. */
export function describeExit(
	code: number | null,
	signal: string | null,
): string | undefined {
	if (signal) return `killed by ${signal}`;
	return code === 0 ? undefined : `exited ${code}`;
}

/**
 * Why a task is not started that comes after one which did not complete. If that one was not started
 * either, the sentence also names the first cause.
 */
export function dependencySentence({
	id,
	status,
	reason,
	error,
}: Task): string {
	const direct = `not started: ${id} ended as ${status}`;
	const sentence = !error
		? direct
		: reason === "dependency"
			? `${direct}; first cause: ${firstCause(error)}`
			: `${direct} (${error})`;
	return cut(sentence, maxDependencyLength);
}

// --- internal ---

/** The first cause in a sentence of `dependencySentence`, or of an older bg, which nested them. */
function firstCause(sentence: string): string {
	const named = /^not started: \S+ ended as \w+; first cause: (.*)$/s.exec(
		sentence,
	);
	if (named) return named[1] ?? "";
	const [outer = ""] =
		/^(not started: bg_\w+ ended as \w+ \((?=not started: ))*/.exec(sentence) ??
		[];
	const depth = outer.split("(").length - 1;
	return sentence
		.slice(outer.length, depth ? -depth : undefined)
		.replace(/^not started: /, "");
}

/** The beginning of a text; never half a character. */
function cut(text: string, length: number): string {
	if (text.length <= length) return text;
	return `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

function parseNewerRecord(record: Record<string, unknown>): Task {
	const types = { string: textFields, number: numberFields };
	for (const [type, keys] of Object.entries(types))
		for (const key of keys) if (typeof record[key] !== type) delete record[key];
	for (const { path } of v.safeParse(StructuredFields, record).issues ?? [])
		delete record[String(path?.[0]?.key)];
	const parsed = v.safeParse(StructuredFields, record);
	if (parsed.success) return parsed.output;
	throw new NewerSchemaError(`it is by a newer bg (schema ${record.schema})`);
}

function assertFieldTypes(
	record: Record<string, unknown>,
	keys: readonly string[],
	type: "string" | "number",
): void {
	for (const key of keys) {
		const value = record[key];
		if (value !== undefined && typeof value !== type)
			throw new Error(`its ${key} is not a ${type}`);
	}
}

/** The fields that are there. */
function omitUndefined<T extends object>(fields: T): T {
	return Object.fromEntries(
		Object.entries(fields).filter(([, value]) => value !== undefined),
	) as T;
}

function describeStop({ reason, by }: NonNullable<Task["stop"]>): string {
	if (reason === "shutdown") return `stopped: its supervisor got ${by}`;
	if (reason === "timeout") return `timed out after ${by}`;
	if (reason === "stale") return `no output and no CPU time for ${by}`;
	if (reason === "output-limit") return `wrote more than ${by}`;
	return `stopped by ${by}`;
}
