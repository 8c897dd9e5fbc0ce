import { expect, test } from "bun:test";
import fc from "fast-check";
import {
	maxReplyLength,
	truncateRecord,
	truncateToJson,
} from "../../lib/cli/reply.ts";
import { toJson } from "../../lib/print/text.ts";

const id = "bg_19f0c2a4b1c000001";
const rest = `status ${id} --full`;

test("what is short stays as it is", () => {
	const record = { id, result: "fine" };
	expect(truncateRecord(record, rest)).toBe(record);
	expect(truncateToJson(record, rest)).toBe(toJson(record));
});

test("of what is long as much is kept as fits, marked, with the command that shows the rest", () => {
	const cut = truncateRecord(
		{ id, description: "short", result: "x".repeat(9999) },
		rest,
	);
	expect(cut).toMatchObject({ id, description: "short", truncated: true });
	expect(cut.result).toMatch(/^x+…$/);
	expect(toJson(cut).length).toBe(maxReplyLength);
	expect((cut as { more?: string }).more).toEndWith(` ${rest}`);
});

const word = fc.string({ unit: "binary", maxLength: 6000, size: "max" });
const longRecord = fc.record({
	prompt: word,
	result: word,
	error: word,
	command: fc.array(word, { maxLength: 40 }),
	left_behind: fc.array(fc.record({ pid: fc.nat(), command: word })),
	progress: fc.record({ toolCalls: fc.nat(), lastMessage: word }),
});

test("whatever a record holds, it fits, its keys stay and its id is whole", () => {
	fc.assert(
		fc.property(longRecord, (fields) => {
			const record = { id, ...fields, completed_at: new Date().toISOString() };
			const cut = truncateRecord(record, rest);
			const json = truncateToJson(record, rest);
			expect(JSON.parse(json)).toEqual(JSON.parse(toJson(cut)));
			expect(json.length).toBeLessThanOrEqual(maxReplyLength);
			expect(cut).toMatchObject({ id, completed_at: record.completed_at });
			for (const key of Object.keys(record)) expect(cut).toHaveProperty(key);
		}),
		{ numRuns: 50 },
	);
});
