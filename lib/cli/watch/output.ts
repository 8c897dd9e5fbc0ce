/**
 * The output of a task as pages: wrapped to a width, followed at its end or standing still, searched. A page
 * that stands still is fixed by the number of its first line, so lines that are added do not move it. Only the
 * lines of a page are wrapped. Pure.
 */
import { wrapText } from "../../print/width.ts";

export type Output = {
	/** The task that wrote it. */
	id: string;
	/** Plain text of bounded length, without tabs and control characters. */
	lines: readonly string[];
	/** The number of the first line. Lines that were dropped keep their numbers. */
	first: number;
	/** Whether there is output before the first line. */
	isCut: boolean;
	/** Whether there is output that was not read, because the page stands still. */
	isUnread: boolean;
};

/** The top of a page: the number of a line, and of a row of it. */
export type Anchor = { line: number; row: number };

export type PageSize = { width: number; height: number };

export type Page = {
	rows: string[];
	/** How many lines begin above the page, and below it. */
	above: number;
	below: number;
};

/** Lays out the page at an anchor, or the last page. */
export function layOutPage(
	output: Output,
	anchor: Anchor | undefined,
	size: PageSize,
): Page {
	const top = anchor
		? clampAnchor(output, anchor, size)
		: findLastTop(output, size);
	const rows: string[] = [];
	let at = top.line;
	for (const end = endOf(output); at < end && rows.length < size.height; at++)
		rows.push(
			...wrapLine(output, at, size).slice(at === top.line ? top.row : 0),
		);
	return {
		rows: rows.slice(0, size.height),
		above: top.line - output.first,
		below: endOf(output) - at,
	};
}

/**
 * Moves a page by rows; a negative number moves up.
 * @returns undefined if that is the last page, which follows the end.
 */
export function scrollPage(
	output: Output,
	anchor: Anchor | undefined,
	size: PageSize,
	by: number,
): Anchor | undefined {
	const last = findLastTop(output, size);
	if (by === Number.POSITIVE_INFINITY) return undefined;
	const start = { line: output.first, row: 0 };
	const top = anchor ? clampAnchor(output, anchor, size) : last;
	const moved = Number.isFinite(by) ? moveBy(output, top, size, by) : start;
	return compareAnchors(moved, last) < 0 ? moved : undefined;
}

/**
 * Finds a line with a text, beginning at line `from` in a direction and going on at the other end. A text in lower case
 * matches either case.
 */
export function findLine(
	{ lines, first }: Output,
	text: string,
	{ from, step }: { from: number; step: 1 | -1 },
): number | undefined {
	const matches = createMatcher(text);
	const count = lines.length;
	for (let n = 0; n < count; n++) {
		const at = (((from - first + n * step) % count) + count) % count;
		if (matches(lines[at] ?? "")) return first + at;
	}
	return undefined;
}

/** How many lines have a text, and how many of them up to a line. */
export function countMatches(
	{ lines, first }: Output,
	text: string,
	upTo: number,
): { count: number; index: number } {
	const matches = createMatcher(text);
	let [count, index] = [0, 0];
	for (const [at, line] of lines.entries()) {
		if (!matches(line)) continue;
		count++;
		if (first + at <= upTo) index++;
	}
	return { count, index };
}

/** Splits a row into stretches that match a text and those between, alternately; the first does not match. */
export function splitMatches(row: string, text: string): string[] {
	const [line, part] = isLower(text) ? [row.toLowerCase(), text] : [row, text];
	// Lower case may have another length.
	if (!text || line.length !== row.length) return [row];
	const stretches: string[] = [];
	let done = 0;
	for (let at = line.indexOf(part); at >= 0; at = line.indexOf(part, done)) {
		stretches.push(row.slice(done, at), row.slice(at, at + part.length));
		done = at + part.length;
	}
	return [...stretches, row.slice(done)];
}

/** The number of the line at the top of a page. */
export const findTopLine = (
	output: Output,
	anchor: Anchor | undefined,
	size: PageSize,
) =>
	(anchor ? clampAnchor(output, anchor, size) : findLastTop(output, size)).line;

// --- internal ---

const isLower = (text: string) => text === text.toLowerCase();

function createMatcher(text: string): (line: string) => boolean {
	if (!isLower(text)) return (line) => line.includes(text);
	return (line) => line.toLowerCase().includes(text);
}

const endOf = ({ first, lines }: Output) => first + lines.length;

const wrapLine = (
	{ lines, first }: Output,
	line: number,
	{ width }: PageSize,
): readonly string[] => wrapText(lines[line - first] ?? "", Math.max(2, width));

const compareAnchors = (a: Anchor, b: Anchor) =>
	a.line - b.line || a.row - b.row;

/** An anchor within the output: its line may have been dropped or, in another width, have fewer rows. */
function clampAnchor(output: Output, anchor: Anchor, size: PageSize): Anchor {
	const { line, row } = anchor;
	if (line < output.first) return { line: output.first, row: 0 };
	if (line >= endOf(output)) return findLastTop(output, size);
	return { line, row: Math.min(row, wrapLine(output, line, size).length - 1) };
}

/** The top of the last page. */
function findLastTop(output: Output, size: PageSize): Anchor {
	let left = size.height;
	for (let line = endOf(output) - 1; line >= output.first; line--) {
		const rows = wrapLine(output, line, size).length;
		if (rows >= left) return { line, row: rows - left };
		left -= rows;
	}
	return { line: output.first, row: 0 };
}

function moveBy(
	output: Output,
	{ line, row }: Anchor,
	size: PageSize,
	by: number,
): Anchor {
	let at = row + by;
	while (at < 0 && line > output.first)
		at += wrapLine(output, --line, size).length;
	for (let rows = wrapLine(output, line, size).length; at >= rows; ) {
		if (line >= endOf(output) - 1) return { line, row: rows - 1 };
		at -= rows;
		rows = wrapLine(output, ++line, size).length;
	}
	return { line, row: Math.max(0, at) };
}
