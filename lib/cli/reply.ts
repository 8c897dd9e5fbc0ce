/**
 * How a verb replies: JSON in a pipe, text in a terminal, with the flags for that; questions; and records
 * truncated for an agent's context. Truncation cuts the longest texts and lists until the record fits. Keys
 * stay, a cut text ends in `…`, and the reply names the command that shows all.
 */
import type { ConsolaInstance } from "consola/core";
import { loadedEngine } from "../engine/engine.ts";
import {
	formatProgramCall,
	isDumbTerminal,
	isTerminal,
	toJson,
	toLine,
	writeAll,
} from "../print/text.ts";
import type { Store } from "../store/paths.ts";
import { discardNotice } from "../store/sessions/notices.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { taskVariable } from "../task/variables.ts";
import { flag } from "./verb.ts";

export const formatFlags = {
	json: flag("reply as JSON (the default in a pipe)"),
	text: flag("reply as text (the default in a terminal)"),
} as const;

/** The flag of verbs that ask for confirmation. */
export const yesFlag = {
	yes: flag("do not ask for confirmation", { alias: "y" }),
} as const;

export type FormatArguments = Partial<
	Record<keyof typeof formatFlags, boolean>
>;

export function isJsonWanted({ json, text }: FormatArguments): boolean {
	return json || (!text && !isTerminal(1));
}

/** Prints a reply as JSON or text. @returns false if the reader is gone. */
export function reply(
	format: FormatArguments,
	json: unknown,
	text: () => string,
): boolean {
	return isJsonWanted(format) ? writeJson(json) : writeAll(1, `${text()}\n`);
}

/** Prints a reply as JSON. @returns false if the reader is gone. */
export const writeJson = (json: unknown) => writeAll(1, `${toJson(json)}\n`);

/** Adds the key `id` to what names its task as `taskId`. */
export const addId = <T extends { taskId: string }>(named: T) => ({
	id: named.taskId,
	...named,
});

/** Prints a reply as JSON, or as text that consola writes. */
export async function replyToPerson(
	format: FormatArguments,
	json: unknown,
	write: (consola: ConsolaInstance) => void,
): Promise<void> {
	if (isJsonWanted(format)) writeJson(json);
	else write((await import("./ask.ts")).openConsola());
}

/** Programs that run in these environments cannot answer a question. */
const unattendedVariables = [taskVariable, "BG_SESSION_ID", "CI"];

/** Whether this program runs for an agent or in CI. */
export const isUnattended = () =>
	unattendedVariables.some((name) => process.env[name]);

/**
 * Asks for confirmation if a person can answer: text reply, stdin and stderr terminals, no agent, no CI.
 * `question` returns undefined if there is nothing to confirm.
 * @returns whether to go on. Without a question: true.
 */
export async function confirm(
	args: FormatArguments & { yes?: boolean },
	question: () => string | undefined,
): Promise<boolean> {
	const isAttended =
		!isJsonWanted(args) && isTerminal(0) && isTerminal(2) && !isUnattended();
	const text = isAttended && !args.yes ? question() : undefined;
	if (text === undefined) return true;
	const { ask } = await import("./ask.ts");
	const isConfirmed = await ask(text);
	if (!isConfirmed) warn("nothing was done");
	return isConfirmed;
}

/** Prints a line on stderr. */
export function warn(line: string): void {
	writeAll(2, `bg: ${toLine(line, 2000)}\n`);
}

let isEngineSaid = false;

/** Says once if the engine of tasks does not answer; `before` is called first. */
export function warnOfEngine(before?: () => void): void {
	const problem = isEngineSaid ? undefined : loadedEngine()?.problem();
	if (!problem) return;
	before?.();
	isEngineSaid = true;
	warn(`${problem}: its tasks are shown as they were recorded`);
}

/** The line of verbs that launch tasks or wait for them. */
export const queuePausedWarning =
	"the queue is paused: queued tasks do not start (bg unpause --queue)";

/** Opens a progress line on stderr; undefined if stderr is not a terminal that can rewrite a line. */
export async function openProgressLine() {
	if (isDumbTerminal() || !isTerminal(2)) return undefined;
	const { openStatusLine } = await import("../print/terminal.ts");
	return openStatusLine();
}

/** Removes the notice of a task's end, after the end was printed to its session. */
export function dismissNotice(
	store: Store,
	{ id, status }: Pick<Task, "id" | "status">,
): void {
	if (!isFinal({ status })) return;
	try {
		discardNotice(store, process.env.BG_SESSION_ID, id);
	} catch {
		// The store cannot be written: the notice is shown once more.
	}
}

/** The most of one record in a reply, in characters of JSON. */
export const maxReplyLength = 2000;

/** Shorter texts may be ids or times, which are never cut. */
const minTextLength = 64;

/** A record that fits. `command` shows all of it: `status bg_… --full`. */
export const truncateRecord = <T extends object>(
	record: T,
	command: string,
): T =>
	toJson(record).length <= maxReplyLength
		? record
		: truncateToFit(record, command);

/** The same as JSON. */
export function truncateToJson(record: object, command: string): string {
	const json = toJson(record);
	return json.length <= maxReplyLength
		? json
		: toJson(truncateToFit(record, command));
}

/** How many rows of a reply are kept as one piece. */
const rowsInPiece = 200;

/**
 * The rows of a JSON reply, in their order. Many are kept as bytes: as texts they would take part in each garbage
 * collection, and one large text would be copied repeatedly.
 */
export class JsonRows {
	readonly #separator: string;
	readonly #pieces: (Uint8Array | (() => string))[] = [];
	#texts: string[] = [];

	constructor(separator: string) {
		this.#separator = separator;
	}

	add(row: string): void {
		if (this.#texts.push(row) === rowsInPiece) this.#pack();
	}

	/** Adds a row that is rendered when it is written. */
	addLate(render: () => string): void {
		this.#pack();
		this.#pieces.push(render);
	}

	/** Writes all rows. @returns false if the reader is gone. */
	write(): boolean {
		this.#pack();
		return this.#pieces.every((piece, at) => {
			const isFirst = at === 0 || writeAll(1, this.#separator);
			return (
				isFirst && writeAll(1, typeof piece === "function" ? piece() : piece)
			);
		});
	}

	#pack(): void {
		if (this.#texts.length === 0) return;
		const text = this.#texts.join(this.#separator);
		this.#pieces.push(new TextEncoder().encode(text));
		this.#texts = [];
	}
}

// --- internal ---

function truncateToFit<T extends object>(record: T, command: string): T {
	const cutTo = (length: number) => ({
		...(truncateValue(record, length) as T),
		truncated: true,
		more: formatProgramCall(command),
	});
	let [fits, tooLong] = [minTextLength, maxReplyLength];
	while (tooLong - fits > 1) {
		const length = (fits + tooLong) >> 1;
		if (toJson(cutTo(length)).length <= maxReplyLength) fits = length;
		else tooLong = length;
	}
	return cutTo(fits);
}

/** Cuts texts to `length` characters, and lists to the items that fit if each is short. */
function truncateValue(value: unknown, length: number): unknown {
	if (typeof value === "string") {
		if (value.length <= length) return value;
		// The cut must not leave half of a surrogate pair.
		return `${value.slice(0, length - 1).replace(/[\ud800-\udbff]$/, "")}…`;
	}
	if (Array.isArray(value))
		return value
			.slice(0, Math.ceil(length / minTextLength))
			.map((each) => truncateValue(each, length));
	if (typeof value !== "object" || value === null) return value;
	const fields = Object.entries(value);
	return Object.fromEntries(
		fields.map(([key, each]) => [key, truncateValue(each, length)]),
	);
}
