/**
 * Reads the output of one task repeatedly, as lines. Only what was added is read; of a long output, its end. Of a
 * task without output, its own description takes that place.
 */
import { readPage } from "../../../droid/pages.ts";
import { formatStatus } from "../../../print/status.ts";
import { toPlain } from "../../../print/text.ts";
import { describeTaskMessages } from "../../../prune/task-messages.ts";
import {
	readOutputBytes,
	readOutputSize,
} from "../../../store/output-files.ts";
import type { Store } from "../../../store/paths.ts";
import { findTask, readRecordVersion } from "../../../store/records.ts";
import { hasMessages, listMessages } from "../../../store/sessions/messages.ts";
import type { Task } from "../../../task/schema.ts";
import { isFinal } from "../../../task/states.ts";
import type { Output } from "../output.ts";

/** How much of the end of an output is read at first, at once, and in one call, in bytes. */
const firstBytes = 256 * 1024;
const pageBytes = 64 * 1024;
const callBytes = 1024 * 1024;

/** How many lines are kept; how many while the page stands still, of which none is dropped. */
const maxLines = 20_000;
const maxStillLines = 40_000;

/** A longer line is shown as several. */
const maxLineLength = 1000;

export class OutputReader {
	readonly #store: Store;
	#task: Task | undefined;
	#version = "";
	/** The byte up to which the output was read. */
	#offset = 0;
	#lines: string[] = [];
	#first = 0;
	#isCut = false;
	/** The beginning of a line whose end was not read yet. */
	#rest = "";
	#output: Output | undefined;

	constructor(store: Store) {
		this.#store = store;
	}

	/**
	 * Reads what a task has written since the last call.
	 * @param isStill whether lines that were read must stay.
	 * @returns the same object if nothing has changed; undefined without a task.
	 */
	read(id: string | undefined, isStill: boolean): Output | undefined {
		const version = id && this.#readVersion(id);
		const isUnread = this.#output?.isUnread && !isStill;
		if (id && version === this.#version && !isUnread) return this.#output;
		const task = id === undefined ? undefined : findTask(this.#store, id);
		if (!task) {
			this.#version = "";
			return undefined;
		}
		this.#version = version ?? "";
		const { attempt } = this.#task ?? {};
		const size = readOutputSize(this.#store, task.id);
		const isSame =
			task.id === this.#task?.id &&
			task.attempt === attempt &&
			size >= this.#offset;
		this.#task = task;
		if (!isSame) this.#restart(task, size);
		const isWhole = this.#readOn(task, isStill);
		// What is left is read at the next call.
		if (!isWhole && !isStill) this.#version = "";
		this.#output = this.#toOutput(task, !isWhole);
		return this.#output;
	}

	/** A text that changes with the output, the record or the messages of a task. */
	#readVersion(id: string): string {
		const messages = hasMessages(this.#store, id)
			? listMessages(this.#store, id).map(({ name }) => name)
			: [];
		const version = readRecordVersion(this.#store, id);
		return [id, version, readOutputSize(this.#store, id), ...messages].join();
	}

	#restart({ id, kind }: Task, size: number): void {
		const from = kind === "native" ? 0 : Math.max(0, size - firstBytes);
		const range = { from, to: from + pageBytes };
		const start =
			from && readOutputBytes(this.#store, id, range).indexOf(0x0a) + 1;
		this.#offset = from + start;
		this.#lines = [];
		this.#first = 0;
		this.#isCut = from > 0;
		this.#rest = "";
	}

	/** Reads on. @returns whether all was read. */
	#readOn(task: Task, isStill: boolean): boolean {
		for (let read = 0; read < callBytes; ) {
			if (isStill && this.#lines.length >= maxStillLines) return false;
			const options = { since: this.#offset, max: pageBytes };
			const { output, nextOffset, truncated } = readPage(
				this.#store,
				task,
				options,
			);
			read += nextOffset - this.#offset;
			const isStuck = nextOffset === this.#offset;
			this.#offset = nextOffset;
			this.#addText(output);
			if (!isStill) this.#dropLines();
			if (isStuck || !truncated) return true;
		}
		return false;
	}

	#addText(text: string): void {
		const lines = (this.#rest + text).split("\n");
		this.#rest = lines.pop() ?? "";
		for (const line of lines) this.#lines.push(...splitLine(line));
	}

	#dropLines(): void {
		const excess = this.#lines.length - maxLines;
		if (excess < maxLines / 10) return;
		this.#lines = this.#lines.slice(excess);
		this.#first += excess;
		this.#isCut = true;
	}

	#toOutput(task: Task, isUnread: boolean): Output {
		const last = this.#rest + (isUnread ? "" : this.#readUnfinished(task));
		const lines = [...this.#lines, ...(last ? splitLine(last) : [])];
		const isEmpty = lines.length === 0;
		const below = isUnread
			? []
			: [
					...(isEmpty ? describeTask(task) : []),
					...this.#describeMessages(task),
					...(isFinal(task) ? describeEnd(task) : []),
				];
		lines.push(...below.flatMap(splitLine));
		return {
			id: task.id,
			lines,
			first: this.#first,
			isCut: this.#isCut,
			isUnread,
		};
	}

	/** The messages that wait, and the newest note to its parent. */
	#describeMessages(task: Task): string[] {
		if (!hasMessages(this.#store, task.id)) return [];
		const texts = describeTaskMessages(this.#store, task);
		return texts.length ? ["", ...texts.map((text) => `[${text}]`)] : [];
	}

	/** What a command has written of a line that has no end yet. */
	#readUnfinished({ id, kind, status }: Task): string {
		if (kind !== "command" || status !== "running") return "";
		const range = { from: this.#offset, to: this.#offset + 4 * maxLineLength };
		return (
			readOutputBytes(this.#store, id, range).toString("utf8").split("\n")[0] ??
			""
		);
	}
}

// --- internal ---

/** Splits a line of output into plain lines of bounded length. Of a line that was overwritten, the last text counts. */
export function splitLine(line: string): string[] {
	const last = line.replace(/\r+$/, "").split("\r").at(-1) ?? "";
	const plain = toPlain(last).replaceAll("\t", "    ");
	const lines: string[] = [];
	// A surrogate pair is not divided.
	for (const part of plain.match(
		new RegExp(`[\\s\\S]{1,${maxLineLength}}`, "gu"),
	) ?? [""])
		lines.push(part);
	return lines;
}

function describeTask(task: Task): string[] {
	const {
		description,
		prompt,
		command,
		kind,
		cwd,
		tags = [],
		after = [],
		status,
	} = task;
	const facts = [
		["task", description],
		["folder", cwd],
		["tags", tags.join(", ")],
		["after", after.join(", ")],
		kind === "command" ? ["command", command?.join(" ")] : ["prompt", prompt],
	];
	const lines = facts.flatMap(([name, text]) => {
		const [first = "", ...others] = text?.split("\n") ?? [];
		return text ? [`${name}: ${first}`, ...others] : [];
	});
	return isFinal(task)
		? [...lines, "", "(it wrote nothing)"]
		: [
				...lines,
				"",
				status === "queued"
					? "(it has not started)"
					: "(it has written nothing yet)",
			];
}

/** The lines below the output of a task that has ended. */
function describeEnd({ status, error }: Task): string[] {
	return [
		"",
		`[${error ? `${formatStatus(status, { NO_COLOR: "1" })}: ${error}` : formatStatus(status, { NO_COLOR: "1" })}]`,
	];
}
