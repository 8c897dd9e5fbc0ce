import { expect, test } from "bun:test";
import * as fc from "fast-check";
import {
	editLine,
	KeyReader,
	pasteText,
	type Typed,
} from "../../../lib/cli/watch/input.ts";

/** What is read from parts of the input. */
function read(...parts: (string | Uint8Array)[]): Typed[] {
	const reader = new KeyReader();
	return parts.flatMap((part) => reader.read(Buffer.from(part)));
}

const named = (typed: Typed[]) =>
	typed.map((each) => ("key" in each ? each.key : { ...each }));

test("typing is taken apart into named keys", () => {
	expect(
		named(read("j\u001b[A\u001bOB q\r\t\u007f\u0003\u001a\u0015")),
	).toEqual([
		"j",
		"up",
		"down",
		"space",
		"q",
		"enter",
		"tab",
		"backspace",
		"ctrl-c",
		"ctrl-z",
		"ctrl-u",
	]);
	expect(
		named(read("\u001b[5~\u001b[6~\u001b[H\u001b[4~\u001b[1;5A\u001b[3~")),
	).toEqual(["pageup", "pagedown", "home", "end", "up", "delete"]);
	expect(named(read("\u001b"))).toEqual(["escape"]);
	expect(named(read("\u001bq"))).toEqual(["escape", "q"]);
});

test("sequences that are no known key do nothing", () => {
	expect(named(read("\u001b[200;1Rx\u001b[?1;2c\u001b[<0;1;1M\u0085"))).toEqual(
		["x", "enter"],
	);
});

test("a character, a sequence and a paste may arrive in parts", () => {
	const [a, b] = [
		Buffer.from("日").subarray(0, 1),
		Buffer.from("日").subarray(1),
	];
	expect(named(read(a, b))).toEqual(["日"]);
	expect(named(read("\u001b[", "6~", "\u001b[1", "~"))).toEqual([
		"pagedown",
		"home",
	]);
	expect(read("\u001b[200~c\r", "y", "\u001b[20", "1~x")).toEqual([
		{ paste: "c\ry" },
		{ key: "x" },
	]);
});

test("pasted keys are text, however they arrive", () => {
	fc.assert(
		fc.property(
			fc.array(fc.constantFrom("c", "y", "\r", "日", "\u001b", "\u001b[A"), {
				maxLength: 8,
			}),
			fc.array(fc.nat(40), { maxLength: 3 }),
			(words, cuts) => {
				const bytes = Buffer.from(`\u001b[200~${words.join("")}\u001b[201~`);
				const at = [
					0,
					...cuts
						.map((cut) => Math.max(6, Math.min(cut, bytes.length)))
						.sort((a, b) => a - b),
					bytes.length,
				];
				const parts = at.slice(1).map((end, n) => bytes.subarray(at[n], end));
				const all = read(...parts);
				expect(all).toEqual([{ paste: words.join("") }]);
			},
		),
	);
});

const lineOf = (text: string) => {
	const [before = "", after = ""] = text.split("|");
	return { before, after };
};

test.each([
	["ab|c", "x", "abx|c"],
	["ab|c", "space", "ab |c"],
	["ab|c", "backspace", "a|c"],
	["|c", "backspace", "|c"],
	["a👨‍👩‍👧|", "backspace", "a|"],
	["a|日b", "delete", "a|b"],
	["one two  |x", "ctrl-w", "one |x"],
	["one|", "ctrl-w", "|"],
	["ab|c", "ctrl-u", "|c"],
	["ab|c", "ctrl-k", "ab|"],
	["ab|c", "left", "a|bc"],
	["ab|c", "right", "abc|"],
	["ab|c", "home", "|abc"],
	["ab|c", "ctrl-e", "abc|"],
	["ab|c", "pageup", "ab|c"],
	["ab|c", "ctrl-x", "ab|c"],
])("the line %p after %s is %p", (line, key, after) => {
	expect(editLine(lineOf(line), key)).toEqual(lineOf(after));
});

test("of a paste, control characters are left out and newlines stay", () => {
	expect(pasteText(lineOf("a|b"), "x\r\ny\u001b[2J\u0007z\t")).toEqual({
		before: "ax\ny[2Jz\t",
		after: "b",
	});
});
