/**
 * Text for people and programs: plain text, JSON, cuts; and `writeAll`, through which every byte leaves
 * this program. Modules that a JSON reply does not need are loaded on demand: they cost a third of a
 * launch.
 */
import { fstatSync, statSync, writeSync } from "node:fs";
import { errorCode, errorMessage, PrintError } from "../error.ts";
import { sleepSync } from "../process/runtime.ts";
import { programCommand } from "../process/self.ts";

/** Loading `Buffer` would take 5 % of a hook's time. */
const encoder = new TextEncoder();

/**
 * Writes all of the data. A pipe may take a part of it, or nothing for a while: the write is repeated.
 * Errors of stderr are ignored, because no caller depends on it.
 * @returns false if the reader has closed the pipe.
 * @throws PrintError if stdout cannot be written, for example on a full disk.
 */
export function writeAll(fd: number, data: string | Uint8Array): boolean {
	const bytes = typeof data === "string" ? encoder.encode(data) : data;
	for (let done = 0; done < bytes.length; ) {
		try {
			done += writeSync(fd, bytes, done);
		} catch (error) {
			const code = errorCode(error);
			if (code === "EAGAIN") {
				sleepSync(2);
				continue;
			}
			if (code === "EPIPE" || fd === 2) return false;
			throw new PrintError(
				`unable to print the answer: ${errorMessage(error)}`,
			);
		}
	}
	return true;
}

/** Whether a descriptor is a terminal. node:tty is slow to load and asked only for character devices. */
export function isTerminal(fd: number): boolean {
	try {
		const { rdev } = statSync("/dev/null");
		const status = fstatSync(fd);
		if (!status.isCharacterDevice() || status.rdev === rdev) return false;
		return process.getBuiltinModule("node:tty").isatty(fd);
	} catch {
		return false;
	}
}

/** Whether the terminal has no control sequences (no colours, no cursor movement) or is unknown. */
export const isDumbTerminal = ({ TERM } = process.env) =>
	!TERM || TERM === "dumb";

/**
 * Formats a value as JSON on one line. Characters that JSON allows and a terminal obeys (C1 controls and
 * marks that change the direction of text) are escaped.
 */
export const toJson = (value: unknown) => escapeJson(JSON.stringify(value));

/** Escapes these characters in JSON text. */
export function escapeJson(json: string): string {
	return json.replace(
		/[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
		(char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
}

/**
 * Makes the text of a task safe for a terminal: control sequences are removed, a carriage return becomes
 * a newline, any other control character is shown as `\x1b`.
 */
export function toPlain(text: string): string {
	return stripControlSequences(text)
		.replace(/\r+\n?/g, "\n")
		.replace(
			/(?![\t\n])[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu,
			(char) => {
				const code = char.charCodeAt(0).toString(16);
				return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
			},
		);
}

/** Removes control sequences. node:util is slow to load, so only for text that has one. */
function stripControlSequences(text: string): string {
	if (!text.includes("\u001b") && !text.includes("\u009b")) return text;
	const { stripVTControlCharacters } = process.getBuiltinModule("node:util");
	return stripVTControlCharacters(text);
}

/** Makes the text of a task safe for a terminal, in one line of at most `length` characters. */
export function toLine(text: string, length = 200): string {
	const line = toPlain(text).replace(/\s+/g, " ").trim();
	const chars = [...line];
	return chars.length > length
		? `${chars.slice(0, length - 1).join("")}…`
		: line;
}

/**
 * Makes the text of a task quotable: one line of at most `length` characters without markup. Half of a surrogate
 * pair is no character; a model's server refuses it.
 */
export const toData = (text: string, length: number) =>
	toLine(text.toWellFormed(), length).replace(/[`<>"]/g, "'");

/** Cuts text to at most its first or last `bytes` bytes of UTF-8, never within a character. */
export function truncateBytes(
	text: string,
	bytes: number,
	keep: "first" | "last",
): string {
	// A UTF-16 unit is at most three bytes of UTF-8.
	if (text.length * 3 <= bytes) return text;
	const all = Buffer.from(text);
	if (all.length <= bytes) return text;
	let at = keep === "first" ? bytes : all.length - bytes;
	const step = keep === "first" ? -1 : 1;
	while (at > 0 && at < all.length && ((all[at] ?? 0) & 0xc0) === 0x80)
		at += step;
	return (keep === "first" ? all.subarray(0, at) : all.subarray(at)).toString();
}

/** Joins the first `most` words; of the others, says how many there are. */
export const joinFirst = (words: readonly string[], most: number, hint = "") =>
	words.slice(0, most).join(" ") +
	(words.length > most ? ` and ${words.length - most} more${hint}` : "");

/** Formats a call of this program for a shell: `command` is a verb and its arguments. */
export const formatProgramCall = (command: string) =>
	`${toLine(programCommand())} ${command}`;

/** The most similar word of a list as ` (did you mean …?)`; "" if none is similar. */
export function suggestWord(given: string, words: readonly string[]): string {
	const near = findClosest(given, words);
	if (near === undefined) return "";
	const isSimilar =
		measureEditDistance(given, near) <= Math.max(1, near.length / 3);
	return isSimilar ? ` (did you mean ${near}?)` : "";
}

/** The word of a list that is most similar to another one; undefined if the list is empty. */
export const findClosest = (given: string, words: readonly string[]) =>
	words
		.map((word) => ({ word, distance: measureEditDistance(given, word) }))
		.sort((a, b) => a.distance - b.distance)[0]?.word;

// --- internal ---

/** Levenshtein distance. */
function measureEditDistance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, index) => index);
	for (const [i, char] of [...a].entries()) {
		const next = [i + 1];
		for (let j = 0; j < b.length; j++) {
			const replaced = (row[j] ?? 0) + (char === b[j] ? 0 : 1);
			const inserted = Math.min(next[j] ?? 0, row[j + 1] ?? 0) + 1;
			next.push(Math.min(inserted, replaced));
		}
		row = next;
	}
	return row[b.length] ?? 0;
}
