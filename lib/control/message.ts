/** Reads what `bg send` sends: from argv, a file or standard input. */
import { isUtf8 } from "node:buffer";
import { usage } from "../error.ts";
import { readBytes } from "./launch/options.ts";
import { assertIntact } from "./schedule.ts";

export type MessageSource = {
	message?: string | undefined;
	/** `-`: standard input. */
	file?: string | undefined;
	/** Whether the end of the input may be all that is sent. */
	eof?: boolean | undefined;
};

/** A message as text for a droid, and as bytes for a command. */
export type Message = {
	toText: () => string;
	/** @param end what follows a message of argv. */
	toBytes: (end: string) => Uint8Array;
};

/** Returns what reads the message when it is called first: standard input can be read only once. */
export function readOnce(flags: MessageSource): () => Message | undefined {
	let read: { message: Message | undefined } | undefined;
	return () => {
		read ??= { message: readMessage(flags) };
		return read.message;
	};
}

// --- internal ---

/**
 * Reads the message from argv, a file or standard input; undefined if only the end of the input is sent.
 * @throws BgError (usage) unless exactly one of them is given.
 */
function readMessage({
	message,
	file,
	eof,
}: MessageSource): Message | undefined {
	if (message !== undefined && file !== undefined)
		throw usage("the message is given twice: in argv and by --file");
	const path = message === "-" ? message : file;
	if (path !== undefined) {
		const bytes = readBytes("--file", path);
		const toText = () => {
			if (!isUtf8(bytes)) throw usage(`--file ${path}: it is not UTF-8`);
			return Buffer.from(bytes).toString();
		};
		return { toText, toBytes: () => bytes };
	}
	if (message === undefined) {
		if (eof) return undefined;
		throw usage("no message: bg send <id> <message>, or --file FILE");
	}
	assertIntact(message, "the message", "give it by --file FILE");
	return {
		toText: () => message,
		toBytes: (end) => new TextEncoder().encode(message + end),
	};
}
