import { expect, test } from "bun:test";
import type { Task } from "../../lib/task/schema.ts";
import {
	addCounts,
	countBudget,
	countEarlierAttempts,
	includesCounts,
	noTokens,
	parseUsage,
	subtractCounts,
	sumUsages,
	toRecordUsage,
} from "../../lib/task/usage.ts";

const counts = {
	input: 10,
	output: 5,
	cacheRead: 1000,
	cacheWrite: 3,
	credits: 0.5,
};

test("counts survive a record", () => {
	expect(parseUsage(toRecordUsage(counts))).toEqual(counts);
	expect(parseUsage({ ...toRecordUsage(counts), ttft_ms: 62.5 })).toEqual(
		counts,
	);
	expect(parseUsage({ input_tokens: 3 })).toEqual({ ...noTokens, input: 3 });
});

test.each([
	[undefined],
	[null],
	["10"],
	[[]],
	[{}],
	[{ factory_credits: 1 }],
	[{ input_tokens: null, output_tokens: null }],
	[{ input_tokens: -1 }],
	[{ input_tokens: 1.5 }],
	[{ input_tokens: "10", output_tokens: 5 }],
	[{ input_tokens: 1e300, output_tokens: 5 }],
	[{ input_tokens: 1, output_tokens: Number.NaN }],
	[{ input_tokens: 1, factory_credits: Number.POSITIVE_INFINITY }],
	[{ input_tokens: 1, cache_read_input_tokens: [] }],
])("%j is no usage", (usage) => {
	expect(parseUsage(usage)).toBeUndefined();
});

test("a budget counts what is not read from the cache", () => {
	expect(countBudget(counts)).toBe(18);
});

test("counts are added, and subtracted down to zero", () => {
	expect(addCounts(counts, counts)).toMatchObject({ input: 20, credits: 1 });
	expect(subtractCounts(counts, { ...counts, input: 4, output: 9 })).toEqual({
		...noTokens,
		input: 6,
	});
	expect(includesCounts(counts, counts)).toBe(true);
	expect(includesCounts({ ...counts, input: 9 }, counts)).toBe(false);
});

test("earlier attempts are summed; those without a usage count nothing", () => {
	const usage = toRecordUsage(counts);
	const attempts = [
		{ attempt: 1, usage },
		{ attempt: 2 },
		{ attempt: 3, usage: "many" },
		{ attempt: 4, usage },
	];
	expect(countEarlierAttempts({ attempts } as Task)?.input).toBe(20);
	expect(countEarlierAttempts({} as Task)).toBeUndefined();
});

test("a sum of no usage is no usage", () => {
	expect(sumUsages([undefined, {}])).toBeUndefined();
	expect(sumUsages([toRecordUsage(counts), undefined])).toEqual(counts);
});
