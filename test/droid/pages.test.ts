import { expect, test } from "bun:test";
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import * as fc from "fast-check";
import {
	type OutputText,
	readOutputText,
	readPage,
} from "../../lib/droid/pages.ts";
import { parseEvent, renderEvent } from "../../lib/droid/stream.ts";
import { openStore } from "../../lib/store/directory.ts";
import { outputFile } from "../../lib/store/paths.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox } from "../tools/harness.ts";

const MiB = 1024 * 1024;
const said = (text: string) =>
	`${JSON.stringify({ type: "message", role: "assistant", text })}\n`;

/** A task with an output that the test writes. */
function writer(fields: Partial<Task> = {}) {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = createTaskId();
	const task: Task = {
		...parseTask(JSON.stringify({ id, status: "completed" })),
		kind: "command",
		command: ["true"],
		...fields,
	};
	const path = outputFile(store, id);
	return {
		write: (data: string | Uint8Array) => writeFileSync(path, data),
		append: (data: string | Uint8Array) => appendFileSync(path, data),
		text: (options: { since?: number; max?: number; tail?: number } = {}) =>
			readOutputText(store, task, { max: MiB, ...options }),
		/** All pages from an offset on, while there are more. */
		pages: (max: number, since = 0, now = task): OutputText[] => {
			const pages: OutputText[] = [];
			let at = since;
			for (;;) {
				const page = readPage(store, now, { since: at, max });
				pages.push(page);
				if (page.truncated) expect(page.nextOffset).toBeGreaterThan(at);
				at = page.nextOffset;
				if (!page.truncated) return pages;
			}
		},
		task,
	};
}

const textOf = (pages: OutputText[]) =>
	pages.map(({ output }) => output).join("");

/** Lines with characters of one to four bytes, short and longer than a page. */
const lines = fc.array(
	fc.oneof(
		fc.string({ unit: "binary", maxLength: 20 }),
		fc.string({ unit: fc.constantFrom("a", "é", "€", "😀"), maxLength: 300 }),
		fc.constantFrom("", "\r\n", "\u001b[31mred\u001b[0m\r\n"),
	),
	{ maxLength: 20 },
);
const pageSize = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.nat(400));

test("the pages of a command's output are its output, whatever is in it", () => {
	const { write, pages } = writer();
	fc.assert(
		fc.property(lines, pageSize, fc.boolean(), (all, size, isOpen) => {
			const text = all.join("\n") + (isOpen ? "" : "\n");
			write(text);
			const max = Math.max(1, size);
			const shown = pages(max);
			expect(textOf(shown)).toBe(Buffer.from(text).toString());
			for (const { output } of shown)
				expect(Buffer.byteLength(output)).toBeLessThanOrEqual(Math.max(max, 4));
		}),
	);
	fc.assert(
		fc.property(fc.uint8Array({ maxLength: 300 }), pageSize, (bytes, size) => {
			write(bytes);
			expect(textOf(pages(Math.max(1, size)))).toBe(
				Buffer.from(bytes).toString(),
			);
		}),
	);
});

test("the pages of an output that grows are its output, its torn last line held back", () => {
	const { write, append, pages, task } = writer({ status: "running" });
	const parts = fc.array(fc.tuple(fc.nat(200), pageSize), { maxLength: 10 });
	fc.assert(
		fc.property(lines, parts, (all, reads) => {
			const bytes = Buffer.from(all.join("\n"));
			write("");
			const shown: OutputText[] = [];
			let written = 0;
			const next = () => shown.at(-1)?.nextOffset ?? 0;
			for (const [length, size] of reads) {
				append(bytes.subarray(written, written + length));
				written = Math.min(bytes.length, written + length);
				shown.push(...pages(Math.max(1, size), next()));
				// What is held back is the beginning of one line.
				expect(bytes.subarray(next(), written).indexOf(0x0a)).toBe(-1);
			}
			append(bytes.subarray(written));
			shown.push(...pages(100, next(), { ...task, status: "completed" }));
			expect(textOf(shown)).toBe(bytes.toString());
		}),
	);
});

test("the pages of a droid's stream are all its events, each whole and once", () => {
	const { write, pages } = writer({ kind: "droid" });
	const event = fc.oneof(
		fc.string({ unit: "grapheme", maxLength: 300 }).map(said),
		fc.constantFrom("no event\n", "\n", '{"type":"system"}\n'),
	);
	fc.assert(
		fc.property(fc.array(event, { maxLength: 30 }), pageSize, (all, size) => {
			write(all.join(""));
			const rendered = all
				.map((line) => line.trim() && renderEvent(parseEvent(line.trim())))
				.filter((text) => text)
				.map((text) => `${text}\n`);
			expect(textOf(pages(Math.max(1, size)))).toBe(rendered.join(""));
		}),
	);
});

test("a last line that may still grow is held back, also before the record says running", () => {
	for (const status of ["queued", "running"] as const)
		for (const kind of ["command", "droid"] as const) {
			const { write, pages, text } = writer({ status, kind });
			write("whole\nto");
			const held = { output: "whole\n", nextOffset: 6, truncated: false };
			expect(pages(100)).toEqual([held]);
			expect(text()).toEqual(held);
		}
});

test("an event longer than a page is cut with a mark that says how to see it", () => {
	const { write, text, task } = writer({ kind: "droid" });
	const long = "é".repeat(5000);
	write(said("first") + said(long) + said("last"));
	const { nextOffset: since } = text({ since: 0, max: 100 });
	const cut = text({ since, max: 1000 });
	expect(Buffer.byteLength(cut.output)).toBeLessThanOrEqual(1000);
	expect(cut.output).toStartWith("ééé");
	const [, more] =
		/\n\[… cut: an event of 10001 bytes: .* output (.*) shows it\]\n$/.exec(
			cut.output,
		) ?? [];
	expect(more).toBe(`${task.id} --since ${since} --max 10001`);
	expect(text({ since, max: 10_001 }).output).toBe(`${long}\n`);
	expect(text({ since: cut.nextOffset }).output).toBe("last\n");
});

test("every byte of a line that is too long for an event is accounted for by a mark", () => {
	const { write, pages, text, task } = writer({ kind: "droid" });
	const before = said("before");
	const long = said("x".repeat(17 * MiB));
	write(before + long + said("after"));
	const shown = textOf(pages(MiB));
	const marks = [
		...shown.matchAll(
			/\[… left out: (\d+) bytes of a line: \S+ output (\S+) --raw --since (\d+) --max \1 shows them\]\n/g,
		),
	];
	expect(shown.replace(/\[.*\]\n/g, "")).toBe("before\nafter\n");
	let at = before.length;
	for (const [, bytes, id, since] of marks) {
		expect([id, Number(since)]).toEqual([task.id, at]);
		at += Number(bytes);
	}
	expect(at).toBe(before.length + long.length);
	write(long);
	for (const { output } of [text(), text({ tail: 1 })])
		expect(output).toMatch(/^\[… left out: 8388608 bytes of a line: .*\]\n$/);
});

test("the end of a line longer than 8 MiB is shown, and that it was cut", () => {
	const { write, text } = writer();
	write(`first\n${"x".repeat(9 * MiB)}end\n`);
	const { output, truncated } = text({ max: 10 });
	expect({ output, truncated }).toEqual({
		output: "xxxxxxend\n",
		truncated: true,
	});
	write("a line\n".repeat(2 * MiB));
	const max = 100 * MiB;
	expect(text({ max, tail: 10 ** 7 }).truncated).toBe(true);
	expect(text({ max, tail: 10 ** 6 })).toMatchObject({
		output: "a line\n".repeat(10 ** 6),
		truncated: false,
	});
});

test("output of an unfinished task past its limit is not shown: it is about to be cut", () => {
	const fields = { status: "running", max_output_bytes: 20 } as const;
	const { write, pages, text } = writer(fields);
	write("0123456\n".repeat(4));
	for (const page of [...pages(100), text(), text({ tail: 9 })])
		expect(page.nextOffset).toBe(16);
});

test("reading page after page reads every byte about once", () => {
	const bytesRead = () =>
		Number(/^rchar: (\d+)$/m.exec(readFileSync("/proc/self/io", "utf8"))?.[1]);
	const command = writer();
	command.write("0123456789abcde\n".repeat(MiB / 2));
	const droid = writer({ kind: "droid" });
	droid.write(said("0123456789".repeat(50)).repeat(8 * 1024));
	for (const { pages, size } of [
		{ pages: () => command.pages(64 * 1024), size: 8 * MiB },
		{ pages: () => droid.pages(64 * 1024), size: 4.5 * MiB },
	]) {
		const before = bytesRead();
		pages();
		// A droid's page begins with the last block of the one before.
		expect(bytesRead() - before).toBeLessThan(3 * size);
	}
});
