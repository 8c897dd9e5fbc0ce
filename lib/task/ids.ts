/**
 * Ids of tasks and sessions: patterns, new ids, order. Imports nothing, because the hook's fast path
 * loads this file.
 */

export const idPattern = /^bg_[0-9a-f]{8,32}$/;
export const idPrefixPattern = /^bg_[0-9a-f]{0,32}$/;
export const sessionPattern = /^[A-Za-z0-9_-]{1,128}$/;

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

/** Creates bg's own session id for a task, in the format of `background-manager.py`. */
export function createSessionId(): string {
	return `ses_${crypto.randomUUID().replaceAll("-", "").slice(0, 12)}`;
}

/** Compares ids by age, oldest first. Ids of `background-manager.py` are shorter and come first. */
export function compareIds(a: string, b: string): number {
	return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}
