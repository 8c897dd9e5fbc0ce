import { expect, test } from "bun:test";
import {
	findLine,
	layOutPage,
	type Output,
	scrollPage,
	splitMatches,
} from "../../../lib/cli/watch/output.ts";
import { outputOf } from "../../tools/watch.ts";

const size = { width: 10, height: 4 };
const output = outputOf(1, 20);
const rowsAt = (at: ReturnType<typeof scrollPage>, from: Output = output) =>
	layOutPage(from, at, size).rows;

test("the last page is followed; a page that was scrolled stands still", () => {
	expect(rowsAt(undefined)).toEqual([
		"line 16",
		"line 17",
		"line 18",
		"line 19",
	]);
	const up = scrollPage(output, undefined, size, -2);
	const before = rowsAt(up);
	expect(before).toEqual(["line 14", "line 15", "line 16", "line 17"]);
	expect(layOutPage(output, up, size)).toMatchObject({ above: 14, below: 2 });
	const longer = outputOf(1, 30);
	expect(rowsAt(up, longer)).toEqual(before);
	expect(layOutPage(longer, up, size).below).toBe(12);
	expect(rowsAt(undefined, longer).at(-1)).toBe("line 29");
	// The first lines were dropped, those of the page were not.
	const later = { ...longer, lines: longer.lines.slice(10), first: 10 };
	expect(rowsAt(up, later)).toEqual(before);
	// Those of the page were dropped too, or another output is shorter.
	expect(rowsAt({ line: 3, row: 0 }, later)[0]).toBe("line 10");
	expect(rowsAt({ line: 99, row: 0 })).toEqual(rowsAt(undefined));
});

test("the last page follows again when it is reached", () => {
	const up = scrollPage(output, undefined, size, -3);
	expect(scrollPage(output, up, size, 3)).toBeUndefined();
	expect(scrollPage(output, up, size, 2)).toBeDefined();
	expect(
		scrollPage(output, up, size, Number.POSITIVE_INFINITY),
	).toBeUndefined();
	const first = scrollPage(output, up, size, Number.NEGATIVE_INFINITY);
	expect(rowsAt(first)[0]).toBe("line 0");
	expect(scrollPage(output, first, size, -99)).toEqual(first);
	expect(scrollPage(outputOf(1, 3), undefined, size, -1)).toBeUndefined();
	expect(scrollPage(outputOf(1, 0), undefined, size, -1)).toBeUndefined();
});

test("a long line is scrolled row by row, and has other rows in another width", () => {
	const lines = ["aaaa ".repeat(6), "日本語日本語", "end"];
	const wrapped = { ...output, lines };
	expect(rowsAt(undefined, wrapped)).toEqual([
		"aaaa aaaa",
		"日本語日本",
		"語",
		"end",
	]);
	const up = scrollPage(wrapped, undefined, size, -1);
	expect(up).toEqual({ line: 0, row: 1 });
	expect(rowsAt(up, wrapped)[0]).toBe("aaaa aaaa");
	expect(
		layOutPage(wrapped, { line: 0, row: 2 }, { ...size, width: 80 }).rows[0],
	).toStartWith("aaaa aaaa aaaa");
});

test("a search goes on at the other end, and lower case finds either", () => {
	const lines = ["One", "two", "one", "three"];
	const texts = { ...output, lines, first: 100 };
	const find = (text: string, from: number, step: 1 | -1) =>
		findLine(texts, text, { from, step });
	expect(find("one", 100, 1)).toBe(100);
	expect(find("one", 101, 1)).toBe(102);
	expect(find("one", 103, 1)).toBe(100);
	expect(find("one", 99, -1)).toBe(102);
	expect(find("One", 101, 1)).toBe(100);
	expect(find("four", 100, 1)).toBeUndefined();
	expect(
		findLine({ ...texts, lines: [] }, "x", { from: 0, step: 1 }),
	).toBeUndefined();
});

test("matches are marked in their case; the text itself does not change", () => {
	expect(splitMatches("One one none", "one")).toEqual([
		"",
		"One",
		" ",
		"one",
		" n",
		"one",
		"",
	]);
	expect(splitMatches("One one", "One")).toEqual(["", "One", " one"]);
	expect(splitMatches("İone", "one").join("")).toBe("İone");
	expect(splitMatches("text", "")).toEqual(["text"]);
});
