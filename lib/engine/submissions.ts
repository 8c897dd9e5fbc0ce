/**
 * The submissions of a store to engines: which tasks each has, and the number of its job. A launch submits all of
 * its tasks or none: while the file `pending` is there, no task of it starts.
 */
import { rmSync, statSync, utimesSync } from "node:fs";
import { basename } from "node:path";
import { ifExists, refused } from "../error.ts";
import { checkLiveness, parseClaimName } from "../process/identity.ts";
import { makeFolder } from "../store/directory.ts";
import {
	discard,
	listNames,
	moveFile,
	readFile,
	replaceFile,
	uniqueHolderName,
	writePrivateFile,
} from "../store/files.ts";
import {
	jobNumberFile,
	jobsFolder,
	type Store,
	submissionFile,
} from "../store/paths.ts";
import { idPattern } from "../task/ids.ts";

/** A pending launch of a process that does nothing for this long is settled by others, in ms. */
const abandonedMs = 60_000;

/** A launch that may not be submitted as a whole. */
export type PendingLaunch = { path: string; launches: string[] };

/** Notes what a process is about to submit. */
export function createPendingLaunch(
	store: Store,
	submissions: readonly { launch: string; ids: readonly string[] }[],
): PendingLaunch {
	makeFolder(store, jobsFolder(store));
	const path = pendingPath(store);
	const launches = submissions.map(({ launch }) => launch);
	writePrivateFile(path, launches.join("\n"));
	for (const { launch, ids } of submissions)
		replaceFile(store, {
			path: submissionFile(store, launch),
			text: ids.join("\n"),
		});
	return { path, launches };
}

/** Notes that a part was submitted: others leave the rest to this process for another minute. */
export function noteSubmitted(
	store: Store,
	{ path }: PendingLaunch,
	{ launch, job }: { launch: string; job: string },
): void {
	replaceFile(store, { path: jobNumberFile(store, launch), text: job });
	keepPending({ path });
}

/**
 * Says that this process still submits a launch.
 * @throws BgError (refused) if others took it for abandoned and have withdrawn it.
 */
export function keepPending({ path }: Pick<PendingLaunch, "path">): void {
	const isThere = ifExists(() => {
		touchNow(path);
		return true;
	});
	if (isThere) return;
	throw refused(
		"it took more than a minute to submit this, and another call of bg has withdrawn it: nothing was launched",
	);
}

/** All parts are submitted, or withdrawn. */
export const endPendingLaunch = ({ path }: PendingLaunch) => discard(path);

/** The tasks of a submission, in the order of the job array; none if it was withdrawn. */
export function readSubmission(store: Store, launch: string): string[] {
	if (!idPattern.test(launch)) return [];
	const text = ifExists(() => readFile(store, submissionFile(store, launch)));
	return (text ?? "").split("\n").filter((id) => idPattern.test(id));
}

/** The number of a submission's job, without a place in the array; undefined if it was not noted. */
export function readJobNumber(
	store: Store,
	launch: string,
): string | undefined {
	if (!idPattern.test(launch)) return undefined;
	const text = ifExists(() => readFile(store, jobNumberFile(store, launch)));
	return text && /^\d+$/.test(text) ? text : undefined;
}

/** Removes the files of a submission. */
export function removeSubmission(store: Store, launch: string): void {
	for (const path of [
		jobNumberFile(store, launch),
		submissionFile(store, launch),
	])
		rmSync(path, { force: true });
}

/**
 * The submissions that are complete: their jobs were there when this was called. Those of a store that another user
 * owns too.
 */
export function listSubmitted(store: Store): Set<string> {
	// Listed first: what is submitted meanwhile is not among these, or is pending no more.
	const names = listNames(store, jobsFolder(store));
	const pending = new Set(listPending(store).flatMap((each) => each.launches));
	return new Set(
		names.filter((name) => idPattern.test(name) && !pending.has(name)),
	);
}

/** Removes the files of submissions whose tasks have all ended. The folder stays: running jobs and claims ask for it. */
export function sweepSubmissions(
	store: Store,
	hasEnded: (id: string) => boolean,
): void {
	const numbers = listNames(store, jobsFolder(store)).flatMap((name) =>
		name.endsWith(".job") ? name.slice(0, -".job".length) : [],
	);
	for (const launch of listSubmitted(store))
		if (readSubmission(store, launch).every(hasEnded))
			removeSubmission(store, launch);
	// A withdrawn launch that was slow to note a number.
	for (const launch of numbers)
		if (idPattern.test(launch) && !readSubmission(store, launch).length)
			removeSubmission(store, launch);
}

/** Whether a submission belongs to a launch that is pending. */
export const isSubmissionPending = (store: Store, launch: string): boolean =>
	listPending(store).some(({ launches }) => launches.includes(launch));

/** The pending launches of processes that are gone, or that did nothing for a minute and are elsewhere. */
export const listAbandoned = (store: Store): PendingLaunch[] =>
	listPending(store).filter(isAbandoned);

/**
 * Takes over an abandoned launch. This process has to settle it: as long as it lives, no other one does.
 * @returns undefined if another process was first, or the launcher goes on.
 */
export function takeAbandoned(
	store: Store,
	{ path, launches }: PendingLaunch,
): PendingLaunch | undefined {
	const own = pendingPath(store);
	if (!isAbandoned({ path }) || !moveFile(path, own)) return undefined;
	touchNow(own);
	return { path: own, launches };
}

/** Groups items by a key, in the order of the first of each. (Node 20 has no Map.groupBy.) */
export function groupBy<T>(
	items: readonly T[],
	keyOf: (item: T) => string,
): T[][] {
	const groups = new Map<string, T[]>();
	for (const item of items) {
		const key = keyOf(item);
		const group = groups.get(key);
		if (group) group.push(item);
		else groups.set(key, [item]);
	}
	return [...groups.values()];
}

// --- internal ---

const prefix = "pending,";

const pendingPath = (store: Store) =>
	`${jobsFolder(store)}/${prefix}${uniqueHolderName()}`;

function listPending(store: Store): PendingLaunch[] {
	return listNames(store, jobsFolder(store)).flatMap((name) => {
		if (!name.startsWith(prefix)) return [];
		const path = `${jobsFolder(store)}/${name}`;
		const text = ifExists(() => readFile(store, path));
		if (text === undefined) return [];
		const launches = text.split("\n").filter((each) => idPattern.test(each));
		return [{ path, launches }];
	});
}

function touchNow(path: string): void {
	const now = new Date();
	utimesSync(path, now, now);
}

function isAbandoned({ path }: Pick<PendingLaunch, "path">): boolean {
	const launcher = parseClaimName(basename(path).slice(prefix.length));
	const liveness = launcher ? checkLiveness(launcher) : "gone";
	if (liveness !== "elsewhere") return liveness === "gone";
	const since = ifExists(() => statSync(path).mtimeMs);
	return since !== undefined && Math.abs(Date.now() - since) > abandonedMs;
}
