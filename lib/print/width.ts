/**
 * Text in the columns of a terminal: how many it takes, cut to a number of them, wrapped into
 * lines. What is drawn twice as wide (CJK, emoji) counts as two, what combines as none, and no
 * character is ever torn. All text must be plain already (toPlain, toLine). The one room that
 * knows widths; an answer in JSON does not load it.
 */
import stringWidth from "string-width";

/** How many columns a text takes. */
export const measureWidth = (text: string): number =>
	isAscii(text) ? text.length : stringWidth(text);

/** A text in at most `width` columns; what is cut off is marked. */
export function fitText(text: string, width: number): string {
	if (width <= 0) return "";
	const whole = takeColumns(text, width);
	return whole.length === text.length
		? text
		: `${takeColumns(text, width - 1).trimEnd()}…`;
}

/** A text in exactly `width` columns. */
export function padText(
	text: string,
	width: number,
	side: "left" | "right" = "right",
): string {
	const fitting = fitText(text, width);
	const space = " ".repeat(Math.max(0, width - measureWidth(fitting)));
	return side === "right" ? fitting + space : space + fitting;
}

/** A line as lines of at most `width` columns, no fewer than a character takes, broken between words where it can be. */
export function wrapText(text: string, width: number): string[] {
	const lines: string[] = [];
	for (let rest = text.trimEnd(); ; ) {
		const head = takeColumns(rest, width) || takeFirstCharacter(rest);
		if (head.length === rest.length) return [...lines, rest];
		const isBetween = rest[head.length] === " ";
		const space = isBetween ? head.length : head.lastIndexOf(" ");
		const words = head.slice(0, Math.max(0, space));
		const line = words.trim() ? words : head;
		lines.push(line.trimEnd());
		rest = rest.slice(line.length).trimStart();
	}
}

// --- internal ---

const isAscii = (text: string) => /^[\x20-\x7e]*$/.test(text);

let segmenter: Intl.Segmenter | undefined;

function segmentText(text: string) {
	segmenter ??= new Intl.Segmenter();
	return segmenter.segment(text);
}

function takeFirstCharacter(text: string): string {
	for (const { segment } of segmentText(text)) return segment;
	return "";
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
