/**
 * The states of a task, and every way a record may change. Pure: no file, no process.
 *
 *     launch ─→ queued ─→ running ─→ completed | error | cancelled
 *
 * The first final state wins; facts that come later (exit code, signal) are added beside it. A request
 * to stop is recorded before the first signal, and the end is then that request's, whatever the process
 * answers: droid exits 0 on SIGTERM.
 */
import {
	type Identity,
	type Reason,
	statusByReason,
	type Task,
} from "./schema.ts";

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

/** At most this many characters of an error stand in the record; of each earlier attempt's, fewer. */
const maxErrorLength = 4096;
const maxAttemptErrorLength = 200;

/** At most this many characters of a sentence that names why a task was not started. */
const maxDependencyLength = 300;

/** The time as records have it. */
export const timestamp = () => new Date().toISOString();

export function isFinal(task: Pick<Task, "status">): boolean {
	return task.status !== "queued" && task.status !== "running";
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
