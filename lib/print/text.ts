/**
 * Text for people and programs: without control characters, as JSON, in columns; and `writeAll`, the
 * only way bytes leave this program. Modules that a JSON reply does not need are loaded on demand: they
 * cost a third of a launch.
 */
import { fstatSync, statSync, writeSync } from "node:fs";
import { errorCode, errorMessage, PrintError } from "../error.ts";
import { sleepSync } from "../process/runtime.ts";
import { programCommand } from "../process/self.ts";

/** `Buffer` costs a hook a twentieth of its time to load. */
const encoder = new TextEncoder();

/**
 * Writes everything, however slowly the reader reads: a pipe may take less than it is given, or
 * nothing for a while. Nothing depends on what stderr says, so its errors are ignored.
 * @returns false if the reader is gone: it wants nothing more.
 * @throws PrintError if stdout cannot be written: its disk is full, say.
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

/** Whether a person looks at it; node:tty is dear, and only asked where it can be one. */
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

/** Whether a terminal can only print, or nothing is known of it: no colours, no moving about. */
export const isDumbTerminal = ({ TERM } = process.env) =>
	!TERM || TERM === "dumb";

/**
 * JSON on one line. What JSON allows and a terminal obeys (C1 controls, and marks that
 * turn the direction of text) is escaped as well.
 */
export const toJson = (value: unknown) => escapeJson(JSON.stringify(value));

/** The same for JSON that is text already. */
export function escapeJson(json: string): string {
	return json.replace(
		/[\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
		(char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
	);
}

/**
 * A task's words as they may reach a terminal: colours and cursor movements are dropped, a lone
 * carriage return starts a line, any other control character is shown as `\x1b`.
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

/** What begins a sequence that a terminal obeys; loading what knows them all is dear. */
function stripControlSequences(text: string): string {
	if (!text.includes("\u001b") && !text.includes("\u009b")) return text;
	const { stripVTControlCharacters } = process.getBuiltinModule("node:util");
	return stripVTControlCharacters(text);
}

/** The same in one line of at most `length` characters. */
export function toLine(text: string, length = 200): string {
	const line = toPlain(text).replace(/\s+/g, " ").trim();
	const chars = [...line];
	return chars.length > length
		? `${chars.slice(0, length - 1).join("")}…`
		: line;
}

/** A task's words as data among the words of others: one line, nothing in it that could pass for markup. */
export const toData = (text: string, length: number) =>
	toLine(text, length).replace(/[`<>"]/g, "'");

/** Columns padded to their widest cell; the last one is left as it is. */
export function formatTable(rows: readonly (readonly string[])[]): string {
	const widths: number[] = [];
	for (const row of rows)
		for (const [column, cell] of row.entries())
			widths[column] = Math.max(widths[column] ?? 0, [...cell].length);
	return rows
		.map((row) =>
			row
				.map((cell, column) =>
					column === row.length - 1
						? cell
						: cell + " ".repeat((widths[column] ?? 0) - [...cell].length),
				)
				.join("  ")
				.trimEnd(),
		)
		.join("\n");
}

/** Cuts text to its last or first `bytes` bytes of UTF-8, never within a character. */
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

/** What to type to see the rest of a task's words. */
export const formatProgramCall = (command: string) =>
	`${toLine(programCommand())} ${command}`;
