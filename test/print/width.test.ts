import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { toLine } from "../../lib/print/text.ts";
import {
	fitText,
	measureWidth,
	padText,
	wrapText,
} from "../../lib/print/width.ts";
import { eachWords } from "../tools/words.ts";

const oneLine = (text: string) => toLine(text);
const columns = fc.integer({ min: 8, max: 60 });

test.each([
	["plain", 5],
	["日本語", 6],
	["한글", 4],
	["ｱｲｳ", 3],
	["e\u0301", 1],
	["👍🏽", 2],
	["👨‍👩‍👧", 2],
	["🇩🇪", 2],
	["❤️", 2],
	["▶ ✔ ✖ ◼ · …", 11],
])("%p takes %p columns", (text, columns) => {
	expect(measureWidth(text)).toBe(columns);
});

test.each([
	["abcdef", 6, "abcdef"],
	["abcdef", 5, "abcd…"],
	["日本語", 6, "日本語"],
	["日本語", 5, "日本…"],
	["日本語", 4, "日…"],
	["👨‍👩‍👧👨‍👩‍👧", 3, "👨‍👩‍👧…"],
	["ab cd", 4, "ab…"],
	["ab", 0, ""],
	["\u{113d1}", 8, "\u{113d1}"],
])("%p in %p columns is %p", (text, width, shown) => {
	expect(fitText(text, width)).toBe(shown);
});

test.each(eachWords)(
	"%s text is cut only if it is too wide, and is then never wider than allowed",
	(_, { texts, measure }) => {
		fc.assert(
			fc.property(texts.map(oneLine), columns, (text, width) => {
				const cut = fitText(text, width);
				expect(measure(cut)).toBeLessThanOrEqual(width);
				if (measure(text) <= width) expect(cut).toBe(text);
				for (const side of ["left", "right"] as const)
					expect(measure(padText(text, width, side))).toBe(width);
			}),
			{ numRuns: 1000 },
		);
	},
);

test.each(eachWords)(
	"%s words that are wrapped lose nothing but spaces, and no line is too wide",
	(_, { texts, measure }) => {
		fc.assert(
			fc.property(texts.map(oneLine), columns, (text, width) => {
				const lines = wrapText(text, width);
				for (const line of lines)
					expect(measure(line)).toBeLessThanOrEqual(width);
				const dense = (each: string) => each.replace(/\s/g, "");
				expect(dense(lines.join(""))).toBe(dense(text));
			}),
			{ numRuns: 1000 },
		);
	},
);

test("a line is broken between words if possible", () => {
	expect(wrapText("all 42 tests pass", 8)).toEqual(["all 42", "tests", "pass"]);
	expect(wrapText("  indented text", 10)).toEqual(["  indented", "text"]);
	expect(wrapText("abcdefgh", 3)).toEqual(["abc", "def", "gh"]);
	expect(wrapText("", 3)).toEqual([""]);
});
