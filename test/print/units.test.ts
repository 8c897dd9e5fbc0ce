import { expect, test } from "bun:test";
import {
	describeUsage,
	formatCredits,
	formatRoughSize,
	formatTokens,
	parseTokens,
} from "../../lib/print/units.ts";

test.each([
	[0, "0"],
	[999, "999"],
	[1000, "1k"],
	[12_345, "12.3k"],
	[99_949, "99.9k"],
	[99_950, "100k"],
	[123_456, "123k"],
	[999_499, "999k"],
	[999_500, "1M"],
	[1_234_567, "1.2M"],
	[Number.MAX_SAFE_INTEGER, "9007T"],
])("%d tokens are shown as %s", (count, text) => {
	expect(formatTokens(count)).toBe(text);
});

test.each([
	["500", 500],
	["200k", 200_000],
	["200K", 200_000],
	["2M", 2_000_000],
	["0", 0],
	["", undefined],
	["-1", undefined],
	["1.5k", undefined],
	["1G", undefined],
	["999999999999999M", undefined],
])("--max-tokens %p is %p", (text, count) => {
	expect(parseTokens(text)).toBe(count);
});

test.each([
	[0.123, "0.12"],
	[3, "3"],
	[1234.5, "1.2k"],
])("%d credits are shown as %s", (credits, text) => {
	expect(formatCredits(credits)).toBe(text);
});

test.each([
	[0, "0 B"],
	[1023, "1023 B"],
	[1024, "1 KiB"],
	[1025, "2 KiB"],
	[2 ** 20, "1 MiB"],
	[5000 * 2 ** 20, "5000 MiB"],
	[77_386 * 2 ** 20, "76 GiB"],
])("%d bytes are shown as %s", (bytes, text) => {
	expect(formatRoughSize(bytes)).toBe(text);
});

test("a usage names what it has", () => {
	expect(describeUsage({ input_tokens: 12_345, output_tokens: 7 })).toBe(
		"12.3k tokens in, 7 out",
	);
	const all = {
		input_tokens: 1,
		output_tokens: 2,
		cache_read_input_tokens: 3000,
		cache_creation_input_tokens: 4,
		factory_credits: 0.5,
		ttft_ms: 62,
	};
	expect(describeUsage(all)).toBe(
		"1 tokens in, 2 out, 3k from cache, 4 to cache, 0.5 credits",
	);
	expect(describeUsage({ input_tokens: "1" })).toBe("? tokens in, ? out");
});
