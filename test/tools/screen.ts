/** What a program that takes the whole screen has drawn: the lines of its last complete frame. */

const beginFrame = "\u001b[?2026h";
const endFrame = "\u001b[?2026l";
const takeScreen = "\u001b[?1049h";

/** How many frames were begun. */
export const countFrames = (text: string) => text.split(beginFrame).length - 1;

/** Reads the lines, with their colours, of a screen with so many rows; none if there was no frame. */
export function readScreen(text: string, rows: number): string[] {
	const done = text.slice(0, text.lastIndexOf(endFrame));
	// A screen that is taken again is drawn anew.
	const frames = done.slice(done.lastIndexOf(takeScreen)).split(beginFrame);
	if (frames.length < 2) return [];
	const lines = Array<string>(rows).fill("");
	for (const frame of frames.slice(1)) {
		const [changes = ""] = frame.split(endFrame);
		// Each line is erased and then written.
		const drawn = changes.matchAll(
			// biome-ignore lint/suspicious/noControlCharactersInRegex: these are control sequences
			/\u001b\[(\d+);1H\u001b\[K([\s\S]*?)(?=\u001b\[\d+;\d+H|\u001b\[\?25[hl]|$)/g,
		);
		for (const [, row, line = ""] of drawn)
			if (Number(row) <= rows) lines[Number(row) - 1] = line;
	}
	return lines;
}
