/**
 * The meaning of a task's `.out`: how far a droid is, and the result of a task. A stream is read on from
 * where the last reader stopped, at most 8 MiB a call. For the result, the last 1 MiB is read first.
 */
import { BgError, errorMessage } from "../error.ts";
import { toPlain, truncateBytes } from "../print/text.ts";
import {
	readOutputBytes,
	readOutputSize,
	readProgress,
	writeProgress,
} from "../store/output-files.ts";
import { outputFile, type Store } from "../store/paths.ts";
import { maxResultBytes, type Task } from "../task/schema.ts";
import { isFinal, type TaskEnd } from "../task/states.ts";
import {
	addCounts,
	countEarlierAttempts,
	maximumCounts,
	noTokens,
	parseTaskUsage,
	parseUsage,
	subtractCounts,
	type TaskUsage,
	toRecordUsage,
} from "../task/usage.ts";
import { maxCharacterBytes } from "./boundaries.ts";
import {
	type Digest,
	digestStream,
	digestTail,
	parseDigest,
	parseEvent,
} from "./stream.ts";
import { readSessionUsage, type SessionUsage } from "./usage.ts";

/** The most of an output that one call reads, in bytes. */
export const windowBytes = 8 * 1024 * 1024;
const tailWindowBytes = 1024 * 1024;

/** Reads a droid's stream on and returns the digest of it up to now. */
export function readCurrentDigest(store: Store, task: Task): Digest {
	const { id, attempt = 1 } = task;
	const noted = parseDigest(readProgress(store, { id, attempt }));
	const size = readOutputSize(store, id);
	const before = noted.offset <= size ? noted : parseDigest(undefined);
	const from = before.offset;
	if (from === size) return before;
	const bytes = readOutputBytes(store, id, { from, to: from + windowBytes });
	const digest = digestStream(before, bytes);
	// A line that fills the window is skipped.
	if (digest.offset === from && bytes.length === windowBytes)
		digest.offset += windowBytes;
	if (digest.offset !== from) writeProgress(store, { id, attempt }, digest);
	return digest;
}

/** Returns an unfinished droid task with its progress as of now; any other task as it is. */
export function addProgress(store: Store, task: Task): Task {
	if (task.kind !== "droid" || !task.command || isFinal(task)) return task;
	try {
		const { sessionId, usage, progress } = readCurrentDigest(store, task);
		return {
			...task,
			...(sessionId && { droid_session_id: sessionId }),
			...(usage && { usage }),
			progress: { ...progress, outputFile: outputFile(store, task.id) },
		};
	} catch {
		// The output cannot be read: the record's own progress stays.
		return task;
	}
}

/**
 * Reads what a droid's task used up to now, all attempts together; undefined if nothing is known of it. The counts
 * of a finished task are those of its record.
 */
export function readTaskUsage(store: Store, task: Task): TaskUsage | undefined {
	if (task.kind !== "droid" || !task.command) return undefined;
	if (isFinal(task)) return parseTaskUsage(task);
	const current =
		task.status === "running" ? readCurrentUsage(store, task) : {};
	return addEarlierAttempts(task, current);
}

/**
 * What the session that a droid's next attempt continues has used before, as `usage_before` of its record; undefined
 * if it begins a session, or a copy of one, whose counts begin at 0.
 */
export function readUsageBefore(
	store: Store,
	{ kind, command = [], worktree_dir, cwd }: Task,
): Task["usage_before"] {
	const [flag, session] = command.slice(-2);
	if (kind !== "droid" || flag !== "-s" || !session) return undefined;
	const { counts } = readSessionUsage(store, session, worktree_dir ?? cwd);
	return counts && toRecordUsage(counts);
}

/** Returns an unfinished droid task with what it used up to now; any other task as it is. */
export function addUsage(store: Store, task: Task): Task {
	if (isFinal(task)) return task;
	const used = readTaskUsage(store, task);
	return used ? { ...task, usage: toUsageField(task, used) } : task;
}

export type TaskResult = {
	facts: NonNullable<TaskEnd["facts"]>;
	/** Whether a droid's stream has a `completion`. */
	completed: boolean;
	error?: string;
	/** Whether the output could not be read for a reason that may pass. */
	isUnread?: boolean;
};

/** Reads the result of an ended task. If its output cannot be read, the result says why. */
export function readResult(store: Store, task: Task): TaskResult {
	try {
		return readTail(store, task);
	} catch (error) {
		const result = `(its output cannot be read: ${errorMessage(error)})`;
		const isUnread = !(error instanceof BgError);
		return { facts: { result }, completed: false, isUnread };
	}
}

/**
 * Reads the whole result of an ended task, of which the record keeps 16 KiB: of a droid the final text, of a
 * command what it wrote, at most its last 8 MiB.
 */
export function readWholeResult(store: Store, task: Task): string {
	const { id, kind, result = "" } = task;
	// A cut may leave out up to three bytes of a character.
	const isCut = Buffer.byteLength(result) > maxResultBytes - maxCharacterBytes;
	if (!isCut || kind === "native") return result;
	const size = readOutputSize(store, id);
	const from = Math.max(0, size - windowBytes);
	const text = readOutputBytes(store, id, { from, to: size }).toString("utf8");
	if (kind !== "droid") {
		const plain = toPlain(text).trimEnd();
		return plain.endsWith(result) ? plain : result;
	}
	for (const line of text.split("\n").reverse()) {
		const event = parseEvent(line);
		if (event.type !== "completion") continue;
		return event.finalText.startsWith(result) ? event.finalText : result;
	}
	return result;
}

function readTail(store: Store, task: Task): TaskResult {
	const size = readOutputSize(store, task.id);
	const from = Math.max(0, size - tailWindowBytes);
	const bytes = readOutputBytes(store, task.id, { from, to: size });
	const tail = from === 0 ? bytes : bytes.subarray(bytes.indexOf(0x0a) + 1);
	if (task.kind !== "droid") {
		const text = toPlain(tail.toString("utf8")).trimEnd();
		const result = truncateBytes(text, maxResultBytes, "last");
		return { facts: { result }, completed: false };
	}
	const last = digestTail(tail);
	const { droid_session_id, progress, usage } = addProgress(store, task);
	const printed = last.usage ?? usage;
	const attempt = readCurrentUsage(store, task, printed);
	const used = addEarlierAttempts(task, attempt);
	// Only a limit makes it matter that droid counted nothing.
	if (used && task.max_tokens === undefined) delete used.unread;
	const text =
		last.finalText ?? last.progress.lastMessage ?? progress?.lastMessage ?? "";
	const result = truncateBytes(text, maxResultBytes, "first");
	return {
		facts: {
			result,
			droid_session_id,
			progress,
			usage: used ? toUsageField({ ...task, usage: printed }, used) : printed,
		},
		completed: last.finalText !== undefined,
		error:
			(last.lastError ?? last.firstText?.replace(/\s+/g, " ")) || undefined,
	};
}

/**
 * What the current attempt of a task used up to now: by the settings file of its session, without what earlier tasks
 * used of a session that is continued, and by the line that droid prints at its end.
 * @param printed the usage in that line, if another reader found it.
 */
function readCurrentUsage(
	store: Store,
	task: Task,
	printed?: unknown,
): SessionUsage {
	const { attempt = 1, droid_session_id, usage_before } = task;
	try {
		const { sessionId, usage } = readCurrentDigest(store, task);
		const counted = parseUsage(printed ?? usage);
		// Until its stream names it, the record has the session of the attempt before.
		const session = sessionId ?? (attempt > 1 ? undefined : droid_session_id);
		if (session === undefined) return counted ? { counts: counted } : {};
		const { counts, ...doubt } = readSessionUsage(
			store,
			session,
			task.worktree_dir ?? task.cwd,
		);
		if (!counts) return counted ? { counts: counted } : doubt;
		const before = parseUsage(usage_before);
		if (before) return { counts: subtractCounts(counts, before), ...doubt };
		const most = counted ? maximumCounts(counts, counted) : counts;
		return { counts: most, ...doubt };
	} catch (error) {
		return { unread: errorMessage(error) };
	}
}

/** The usage of a task by that of its current attempt; undefined if nothing is known. */
function addEarlierAttempts(
	task: Task,
	{ counts, unread }: SessionUsage,
): TaskUsage | undefined {
	const earlier = countEarlierAttempts(task);
	if (!counts && !earlier && unread === undefined) return undefined;
	return {
		...addCounts(earlier ?? noTokens, counts ?? noTokens),
		...(unread !== undefined && { unread }),
	};
}

/** The `usage` of a record: droid's other keys stay, counts of which nothing was read are left out. */
function toUsageField(
	{ usage }: Task,
	{ unread, ...counts }: TaskUsage,
): NonNullable<Task["usage"]> {
	const isCounted = Object.values(counts).some((count) => count > 0);
	return {
		...usage,
		...(isCounted || unread === undefined ? toRecordUsage(counts) : {}),
		...(unread !== undefined && { unread }),
	};
}
