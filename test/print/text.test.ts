import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import {
	toData,
	toJson,
	toLine,
	toPlain,
	truncateBytes,
} from "../../lib/print/text.ts";
import { formatAge, parseDuration, parseSize } from "../../lib/print/units.ts";

// What a terminal obeys: C0 and C1 controls but newline and tab, and marks that turn text around.
const obeyed =
	/(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

test.each([
	["plain\ttext\n", "plain\ttext\n"],
	["\u001b[31mred\u001b[0m", "red"],
	["10%\r20%\r\n", "10%\n20%\n"],
	["bell\u0007", "bell\\x07"],
	["\u009b31m", ""],
	["\u202egnp.exe", "\\u202egnp.exe"],
])("%j is shown as %j", (text, shown) => {
	expect(toPlain(text)).toBe(shown);
});

test("what is quoted is one line of whole characters, without markup", () => {
	fc.assert(
		fc.property(fc.string({ unit: "binary" }), (text) => {
			const halves = `\ud800${text}<b>"\udfff`;
			const shown = toData(halves, 20);
			expect(shown.isWellFormed()).toBe(true);
			expect(shown).not.toMatch(/[\n`<>"]/);
			expect([...shown].length).toBeLessThanOrEqual(20);
		}),
	);
});

test("plain text has nothing that a terminal obeys", () => {
	fc.assert(
		fc.property(fc.string({ unit: "binary" }), (text) => {
			expect(toPlain(text)).not.toMatch(obeyed);
			expect(toJson({ text })).not.toMatch(obeyed);
			expect(JSON.parse(toJson({ text }))).toEqual({ text });
		}),
		{ numRuns: 1000 },
	);
});

test("a line is one line, and a cut is marked", () => {
	expect(toLine(" a\n\tb ")).toBe("a b");
	expect(toLine("abcdef", 4)).toBe("abc…");
});

test.each([
	[0, "0s"],
	[99_000, "99s"],
	[100_000, "2m"],
	[7_200_000, "2h"],
	[5 * 86_400_000, "5d"],
	[-5, "0s"],
])("%p ms is the age %p", (ms, age) => {
	expect(formatAge(ms)).toBe(age);
});

describe("durations and sizes", () => {
	test.each([
		["90s", 90_000],
		["30m", 1_800_000],
		["1.5h", 5_400_000],
		["7d", 604_800_000],
		["90", 90_000],
		["0.5", 500],
		["90x", undefined],
		["-1s", undefined],
		["", undefined],
		["1e9s", undefined],
	])("%p is %p ms", (text, ms) => {
		expect(parseDuration(text)).toBe(ms);
	});

	test.each([
		["100", 100],
		["64K", 65_536],
		["1G", 1024 ** 3],
		["1.5M", undefined],
		["999999999999999G", undefined],
		["", undefined],
	])("%p is %p bytes", (text, bytes) => {
		expect(parseSize(text)).toBe(bytes);
	});
});

test("text is cut to bytes, never within a character", () => {
	fc.assert(
		fc.property(
			fc.string({ unit: "grapheme" }),
			fc.nat(40),
			fc.constantFrom("first", "last"),
			(text, bytes, keep) => {
				const cut = truncateBytes(text, bytes, keep);
				expect(Buffer.byteLength(cut)).toBeLessThanOrEqual(bytes);
				expect(
					keep === "first" ? text.startsWith(cut) : text.endsWith(cut),
				).toBe(true);
			},
		),
	);
});
