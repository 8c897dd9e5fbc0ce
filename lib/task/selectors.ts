/** Selectors: which tasks a call means if it names no ids. Pure. */
import { type Status, statuses, type Task } from "./schema.ts";

/** What a task must be: all of these. */
export type Selectors = {
	/** One of these tags; none: any task. */
	tags: readonly string[];
	/** One of these; none: any. */
	statuses: readonly Status[];
	/** The absolute path of its folder. */
	cwd?: string | undefined;
	/** Whether tasks that `bg cleanup` took off the list count as well. */
	archived: boolean;
};

/** Whether a task, reconciled before, matches all selectors. */
export function matchesSelectors(
	{ tags = [], status, cwd, archived_at }: Task,
	selectors: Selectors,
): boolean {
	return (
		(selectors.archived || !archived_at) &&
		(selectors.tags.length === 0 ||
			selectors.tags.some((tag) => tags.includes(tag))) &&
		(selectors.statuses.length === 0 || selectors.statuses.includes(status)) &&
		(selectors.cwd === undefined || selectors.cwd === cwd)
	);
}

/** Parses statuses, comma-separated in each text; undefined if one is no status. */
export function parseStatuses(
	texts: readonly string[],
): readonly Status[] | undefined {
	const words = texts.flatMap((text) => text.split(","));
	const parsed = words.flatMap((word) =>
		statuses.filter((status) => status === word.trim()),
	);
	return parsed.length === words.length ? parsed : undefined;
}

/** Whether a task was launched or ended at `from` or later. `from`: ms since 1970. */
export function isSince(
	{ queued_at, started_at, completed_at }: Task,
	from: number,
): boolean {
	const times = [completed_at, queued_at ?? started_at];
	return times.some((time) => Date.parse(time ?? "") >= from);
}
