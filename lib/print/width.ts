/**
 * Text in the columns of a terminal: measured, cut, padded, wrapped. A wide character (CJK, emoji) counts
 * as two columns, a combining one as none; a character is never divided. All text must be plain
 * (toPlain, toLine). A JSON reply does not load this file.
 */
import stringWidth from "string-width";

/** Measures a text in columns. */
export const measureWidth = (text: string): number =>
	isAscii(text) ? text.length : stringWidth(text);

/** Cuts a text to at most `width` columns; a cut is marked by `…`. */
export function fitText(text: string, width: number): string {
	if (width <= 0) return "";
	const whole = takeColumns(text, width);
	return whole.length === text.length
		? text
		: `${takeColumns(text, width - 1).trimEnd()}…`;
}

/** Cuts or pads a text to exactly `width` columns. `side`: the side of the padding. */
export function padText(
	text: string,
	width: number,
	side: "left" | "right" = "right",
): string {
	const key = `${width} ${side} ${text}`;
	return isAscii(text)
		? padUncached(text, width, side)
		: padded.get(key, () => padUncached(text, width, side));
}

/** Wraps a line to lines of at most `width` columns, or one character; between words if possible. */
export const wrapText = (text: string, width: number): readonly string[] =>
	isAscii(text)
		? wrapUncached(text, width)
		: wrapped.get(`${width} ${text}`, () => wrapUncached(text, width));

// --- internal ---

/** The most values that a cache keeps. */
const maxCached = 1000;

/**
 * What was computed for texts. A text that is not ASCII is slow to measure (20 µs), and a screen that is drawn
 * repeatedly has the same texts.
 */
class TextCache<T> {
	readonly #values = new Map<string, T>();

	get(key: string, compute: () => T): T {
		const known = this.#values.get(key);
		if (known !== undefined) return known;
		if (this.#values.size >= maxCached) this.#values.clear();
		const value = compute();
		this.#values.set(key, value);
		return value;
	}
}

const padded = new TextCache<string>();
const wrapped = new TextCache<readonly string[]>();

function padUncached(
	text: string,
	width: number,
	side: "left" | "right",
): string {
	const fitting = fitText(text, width);
	// A few characters form one with the space behind them.
	const measured = side === "right" ? `${fitting} ` : ` ${fitting}`;
	const space = " ".repeat(Math.max(0, width + 1 - measureWidth(measured)));
	return side === "right" ? fitting + space : space + fitting;
}

function wrapUncached(text: string, width: number): string[] {
	const lines: string[] = [];
	for (let left = text.trimEnd(); ; ) {
		const head = takeColumns(left, width) || takeFirstCharacter(left);
		if (head.length === left.length) return [...lines, left];
		const isBetween = left[head.length] === " ";
		const space = isBetween ? head.length : head.lastIndexOf(" ");
		const words = head.slice(0, Math.max(0, space));
		const line = words.trim() ? words : head;
		lines.push(line.trimEnd());
		left = left.slice(line.length).trimStart();
	}
}

const isAscii = (text: string) => /^[\x20-\x7e]*$/.test(text);

let segmenter: Intl.Segmenter | undefined;

function segmentText(text: string) {
	segmenter ??= new Intl.Segmenter();
	return segmenter.segment(text);
}

function takeFirstCharacter(text: string): string {
	const [first] = segmentText(text);
	return first?.segment ?? "";
}

/** The longest beginning that takes at most `width` columns. */
function takeColumns(text: string, width: number): string {
	const start = text.slice(0, width + 1);
	if (isAscii(start)) return start.slice(0, width);
	let end = 0;
	let left = width;
	for (const { segment } of segmentText(text)) {
		left -= measureWidth(segment);
		if (left < 0) break;
		end += segment.length;
	}
	return text.slice(0, end);
}
