/**
 * The archive. The folder holds the unfinished tasks and those that ended last (BG_KEEP); older finished tasks
 * move to `.archive/<day>/`, some at a time, by calls that write anyway: never by a hook, and for a bounded time.
 *
 * A task moves under the lock of its record, by renames: its outputs and messages first, its record last. A process that is
 * killed in between leaves the record in the folder, and the next call goes on. Readers look for each file in
 * the folder, in the archive, and in the folder again.
 *
 * A task stays in the folder as long as anything may still need it there: a notice or note that was not told, a pending
 * `--on-end`, a process, a supervisor that is about to write, or an unfinished task that names it in `after`. An
 * older bg, which does not know the archive, finds in the folder all that it acts on.
 */
import { existsSync, lstatSync } from "node:fs";
import { errorMessage, ifExists } from "../error.ts";
import { checkLiveness } from "../process/identity.ts";
import { readProcess } from "../process/proc.ts";
import { unlessUnknown } from "../process/system.ts";
import { readKeptCount } from "../spawn/limits.ts";
import { listEntries } from "../spawn/queue.ts";
import { logFault, makeFolder } from "../store/directory.ts";
import {
	discard,
	listNames,
	moveFile,
	readFile,
	replaceFile,
} from "../store/files.ts";
import { withEachLock } from "../store/locks.ts";
import {
	archivedMark,
	archivedMessages,
	archivedOutput,
	archivedRecord,
	archiveFolder,
	folderPath,
	messageFolder,
	outputFile,
	progressFile,
	recordFile,
	type Store,
} from "../store/paths.ts";
import { findTask, listTaskIds } from "../store/records.ts";
import { unindexSession } from "../store/sessions/session-index.ts";
import {
	compareIds,
	createSessionId,
	idPattern,
	sortIds,
	taskEndOfSession,
} from "../task/ids.ts";
import { hasNewerSchema } from "../task/parse.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";

/** How long one call moves tasks, in ms. With the last move, it is below 200 ms. */
const sliceMs = 150;

/** How long a supervisor that has other tasks moves tasks, in ms. */
const shortSliceMs = 30;

/** How many tasks a call tries to move even if the listing took all its time. */
const minTried = 20;

/** How many tasks are compared by their ends. */
const maxCompared = 3000;

/** How often supervisors search for tasks to move, in ms. */
const searchIntervalMs = 10_000;

/** How long after its end the supervisor of a task may still write, in ms: it retries for 10 min. */
const settledMs = 10 * 60_000;

/**
 * Archives old finished tasks for a short time, unless a search within the last 10 s left nothing to do. For
 * supervisors, whose other tasks go on if this fails: a failure is logged.
 * @param options `isBusy`: the supervisor has other tasks.
 */
export function archiveIfDue(
	store: Store,
	{ isBusy = false }: { isBusy?: boolean } = {},
): void {
	attempt(store, () => {
		const status = lstatSync(archivedMark(store), { throwIfNoEntry: false });
		const age = Math.abs(Date.now() - (status?.mtimeMs ?? 0));
		const isLeft = status !== undefined && status.size > 0 && !isBusy;
		if (age < searchIntervalMs && !isLeft) return;
		archiveTasks(store, { timeoutMs: isBusy ? shortSliceMs : sliceMs });
	});
}

type ArchiveOptions = {
	/** How many finished tasks stay in the folder. */
	keep?: number;
	/** For how long tasks are moved, in ms. */
	timeoutMs?: number;
};

/** The same as archiveTasks. A failure is logged, and the next call goes on. */
export function archiveSlice(store: Store, options: ArchiveOptions = {}): void {
	attempt(store, () => archiveTasks(store, options));
}

/**
 * Archives finished tasks past those that ended last, for a bounded time. A call that runs out of time notes what
 * is left: the next one lists nothing, because listing a very large folder takes most of that time.
 * @returns how many were moved.
 */
export function archiveTasks(
	store: Store,
	{ keep = readKeptCount(), timeoutMs = sliceMs }: ArchiveOptions = {},
): number {
	if (!Number.isFinite(keep)) return 0;
	const deadline = performance.now() + timeoutMs;
	const isLate = () => performance.now() > deadline;
	const noted = readPlan(store);
	const isNoted = noted.candidates.length > 0;
	const unfinished = listUnfinished(store);
	const { candidates, end } = isNoted
		? noted
		: selectOldest(store, { unfinished, keep, last: noted.end });
	const pinned = candidates.length
		? listPinned(store, unfinished, isLate)
		: new Set<string>();
	const days = new Set<string>();
	let moved = 0;
	let tried = 0;
	let left: string[] = [];
	if (pinned !== "late") {
		const free = candidates.filter((id) => !pinned.has(id));
		withEachLock(store, free, (id) => {
			const task = findTask(store, id);
			if (task && isMovable(task) && moveTask(store, task, days)) moved++;
			if (++tried < minTried || !isLate()) return true;
			left = free.slice(free.indexOf(id) + 1);
			return false;
		});
	} else if (!isNoted) {
		left = candidates;
	}
	// Else more tasks wait than can be read in this time: nothing is moved until they are fewer.
	writePlan(store, { candidates: left, end });
	return moved;
}

/** Whether the supervisor of a finished task may still write its record. */
export const mayBeWritten = ({ supervisor, completed_at }: Task): boolean =>
	supervisor !== undefined &&
	!(Date.now() - Date.parse(completed_at ?? "") > settledMs) &&
	checkLiveness(supervisor) !== "gone";

// --- internal ---

/** Logs a failure. */
function attempt(store: Store, act: () => unknown): void {
	try {
		act();
	} catch (error) {
		logFault(store, "supervisor", `archive: ${errorMessage(error)}`);
	}
}

/**
 * Tasks to move, in the order of their ids, and the id after which the search goes on if there are more. Some may
 * be unfinished, or have a process, or be moved already.
 */
type Plan = { candidates: string[]; end: string };

/** Reads what the last call left. */
function readPlan(store: Store): Plan {
	const text = ifExists(() => readFile(store, archivedMark(store))) ?? "";
	const [end = "", ...ids] = text.split("\n");
	return {
		candidates: ids.filter((id) => idPattern.test(id)),
		end: idPattern.test(end) ? end : "",
	};
}

/** Notes what is left; an empty file if nothing is. */
function writePlan(store: Store, { candidates, end }: Plan): void {
	const lines = candidates.length || end ? [end, ...candidates] : [];
	replaceFile(store, { path: archivedMark(store), text: lines.join("\n") });
}

/** Tasks that wait for a place or have one: all unfinished ones but those that nothing supervises. */
const listUnfinished = (store: Store): Set<string> =>
	new Set(
		(["queue", "slots"] as const).flatMap((folder) =>
			listEntries(store, folder).map(({ id }) => id),
		),
	);

/**
 * Selects the tasks in the folder that ended first, but for `keep`. Of very many, some that were launched first are
 * compared: a task that ran for long and has just ended is among the last of them, and stays for now.
 * @param options `last`: where the search before this one ended.
 */
function selectOldest(
	store: Store,
	{
		unfinished,
		keep,
		last,
	}: { unfinished: ReadonlySet<string>; keep: number; last: string },
): Plan {
	const ids = listTaskIds(store).filter((id) => !unfinished.has(id));
	const excess = Math.max(0, ids.length - keep);
	if (ids.length <= maxCompared) {
		const oldest = excess ? sortByEnd(store, ids).slice(0, excess) : [];
		return { candidates: sortIds(oldest), end: "" };
	}
	const left = ids
		.slice(0, excess)
		.filter((id) => !last || compareIds(id, last) > 0);
	const compared = left.slice(0, maxCompared);
	const most = Math.ceil((compared.length * 2) / 3);
	return {
		candidates: sortIds(sortByEnd(store, compared).slice(0, most)),
		end: left.length > compared.length ? (compared.at(-1) ?? "") : "",
	};
}

/** Sorts tasks by the last change of their records, which is their end. */
const sortByEnd = (store: Store, ids: readonly string[]): string[] =>
	ids
		.map((id) => ({
			id,
			end:
				lstatSync(recordFile(store, id), { throwIfNoEntry: false })?.mtimeMs ??
				0,
		}))
		.sort((a, b) => a.end - b.end || compareIds(a.id, b.id))
		.map(({ id }) => id);

/**
 * The tasks that stay in the folder because of others: those with something that is still to be done, and those
 * that an unfinished task comes after.
 * @returns "late" if that cannot be read in time.
 */
function listPinned(
	store: Store,
	unfinished: ReadonlySet<string>,
	isLate: () => boolean,
): Set<string> | "late" {
	const names = (["after", "onEnd", "stops", "prompts"] as const).flatMap(
		(folder) => listNames(store, folderPath(store, folder)),
	);
	const notices = folderPath(store, "notices");
	for (const session of listNames(store, notices))
		names.push(...listNames(store, `${notices}/${session}`));
	const pinned = new Set(names.map((name) => name.split(".", 1)[0] ?? ""));
	for (const id of unfinished) {
		if (isLate()) return "late";
		for (const other of findTask(store, id)?.after ?? []) pinned.add(other);
	}
	return pinned;
}

/** Whether a task has ended and no process of it lives or is about to write. */
function isMovable(task: Task): boolean {
	if (!isFinal(task) || hasNewerSchema(task)) return false;
	const { process, exit_code, signal } = task;
	// An exit code or a signal is recorded only after the process has ended.
	const hasExited = (exit_code ?? signal) !== undefined;
	if (!hasExited && process && checkLiveness(process) !== "gone") return false;
	const isAnyLeft = task.left_behind?.some(
		({ pid }) => unlessUnknown(() => !readProcess(pid)) !== true,
	);
	if (isAnyLeft) return false;
	return !mayBeWritten(task);
}

/**
 * Moves the files of a task, whose record is locked. `days`: the folders of the archive that exist. A file that is in the archive already is never replaced: an
 * older bg may have written it in the folder again, and then the task stays.
 */
function moveTask(store: Store, task: Task, days: Set<string>): boolean {
	const { id, kind, attempts = [], session_id } = task;
	const day = archiveFolder(store, id);
	if (!days.has(day)) makeFolder(store, day);
	days.add(day);
	const moves = [...attempts.map(({ attempt }) => attempt), undefined].map(
		(attempt) => ({
			from: outputFile(store, id, attempt),
			to: archivedOutput(store, id, attempt),
		}),
	);
	moves.push(
		{ from: messageFolder(store, id), to: archivedMessages(store, id) },
		{ from: recordFile(store, id), to: archivedRecord(store, id) },
	);
	if (moves.some(({ from, to }) => existsSync(to) && existsSync(from)))
		return false;
	// How far the stream was read is in the record. An older bg indexed the session id that bg made up.
	if (kind === "droid") discard(progressFile(store, id));
	if (
		session_id &&
		session_id !== createSessionId(id) &&
		taskEndOfSession(session_id)
	)
		unindexSession(store, session_id, id);
	// The record comes last: it is what the next call looks for if this one is killed.
	return moves.map(({ from, to }) => moveFile(from, to)).at(-1) ?? false;
}
