import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { colourText } from "../../lib/print/status.ts";
import {
	formatTable,
	layOutTable,
	shortenIds,
	summarizeCounts,
} from "../../lib/print/table.ts";
import { renderTaskDetails } from "../../lib/print/task-details.ts";
import { type TaskRow, toTaskRow } from "../../lib/print/task-row.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { statuses, type Task } from "../../lib/task/schema.ts";
import { eachWords, type Words } from "../tools/words.ts";

const now = Date.parse("2026-01-01T00:00:00Z");

const tasksWith = (texts: Words["texts"]) =>
	fc.array(
		fc.record({
			id: fc.nat().map(() => createTaskId()),
			kind: fc.constantFrom("droid", "command"),
			status: fc.constantFrom(...statuses),
			description: texts,
			agent: texts,
			prompt: texts,
			error: texts,
			result: texts,
			cwd: texts,
			started_at: fc.constantFrom(
				"2025-12-31T23:59:00Z",
				"2025-01-01T00:00:00Z",
			),
			progress: fc.record({
				toolCalls: fc.nat(2000),
				lastTool: texts,
				lastMessage: texts,
			}),
		}),
		{ maxLength: 6 },
	) as fc.Arbitrary<Task[]>;

const glanceAt = (each: Task): TaskRow =>
	toTaskRow(each, {
		note: undefined,
		lastMessage: each.progress?.lastMessage,
		now,
	});

test.each(
	eachWords.flatMap(([kind, words]) =>
		[10, 40, 80, 120, 200].map((width) => [kind, width, words] as const),
	),
)(
	"whatever %s words tasks say, no line passes %p columns",
	(_, width, words) => {
		const expectToFit = (line: string) => {
			const text = Bun.stripANSI(line);
			expect(text).not.toMatch(/\p{Cc}/u);
			expect(words.measure(text)).toBeLessThanOrEqual(width);
		};
		fc.assert(
			fc.property(tasksWith(words.texts), (tasks) => {
				const rows = tasks.map(glanceAt);
				const table = layOutTable(rows, width);
				expectToFit(table.head);
				for (const row of rows) expectToFit(table.line(row, true));
				for (const task of tasks) {
					const options = { output: "/tmp/x.out", width, colour: true };
					renderTaskDetails(task, options).forEach(expectToFit);
				}
			}),
			{ numRuns: 50 },
		);
	},
);

test("without colours there is no escape sequence, with them only colours", () => {
	const each = glanceAt({ ...baseTask, description: "\u001b[2Jgone" });
	const { line } = layOutTable([each], 80);
	expect(line(each, false)).not.toContain("\u001b");
	const painted = line(each, true);
	expect(painted.split("\u001b")).toEqual([
		expect.stringMatching(/^bg_/),
		expect.stringMatching(/^\[36m▶ running/),
		expect.stringMatching(/^\[39m/),
	]);
});

function row(fields: Partial<Task> = {}): TaskRow {
	const base = { id: "bg_1a204540e927c85af", kind: "droid", description: "d" };
	return glanceAt({
		...base,
		status: "running",
		agent: "executor-high",
		description: "fix the tests",
		started_at: "2025-12-31T23:59:51Z",
		progress: {
			toolCalls: 7,
			lastTool: "Execute",
			lastMessage: "The clock in auth.test.ts is wrong.",
		},
		...fields,
	} as Task);
}

const drawn = (rows: TaskRow[], width: number) => {
	const { head, line } = layOutTable(rows, width);
	return [head, ...rows.map((each) => line(each, false))];
};

test("a wide table has a column for the progress", () => {
	expect(drawn([row()], 140)).toEqual([
		"ID                    STATUS     AGE  DROID          TASK           PROGRESS",
		"bg_1a204540e927c85af  ▶ running   9s  executor-high  fix the tests  7 calls · Execute · The clock in auth.test.ts is wrong.",
	]);
});

test("a narrower table joins progress and description, then drops the droid, then the word of the status", () => {
	const short = { ...row(), short: "bg_1a204540e9" };
	expect(drawn([short], 80)[1]).toBe(
		"bg_1a204540e9  ▶ running   9s  executor-high  fix the tests · 7 calls · Execute…",
	);
	expect(drawn([short], 60)[1]).toBe(
		"bg_1a204540e9  ▶ running   9s  fix the tests · 7 calls · Ex…",
	);
	expect(drawn([short], 40)[1]).toBe("bg_1a204540e9  ▶   9s  fix the tests");
});

test("an ended task has the time since its end, in a narrow terminal instead of how long it took", () => {
	const over = row({
		status: "completed",
		started_at: "2025-12-31T20:00:00Z",
		completed_at: "2025-12-31T21:00:00Z",
		result: "done",
	});
	const rows = [row(), over].map((each) => ({ ...each, short: "85af" }));
	const cells = (width: number) =>
		drawn(rows, width).map((line) => line.split(/ {2,}/).slice(2, 4));
	expect(cells(80)).toEqual([
		["AGE", "ENDED"],
		["9s", "executor-high"],
		["60m", "3h ago"],
	]);
	const [, , narrow] = drawn(rows, 50);
	expect(narrow).toContain("3h ago");
	expect(narrow).not.toContain("60m");
});

test("a finished task shows its result or its error", () => {
	const over = { status: "completed", result: "All 42\ntests pass." } as const;
	expect(row(over).progress).toBe("All 42 tests pass.");
	const failed = { status: "error", error: "exited 2", result: "x" } as const;
	expect(row(failed).progress).toBe("exited 2");
});

test("colours are among the 16 of a theme, and readable on white and on black", () => {
	for (const status of statuses) {
		const [, colour] = colourText("", status).split("[");
		expect([
			"31m\u001b",
			"32m\u001b",
			"35m\u001b",
			"36m\u001b",
			"39m\u001b",
		]).toContain(String(colour));
	}
});

test("a short id is not the end of another id", () => {
	const ids = ["bg_19f0c2a4b1c01", "bg_19f0c2a4b1c02", "bg_1a2b3c4d", "bg_1a"];
	const shorten = shortenIds(ids);
	expect(ids.map(shorten)).toEqual(["1c01", "1c02", "3c4d", "bg_1a"]);
	expect(
		["bg_0aaaa", "bg_1aaaa", "bg_aaaa"].map(
			shortenIds(["bg_0aaaa", "bg_1aaaa", "bg_aaaa"]),
		),
	).toEqual(["0aaaa", "1aaaa", "bg_aaaa"]);
	fc.assert(
		fc.property(
			fc.uniqueArray(fc.stringMatching(/^bg_[0-9a-f]{8,20}$/), {
				maxLength: 30,
			}),
			(all) => {
				const short = shortenIds(all);
				for (const id of all) {
					const meant = all.filter((each) => each.endsWith(short(id)));
					expect(all.includes(short(id)) ? [id] : meant).toEqual([id]);
					expect(short(id)).toMatch(/^(bg_[0-9a-f]+|[0-9a-f]{4,})$/);
				}
			},
		),
	);
});

test("a summary counts the tasks of each status", () => {
	const none = { queued: 0, running: 0, completed: 0, error: 0, cancelled: 0 };
	expect(summarizeCounts({ ...none, running: 3, queued: 2 })).toBe(
		"2 queued, 3 running",
	);
	expect(summarizeCounts(none)).toBe("");
});

test("the details begin with the title, wrap long text and cut longer text", () => {
	const result = Array.from({ length: 40 }, (_, n) => `line ${n}`).join("\n");
	const lines = renderTaskDetails(
		{ ...baseTask, status: "completed", result, prompt: "word ".repeat(30) },
		{ output: "/tmp/x.out", width: 40, colour: false },
	);
	expect(lines[0]).toBe("✔ completed  fix the tests");
	expect(lines[1]).toBe("id      bg_1a204540e927c85af");
	expect(lines).toContain("result  line 0");
	expect(lines).toContain("        line 10");
	expect(lines).not.toContain("        line 11");
	expect(lines).toContain("        … (--full --json: all of it)");
	expect(lines.at(-1)).toBe("output  /tmp/x.out");
});

const baseTask = {
	id: "bg_1a204540e927c85af",
	kind: "droid",
	status: "running",
	description: "fix the tests",
} as Task;

test("the columns of rows are as wide as their widest cells, the last one is not padded", () => {
	const rows = [
		["a", "b"],
		["long", "c"],
	];
	expect(formatTable(rows)).toBe("a     b\nlong  c");
});

test("a character that a terminal draws twice as wide counts as two columns", () => {
	const rows = [
		["漢字", "b"],
		["long", "c"],
	];
	expect(formatTable(rows)).toBe("漢字  b\nlong  c");
});

test("tokens have a column if a row has them", () => {
	const row = glanceAt({
		id: "bg_19f0c2a4b1c000001",
		kind: "droid",
		description: "d",
		status: "running",
	});
	const none = layOutTable([row, { ...row, tokens: "" }], 120);
	expect(none.head).not.toContain("TOKENS");
	const rows = [row, { ...row, tokens: "12.3k" }];
	const some = layOutTable(rows, 120);
	expect(some.head).toContain("  TOKENS  DROID");
	expect(rows.map((each) => some.line(each, false))).toEqual([
		expect.not.stringContaining("12.3k"),
		expect.stringContaining("   12.3k  droid"),
	]);
	expect(layOutTable(rows, 40).head).not.toContain("TOKENS");
});
