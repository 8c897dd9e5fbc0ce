/**
 * consola for what people read and answer. It takes 10 ms to load, so reply.ts imports this file on demand:
 * never for a JSON reply. consola's own reporters and prompt are not used: they change text in backticks,
 * drop repeated lines, and write questions to stdout, which may be a pipe.
 */
import { readSync } from "node:fs";
import { type ConsolaInstance, createConsola } from "consola/core";
import { errorCode } from "../error.ts";
import { isColourWanted } from "../print/status.ts";
import { toPlain, writeAll } from "../print/text.ts";
import { sleepSync } from "../process/runtime.ts";

/** What precedes a line of a type, and its colour; nothing precedes `log`. */
const marks: Record<string, readonly [mark: string, colour: number]> = {
	success: ["✔  ", 32],
	fail: ["✖  ", 31],
	info: ["   ", 39],
};

/** A consola that writes lines to stdout without terminal control characters, and asks on stderr. */
export const openConsola = (): ConsolaInstance =>
	createConsola({
		level: 3,
		throttleMin: Number.POSITIVE_INFINITY,
		reporters: [
			{
				log: ({ type, args }) =>
					writeAll(1, `${formatMark(type)}${toPlain(args.join(" "))}\n`),
			},
		],
		prompt: async (message: string) => {
			writeAll(2, `${toPlain(message)} [y/N] `);
			return readLine() as never;
		},
	});

/** Asks a question. @returns whether the answer is yes; end of input is no. */
export async function ask(question: string): Promise<boolean> {
	const answer = await openConsola().prompt(question, { type: "text" });
	if (!answer.endsWith("\n")) writeAll(2, "\n");
	return /^y(es)?$/i.test(answer.trim());
}

// --- internal ---

function formatMark(type: string): string {
	const [mark = "", colour] = marks[type] ?? [];
	return mark && isColourWanted() ? `\u001b[${colour}m${mark}\u001b[39m` : mark;
}

/** Reads a line of standard input, which is a terminal in line mode. */
function readLine(): string {
	const bytes = Buffer.alloc(1024);
	let line = "";
	while (!line.endsWith("\n")) {
		try {
			const length = readSync(0, bytes);
			if (length === 0) break;
			line += bytes.toString("utf8", 0, length);
		} catch (error) {
			// A terminal that has hung up is end of input.
			if (errorCode(error) !== "EAGAIN") break;
			sleepSync(20);
		}
	}
	return line;
}
