/**
 * Ids of tasks and sessions: their patterns, new ids, their order. Imports nothing: the fast path of a
 * hook loads it.
 */

export const idPattern = /^bg_[0-9a-f]{8,32}$/;
export const idPrefixPattern = /^bg_[0-9a-f]{0,32}$/;
export const sessionPattern = /^[A-Za-z0-9_-]{1,128}$/;

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

/** A session id of our own: the key of an answer, as the old script had it. */
export function createSessionId(): string {
	return `ses_${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`;
}

/** Orders ids by age, oldest first; those of the old script are shorter and come first. */
export function compareIds(a: string, b: string): number {
	return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
