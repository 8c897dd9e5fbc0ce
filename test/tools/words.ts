/** Words of every kind, for properties of what is drawn: wide, joined, combined, and hostile ones. */
import * as fc from "fast-check";
import { measureWidth } from "../../lib/print/width.ts";

const pieces = fc.constantFrom(
	"word",
	" ",
	"日本語",
	"한글",
	"ﾊﾝｶｸ",
	"e\u0301",
	"👍🏽",
	"👨‍👩‍👧",
	"🇩🇪",
	"❤️",
	"\u200b",
	"\t",
	"\n",
	"\r",
	"\u0007",
	"\u001b[31m",
	"\u001b[2J",
	"\u001b]0;title\u0007",
	"\u009b31m",
	"\u202e",
);

export type Words = {
	texts: fc.Arbitrary<string>;
	/** How many columns a text takes. */
	measure: (text: string) => number;
};

/**
 * Texts as they come, with whatever a terminal would obey. Common ones are measured by another's
 * hand, Bun's; of rare ones (old music, fillers, what Unicode has not given away) every terminal
 * makes something else, and it counts that we agree with ourselves.
 */
export const allWords = {
	common: {
		texts: fc.array(pieces, { maxLength: 40 }).map((all) => all.join("")),
		measure: Bun.stringWidth,
	},
	rare: {
		texts: fc.oneof(
			fc.string({ unit: "grapheme", maxLength: 80 }),
			fc.string({ unit: "binary", maxLength: 40 }),
		),
		measure: measureWidth,
	},
} satisfies Record<string, Words>;

export const eachWords = Object.entries(allWords) as [string, Words][];
