/**
 * What a task's `.out` says: how far a droid is, and what its result is. A stream is read on from where the last reader stopped, at most 8 MiB a call; at the end of a task
 * its last 1 MiB comes first, for there stands the result.
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
	type Digest,
	digestStream,
	digestTail,
	parseDigest,
} from "./stream.ts";

/** The most of an output that one look reads, in bytes. */
export const windowBytes = 8 * 1024 * 1024;
const tailWindowBytes = 1024 * 1024;

/** What a droid's stream says as of now. */
export function readCurrentDigest(store: Store, task: Task): Digest {
	const { attempt = 1 } = task;
	const noted = parseDigest(readProgress(store, task.id, attempt));
	const size = readOutputSize(store, task.id);
	const before = noted.offset <= size ? noted : parseDigest(undefined);
	if (before.offset === size) return before;
	const bytes = readOutputBytes(
		store,
		task.id,
		before.offset,
		before.offset + windowBytes,
	);
	let digest = digestStream(before, bytes);
	// A line that fills the window says nothing that is worth more than going on behind it.
	if (digest.offset === before.offset && bytes.length === windowBytes)
		digest = { ...digest, offset: digest.offset + windowBytes };
	if (digest.offset !== before.offset)
		writeProgress(store, task.id, attempt, digest);
	return digest;
}

/** The task with its progress as of now; that of a command, or of one that is over, stays. */
export function addProgress(store: Store, task: Task): Task {
	if (task.kind !== "droid" || !task.command || isFinal(task)) return task;
	let digest: Digest;
	try {
		digest = readCurrentDigest(store, task);
	} catch {
		// Its output cannot be read; what the record says is all there is.
		return task;
	}
	return {
		...task,
		...(digest.sessionId && { droid_session_id: digest.sessionId }),
		...(digest.usage && { usage: digest.usage }),
		progress: { ...digest.progress, outputFile: outputFile(store, task.id) },
	};
}

export type TaskResult = {
	facts: NonNullable<TaskEnd["facts"]>;
	/** Whether a droid said that it is done. */
	completed: boolean;
	error?: string;
	/** The output could not be read, for a reason that may pass. */
	isUnread?: boolean;
};

/** What a task has to say for itself once it is over; nothing where that cannot be read. */
export function readResult(store: Store, task: Task): TaskResult {
	try {
		return readTail(store, task);
	} catch (error) {
		const result = `(its output cannot be read: ${errorMessage(error)})`;
		const isUnread = !(error instanceof BgError);
		return { facts: { result }, completed: false, isUnread };
	}
}

function readTail(store: Store, task: Task): TaskResult {
	const size = readOutputSize(store, task.id);
	const from = Math.max(0, size - tailWindowBytes);
	const bytes = readOutputBytes(store, task.id, from, size);
	const tail = from === 0 ? bytes : bytes.subarray(bytes.indexOf(0x0a) + 1);
	if (task.kind !== "droid") {
		const result = toPlain(tail.toString("utf8")).trimEnd();
		return {
			facts: { result: truncateBytes(result, maxResultBytes, "last") },
			completed: false,
		};
	}
	const last = digestTail(tail);
	const { droid_session_id, progress, usage } = addProgress(store, task);
	const result =
		last.finalText ?? last.progress.lastMessage ?? progress?.lastMessage ?? "";
	const error = last.lastError ?? last.firstText;
	return {
		facts: {
			result: truncateBytes(result, maxResultBytes, "first"),
			droid_session_id,
			progress,
			usage: last.usage ?? usage,
		},
		completed: last.finalText !== undefined,
		...(error && { error }),
	};
}
