/**
 * Ids of tasks and sessions: patterns, new ids, order. Imports nothing, because the hook's fast path
 * loads this file.
 */

export const idPattern = /^bg_[0-9a-f]{8,32}$/;
export const idPrefixPattern = /^bg_[0-9a-f]{0,32}$/;

/** The end of an id, as a person may type it: without `bg_`, long enough to be unique most of the time. */
export const idEndPattern = /^[0-9a-f]{4,32}$/;

export const sessionPattern = /^[A-Za-z0-9_-]{1,128}$/;

/** The day of ids that have no time. */
export const undated = "undated";

/** How many hex digits of an id are its time: 11 from 2004 until 2527. */
const msDigits = 11;

let lastId = { ms: 0, low: 0 };

/**
 * Creates a task id: `bg_`, `now` (ms since 1970) in hex, six hex digits. The digits start at random and
 * count up within one process, so the ids of a batch sort in the order of their creation.
 */
export function createTaskId(now = Date.now()): string {
	const isLater = now > lastId.ms;
	const low = isLater
		? (crypto.getRandomValues(new Uint32Array(1))[0] as number) & 0x7fffff
		: lastId.low + 1;
	lastId = { ms: isLater ? now : lastId.ms, low };
	return `bg_${lastId.ms.toString(16)}${low.toString(16).padStart(6, "0")}`;
}

/**
 * bg's own session id for a task, in the format of `background-manager.py`. It is derived from the task's id:
 * the task is found by it without an index.
 */
export function createSessionId(id = createTaskId()): string {
	return `ses_${id.slice(-12)}`;
}

/** The end of the id of the task that a session id of bg's own belongs to; undefined for any other session. */
export const taskEndOfSession = (session: string): string | undefined =>
	/^ses_([0-9a-f]{12})$/.exec(session)?.[1];

/**
 * The day (UTC) on which a task was launched, by its id: `2026-01-31`. An id of `background-manager.py` has no
 * time: `undated`.
 */
export function dayOfId(id: string): string {
	const ms = timeOfId(id);
	return ms === undefined ? undated : new Date(ms).toISOString().slice(0, 10);
}

/** The time in an id, in ms since 1970; undefined if it has none. */
export function timeOfId(id: string): number | undefined {
	if (id.length !== "bg_".length + msDigits + 6) return undefined;
	return Number.parseInt(id.slice("bg_".length, -6), 16);
}

/** The days that tasks whose ids begin with `prefix` may have; undefined if it is any day. */
export function daysOfPrefix(
	prefix: string,
): { first: string; last: string } | undefined {
	const digits = prefix.slice("bg_".length, "bg_".length + msDigits);
	if (!digits) return undefined;
	const day = (fill: string) =>
		dayOfId(`bg_${digits.padEnd(msDigits, fill)}000000`);
	return { first: day("0"), last: day("f") };
}

/** Sorts ids by age, oldest first, in place. Ids of one length are compared as texts, which is much faster. */
export function sortIds(ids: string[]): string[] {
	const isOneLength = ids.every(({ length }) => length === ids[0]?.length);
	return isOneLength ? ids.sort() : ids.sort(compareIds);
}

/** Compares ids by age, oldest first. Ids of `background-manager.py` are shorter and come first. */
export function compareIds(a: string, b: string): number {
	return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
