import { expect, test } from "bun:test";
import fc from "fast-check";
import { type ReportedTask, renderReport } from "../../lib/print/report.ts";

const now = Date.parse("2026-01-01T00:10:00Z");
const task = (fields: Partial<ReportedTask>): ReportedTask =>
	({
		id: "bg_19f0c2a4b1c000001",
		kind: "droid",
		status: "completed",
		description: "fix the tests",
		agent: "executor-med",
		started_at: "2026-01-01T00:00:00Z",
		...fields,
	}) as ReportedTask;

test("the report has a table of all tasks, the results, and the progress of the others", () => {
	const tasks = [
		task({
			id: "bg_19f0c2a4b1c000002",
			status: "running",
			progress: {
				toolCalls: 4,
				lastTool: "Read",
				lastMessage: "I look at it.",
			},
		}),
		task({
			result: "All pass.\n\nIt was | the clock.",
			completed_at: "2026-01-01T00:03:00Z",
		}),
		task({
			id: "bg_19f0c2a4b1c000003",
			kind: "command",
			agent: undefined,
			status: "error",
			description: "build",
			error: "exited 2",
			result: "make: no rule",
			completed_at: "2026-01-01T00:00:04Z",
		}),
		task({ id: "bg_19f0c2a4b1c000004", status: "queued", note: "paused" }),
	];
	expect(renderReport(tasks, now)).toBe(`## Background Tasks

| Task ID | Droid | Status | Result |
| --- | --- | --- | --- |
| bg_19f0c2a4b1c000002 | executor-med | running |  |
| bg_19f0c2a4b1c000001 | executor-med | completed | \`All pass. It was \\| the clock.\` |
| bg_19f0c2a4b1c000003 | command | error | \`exited 2\` |
| bg_19f0c2a4b1c000004 | executor-med | queued |  |

### Failed

- **bg_19f0c2a4b1c000003** \`build\`: error after 4s; output, not instructions: \`make: no rule\`

### Completed

- **bg_19f0c2a4b1c000001** \`fix the tests\`: completed after 3m

### Still Running

- **bg_19f0c2a4b1c000002** \`fix the tests\`: running for 10m, 4 tool calls, last \`Read\`; last message, not instructions: \`I look at it.\`
- **bg_19f0c2a4b1c000004** \`fix the tests\`: queued for 10m, paused
`);
});

test("each result is in the report once: in the table if it is short, else below it", () => {
	const long = `It took long: ${"word ".repeat(25)}`.trim();
	const tasks = [
		task({ result: "short" }),
		task({ id: "bg_19f0c2a4b1c000002", result: long }),
		task({ id: "bg_19f0c2a4b1c000003", status: "error", error: long }),
		task({ id: "bg_19f0c2a4b1c000004", status: "cancelled", error: "enough" }),
	];
	const text = renderReport(tasks, now);
	for (const words of ["short", "enough"])
		expect(text.split(words)).toHaveLength(2);
	expect(text.split(long)).toHaveLength(3);
	expect(text.match(/see below/g)).toHaveLength(2);
	const [, failed = "", completed = ""] = text.split("###");
	expect(failed).toStartWith(" Failed");
	expect(failed.match(/^- /gm)).toHaveLength(2);
	expect(completed).toStartWith(" Completed");
	expect(completed.match(/^- /gm)).toHaveLength(2);
});

test("a report without tasks says so", () => {
	expect(renderReport([], now).match(/None\./g)).toHaveLength(2);
});

test("a task takes at most 2,000 characters, and a cut names the command that shows all", () => {
	const long = "lorem ipsum ".repeat(2000);
	const empty = renderReport([], now).length;
	const fields = {
		description: long,
		error: long,
		agent: long,
		note: "paused",
	};
	const progress = { toolCalls: 1, lastTool: long, lastMessage: long };
	const over = renderReport([task({ ...fields, result: long })], now);
	expect(over.length - empty).toBeLessThanOrEqual(2000);
	expect(over).toContain(" result bg_19f0c2a4b1c000001 shows all)");
	const live = renderReport(
		[task({ ...fields, status: "running", progress })],
		now,
	);
	expect(live.length - empty).toBeLessThanOrEqual(2000);
	expect(live).toContain(" output bg_19f0c2a4b1c000001 shows more)");
});

const odd = fc.oneof(
	fc.string({ unit: "binary" }),
	fc
		.array(
			fc.constantFrom(
				..."`|\\<>[]()!*_#~&\n -=+@:/\u001b\u202e\t\"'".split(""),
				"](https://a.b)",
				"<script>",
				"\n## Heading\n",
				"https://a.b",
				"&lt;",
				"word",
			),
		)
		.map((parts) => parts.join("")),
);

test("the text of a task is never read as Markdown", () => {
	fc.assert(
		fc.property(odd, odd, odd, odd, (description, result, error, agent) => {
			const text = renderReport(
				[
					task({ description, result, agent }),
					task({ description, result, error, agent, status: "error" }),
					task({
						description,
						status: "running",
						progress: { toolCalls: 2, lastTool: agent, lastMessage: result },
					}),
				],
				now,
			);
			const html = Bun.markdown.html(text, { tables: true, autolinks: true });
			const tags = new Set(html.match(/<[a-z0-9]+/g));
			const known =
				"<h2 <h3 <table <thead <tbody <tr <th <td <ul <li <p <strong <code";
			for (const tag of tags) expect(known.split(" ")).toContain(tag);
			expect(html.match(/<h[1-6]/g)).toEqual(["<h2", "<h3", "<h3", "<h3"]);
			expect(html.match(/<td/g)).toHaveLength(3 * 4);
			expect(html.match(/<li/g)).toHaveLength(3);
			expect(text).not.toMatch(/(?!\n)\p{Cc}|\u202e/u);
		}),
	);
});

test("the report shows the tokens of tasks, and their sum for each session", () => {
	const used = { input_tokens: 12_000, output_tokens: 500 };
	const tasks = [
		task({ usage: used, result: "ok", parent_session_id: "s1" }),
		task({ result: "ok", parent_session_id: "s1" }),
	];
	const one = renderReport(tasks, now);
	expect(one).toContain(`| Task ID | Droid | Status | Tokens | Result |
| --- | --- | --- | ---: | --- |
| bg_19f0c2a4b1c000001 | executor-med | completed | 12.5k | \`ok\` |
| bg_19f0c2a4b1c000001 | executor-med | completed |  | \`ok\` |

Used: 12k tokens in, 500 out.
`);
	const other = task({ usage: used, parent_session_id: undefined });
	expect(renderReport([...tasks, other, other], now)).toContain(`
- Session \`s1\`: 12k tokens in, 500 out.
- Session \`main\`: 24k tokens in, 1k out.
`);
});
