/** Units: durations, ages, sizes and token counts, parsed and formatted. */
import type { Task } from "../task/schema.ts";
import { countBudget, parseUsage } from "../task/usage.ts";

/** Formats an age in ms, rounded: `4s`, `12m`, `3h`, `5d`. */
export function formatAge(ms: number): string {
	const seconds = Math.max(0, Math.round(ms / 1000));
	if (seconds < 100) return `${seconds}s`;
	const minutes = Math.round(seconds / 60);
	if (minutes < 100) return `${minutes}m`;
	const hours = Math.round(minutes / 60);
	return hours < 48 ? `${hours}h` : `${Math.round(hours / 24)}d`;
}

const unitSeconds = { s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** Parses a duration such as `90s`, `30m`, `2h`, `7d`, or `90` (seconds) to ms; undefined if it is none. */
export function parseDuration(text: string): number | undefined {
	const [, number, unit = "s"] =
		/^(\d{1,9}(?:\.\d{1,3})?)([smhd])?$/.exec(text) ?? [];
	if (number === undefined) return undefined;
	return Number(number) * unitSeconds[unit as keyof typeof unitSeconds] * 1000;
}

/** Formats the time since a start in ms, in two units at most: `9s`, `1m40s`, `2h05m`, `3d04h`. */
export function formatElapsed(ms: number): string {
	const seconds = Math.max(0, Math.floor(ms / 1000));
	const two = (number: number) => String(number).padStart(2, "0");
	const [minutes, hours] = [
		Math.floor(seconds / 60),
		Math.floor(seconds / 3600),
	];
	if (minutes < 1) return `${seconds}s`;
	if (hours < 1) return `${minutes}m${two(seconds % 60)}s`;
	if (hours < 24) return `${hours}h${two(minutes % 60)}m`;
	return `${Math.floor(hours / 24)}d${two(hours % 24)}h`;
}

/** Formats a duration in ms, exactly below 100 s: `1.5s`, `30m`. */
export const formatDuration = (ms: number) =>
	ms < 100_000 ? `${ms / 1000}s` : formatAge(ms);

/** Formats a size in bytes, exactly: `100`, `64K`, `1G`. */
export function formatSize(bytes: number): string {
	let [size, power] = [bytes, 0];
	for (; size >= 1024 && size % 1024 === 0 && power < 3; power++) size /= 1024;
	return `${size}${["", "K", "M", "G"][power]}`;
}

/** Formats a size for a person, rounded up: `812 B`, `5 KiB`, `108 MiB`, `76 GiB`. */
export function formatRoughSize(bytes: number): string {
	const unit = [2 ** 10, 2 ** 20, 10_000 * 2 ** 20].filter(
		(least) => bytes >= least,
	).length;
	return `${Math.ceil(bytes / 1024 ** unit)} ${["B", "KiB", "MiB", "GiB"][unit]}`;
}

/** Parses a size such as `100`, `64K`, `64M`, `1G` to bytes; undefined if it is none. */
export function parseSize(text: string): number | undefined {
	const match = /^(\d{1,15})([KMG]?)$/.exec(text);
	if (!match) return undefined;
	const power = " KMG".indexOf(match[2] || " ");
	const bytes = Number(match[1]) * 1024 ** power;
	return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Formats how long a task took, or has taken so far. `now`: ms since 1970. */
export function formatTaskAge(task: Task, now = Date.now()): string {
	const from = Date.parse(task.started_at ?? task.queued_at ?? "");
	const to = task.completed_at ? Date.parse(task.completed_at) : now;
	return Number.isNaN(to - from) ? "?" : formatAge(to - from);
}

/** Formats how long ago a task ended: `3h ago`; "" if it has not ended. `now`: ms since 1970. */
export function formatEnded({ completed_at }: Task, now = Date.now()): string {
	const at = Date.parse(completed_at ?? "");
	return Number.isNaN(at) ? "" : `${formatAge(now - at)} ago`;
}

/** Formats a count of tokens in at most five characters: `950`, `12.3k`, `123k`, `1.2M`. */
export function formatTokens(count: number): string {
	let [size, power] = [count, 0];
	// What would be rounded to 1000 has the next unit.
	for (; size >= 999.5 && power < 4; power++) size /= 1000;
	const digits = power > 0 && size < 99.95 ? 1 : 0;
	return `${Number(size.toFixed(digits))}${["", "k", "M", "G", "T"][power]}`;
}

/** Parses a count of tokens such as `500`, `200k`, `2M`; undefined if it is none. */
export function parseTokens(text: string): number | undefined {
	const match = /^(\d{1,15})([kKM]?)$/.exec(text);
	if (!match) return undefined;
	const unit = { "": 1, K: 1000, M: 1_000_000 }[match[2]?.toUpperCase() ?? ""];
	const count = Number(match[1]) * (unit ?? 1);
	return Number.isSafeInteger(count) ? count : undefined;
}

/** Formats the usage of a droid: `12.3k tokens in, 950 out, 80k from cache, 1.25 credits`. */
export function describeUsage(usage: Record<string, unknown>): string {
	const counts = parseUsage(usage);
	const { unread } = usage;
	const doubt =
		typeof unread === "string" ? `not known now: ${unread.slice(0, 500)}` : "";
	if (!counts) return doubt || "? tokens in, ? out";
	const { cacheRead, cacheWrite, credits } = counts;
	return [
		`${formatTokens(counts.input)} tokens in`,
		`${formatTokens(counts.output)} out`,
		cacheRead > 0 && `${formatTokens(cacheRead)} from cache`,
		cacheWrite > 0 && `${formatTokens(cacheWrite)} to cache`,
		credits > 0 && `${formatCredits(credits)} credits`,
		doubt,
	]
		.filter((part) => part)
		.join(", ");
}

/** Formats the tokens that a task used, without those from the cache, as one number; "" if that is not known. */
export function formatUsedTokens(usage: unknown): string {
	const counts = parseUsage(usage);
	return counts ? formatTokens(countBudget(counts)) : "";
}

/** Formats Factory credits with at most two decimals below 100. */
export const formatCredits = (credits: number) =>
	credits < 100 ? `${Number(credits.toFixed(2))}` : formatTokens(credits);
