/**
 * The states of a task and every transition of a record. Pure: no file, no process.
 *
 *     launch ─→ queued ─→ running ─→ completed | error | cancelled
 *
 * The first final state wins; later facts (exit code, signal) are added beside it. A stop request is
 * recorded before the first signal. The end then has the request's reason, whatever the exit code:
 * droid exits 0 on SIGTERM.
 */
import {
	type Identity,
	type Reason,
	statusByReason,
	type Task,
} from "./schema.ts";
import {
	countBudget,
	countEarlierAttempts,
	noTokens,
	parseUsage,
	subtractCounts,
	toRecordUsage,
} from "./usage.ts";

/** An observed end of a task. */
export type TaskEnd = {
	reason: Reason;
	/** Counts only if the reason does not determine the status (`exit`, `manual`). */
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

/** The most characters of an error in the record, and of each earlier attempt's error. */
const maxErrorLength = 4096;
const maxAttemptErrorLength = 200;

/** The most characters of a dependency sentence. */
const maxDependencyLength = 300;

/** The current time in the format of records (ISO 8601, UTC). */
export const timestamp = () => new Date().toISOString();

/** Whether a task has ended: completed, error or cancelled. */
export function isFinal(task: Pick<Task, "status">): boolean {
	return task.status !== "queued" && task.status !== "running";
}

/** queued → running; undefined if the task has ended or is being stopped. */
export function markRunning(
	task: Task,
	process: Identity,
	at: string,
): Task | undefined {
	if (task.status !== "queued" || task.stop) return undefined;
	return {
		...task,
		not_before: undefined,
		status: "running",
		process,
		pid: process.pid,
		started_at: at,
	};
}

/** The delay before the n-th attempt (n ≥ 2), in ms: 1 s, 2 s, 4 s … at most 60 s. */
export const computeRetryDelayMs = (attempt: number) =>
	Math.min(1000 * 2 ** (attempt - 2), 60_000);

/**
 * How long a task is still delayed (`--delay`) by the wall clock, in ms; 0 if it is not. The delay before another
 * attempt is not meant: it does not follow the clock.
 */
export const computeDelayLeftMs = (
	{ not_before, attempt = 1 }: Pick<Task, "not_before" | "attempt">,
	now = Date.now(),
): number =>
	attempt === 1 ? Math.max(Date.parse(not_before ?? "") - now || 0, 0) : 0;

/** Whether a task that ended as `ended` is to be retried. An attempt that its engine ended was no failure of it. */
export function isRetryable(task: Task, ended: Task): boolean {
	return (
		!isFinal(task) &&
		ended.status === "error" &&
		(ended.reason === "exit" || ended.reason === "spawn") &&
		(task.attempt ?? 1) - countPutBacks(task) <= (task.retries ?? 0) &&
		!isBudgetSpent(ended)
	);
}

/** Whether a task has used more tokens than it may, as far as is known. */
export function isBudgetSpent({ max_tokens, usage }: Task): boolean {
	const used = parseUsage(usage);
	return (
		used !== undefined &&
		max_tokens !== undefined &&
		countBudget(used) > max_tokens
	);
}

/** How many attempts of a task were put back into the queue of its engine. */
const countPutBacks = ({ attempts = [] }: Task) =>
	attempts.filter(({ put_back }) => put_back).length;

/** running → queued, as its engine starts the task again: this attempt is none of its retries. */
export function requeueByEngine(task: Task, ended: Task): Task {
	const queued = requeueForRetry(task, ended);
	const attempts = queued.attempts?.map((each) =>
		each.attempt === (task.attempt ?? 1) ? { ...each, put_back: true } : each,
	);
	return { ...queued, not_before: undefined, attempts };
}

/** running → queued: adds this attempt to `attempts` and sets the earliest start of the next one. */
export function requeueForRetry(task: Task, ended: Task): Task {
	const { attempt = 1, attempts = [], started_at } = task;
	const { exit_code, signal, completed_at = timestamp() } = ended;
	const error = ended.error && cut(ended.error, maxAttemptErrorLength);
	const used = parseUsage(ended.usage);
	const before = countEarlierAttempts(task) ?? noTokens;
	const usage = used && toRecordUsage(subtractCounts(used, before));
	const times = { started_at, completed_at };
	const delayMs = computeRetryDelayMs(attempt + 1);
	return {
		...task,
		process: undefined,
		pid: undefined,
		started_at: undefined,
		elapsed_ms: undefined,
		quiet_ms: undefined,
		usage_before: undefined,
		status: "queued",
		attempt: attempt + 1,
		attempts: [
			...attempts,
			{ attempt, error, exit_code, signal, ...times, ...(usage && { usage }) },
		],
		not_before: new Date(Date.parse(completed_at) + delayMs).toISOString(),
	};
}

/** Adds a stop request to an unfinished task; the first request stays. */
export function requestStop(task: Task, stop: NonNullable<Task["stop"]>): Task {
	return isFinal(task) || task.stop ? task : { ...task, stop };
}

/** Ends a task. The first final state wins; later facts only fill missing fields. */
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

/** Describes how a process ended: `exited 3`, `killed by SIGKILL`; undefined for exit code 0. */
export function describeExit(
	code: number | null,
	signal: string | null,
): string | undefined {
	if (signal) return `killed by ${signal}`;
	return code === 0 ? undefined : `exited ${code}`;
}

/**
 * Explains why a task is not started: a task in its `after`, the argument, did not complete. If that
 * task was not started either, the sentence also names the first cause.
 */
export function dependencySentence(task: Task): string {
	const { id, status, reason, error } = task;
	const direct = `not started: ${id} ended as ${status}`;
	const sentence = !error
		? direct
		: reason === "dependency"
			? `${direct}; first cause: ${firstCause(error)}`
			: `${direct} (${error})`;
	return cut(sentence, maxDependencyLength);
}

/** Copies an object without the keys whose value is undefined. */
export function omitUndefined<T extends object>(fields: T): T {
	return Object.fromEntries(
		Object.entries(fields).filter(([, value]) => value !== undefined),
	) as T;
}

// --- internal ---

/** The first cause in a dependency sentence. An older bg nested the sentences. */
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

/** Cuts a text to `length` characters, never within a surrogate pair. */
function cut(text: string, length: number): string {
	if (text.length <= length) return text;
	return `${text.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
}

function describeStop({ reason, by }: NonNullable<Task["stop"]>): string {
	if (reason === "shutdown") return `stopped: its supervisor got ${by}`;
	if (reason === "timeout") return `timed out after ${by}`;
	if (reason === "stale") return `no output and no CPU time for ${by}`;
	if (reason === "output-limit") return `wrote more than ${by}`;
	if (reason === "engine") return by;
	if (reason === "budget") return `used more than ${by} tokens`;
	return `stopped by ${by}`;
}
