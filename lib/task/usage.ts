/**
 * The token counts of droids: checked, added and subtracted, from and to the `usage` of a record, whose keys are
 * those of droid's completion line. Pure.
 */
import type { Task } from "./schema.ts";

export type TokenCounts = {
	/** Without what came from the cache or was written to it. */
	input: number;
	output: number;
	cacheRead: number;
	cacheWrite: number;
	/** Factory credits; may have a fraction. */
	credits: number;
};

/** The counts of a task, or why they could not be read: then they are those known before, or zero. */
export type TaskUsage = TokenCounts & { unread?: string };

export const noTokens: TokenCounts = {
	input: 0,
	output: 0,
	cacheRead: 0,
	cacheWrite: 0,
	credits: 0,
};

/** The keys of a record's `usage`. */
const recordKeys = {
	input: "input_tokens",
	output: "output_tokens",
	cacheRead: "cache_read_input_tokens",
	cacheWrite: "cache_creation_input_tokens",
	credits: "factory_credits",
} as const satisfies Record<keyof TokenCounts, string>;

const names = Object.keys(recordKeys) as (keyof TokenCounts)[];

/** Parses the `usage` of a record; undefined if it has no count of tokens. */
export const parseUsage = (usage: unknown): TokenCounts | undefined =>
	parseCounts(usage, recordKeys);

/** Parses the `usage` of a finished task; undefined if it says nothing. */
export function parseTaskUsage({ usage }: Task): TaskUsage | undefined {
	const counts = parseUsage(usage);
	const { unread } = usage ?? {};
	if (typeof unread !== "string") return counts;
	return { ...(counts ?? noTokens), unread };
}

/**
 * Parses counts by the names they have in `from`. A missing count is 0.
 * @returns undefined if input and output are missing, or if one count is none.
 */
export function parseCounts(
	from: unknown,
	keys: Readonly<Record<keyof TokenCounts, string>>,
): TokenCounts | undefined {
	if (typeof from !== "object" || from === null) return undefined;
	const fields = from as Record<string, unknown>;
	const counts = { ...noTokens };
	for (const name of names) {
		const value = fields[keys[name]] ?? 0;
		const isCount =
			name === "credits" ? Number.isFinite(value) : Number.isSafeInteger(value);
		if (!isCount || Number(value) < 0) return undefined;
		counts[name] = Number(value);
	}
	const isCounted = (name: "input" | "output") =>
		fields[keys[name]] !== undefined && fields[keys[name]] !== null;
	return isCounted("input") || isCounted("output") ? counts : undefined;
}

/** The counts as the `usage` of a record. */
export const toRecordUsage = (counts: TokenCounts): Record<string, number> =>
	Object.fromEntries(names.map((name) => [recordKeys[name], counts[name]]));

export const addCounts = (a: TokenCounts, b: TokenCounts): TokenCounts =>
	combine(a, b, (one, other) => one + other);

/** Subtracts what was counted before; never below 0. */
export const subtractCounts = (a: TokenCounts, b: TokenCounts): TokenCounts =>
	combine(a, b, (one, other) => Math.max(0, one - other));

/** The larger of each two counts. */
export const maximumCounts = (a: TokenCounts, b: TokenCounts): TokenCounts =>
	combine(a, b, Math.max);

/** Whether no count of `a` is below that of `b`. */
export const includesCounts = (a: TokenCounts, b: TokenCounts): boolean =>
	names.every((name) => a[name] >= b[name]);

/** What `--max-tokens` counts: all but what came from the cache. */
export const countBudget = ({ input, output, cacheWrite }: TokenCounts) =>
	input + cacheWrite + output;

/** What the earlier attempts of a task used together; undefined if that is not known of any. */
export const countEarlierAttempts = ({ attempts = [] }: Task) =>
	sumUsages(attempts.map(({ usage }) => usage));

/** What several tasks used together; undefined if none has a usage. */
export function sumUsages(usages: readonly unknown[]): TokenCounts | undefined {
	const counts = usages.flatMap((usage) => parseUsage(usage) ?? []);
	return counts.length ? counts.reduce(addCounts) : undefined;
}

/** What the tasks of each parent session used together; sessions without a usage are left out. */
export function sumUsageBySession(
	tasks: Iterable<Task>,
): Map<string, TokenCounts> {
	const sums = new Map<string, TokenCounts>();
	for (const task of tasks) addToSession(sums, task);
	return sums;
}

/** Adds what a task used to the sum of its parent session. */
export function addToSession(
	sums: Map<string, TokenCounts>,
	{ parent_session_id: session = "main", usage }: Task,
): void {
	const counts = parseUsage(usage);
	if (counts)
		sums.set(session, addCounts(sums.get(session) ?? noTokens, counts));
}

// --- internal ---

function combine(
	a: TokenCounts,
	b: TokenCounts,
	join: (one: number, other: number) => number,
): TokenCounts {
	const joined = { ...a };
	for (const name of names) joined[name] = join(a[name], b[name]);
	return joined;
}
