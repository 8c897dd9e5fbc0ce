import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { listHelp } from "../../../lib/cli/watch/bindings.ts";
import { render } from "../../../lib/cli/watch/draw/render.ts";
import { splitLine } from "../../../lib/cli/watch/read/output.ts";
import {
	describeInUse,
	orderRows,
	toShort,
} from "../../../lib/cli/watch/read/rows.ts";
import { showOutput } from "../../../lib/cli/watch/update.ts";
import type { Status, Task } from "../../../lib/task/schema.ts";
import {
	idOf,
	now,
	outputOf,
	rowOf,
	screenOf,
	stateOf,
	typed,
	withSize,
} from "../../tools/watch.ts";
import { eachWords } from "../../tools/words.ts";

const ago = (ms: number) => new Date(now - ms).toISOString();
const minute = 60_000;

const droid = rowOf(
	1,
	{
		kind: "droid",
		agent: "executor-high",
		model: "claude-opus-4-5",
		description:
			"rewrite the parser and then, when that is done, describe every change in the notes",
		started_at: ago(12 * minute),
		progress: { toolCalls: 12, lastTool: "Execute" },
	},
	{ doing: "Running the tests once more.", writtenAt: now - 4 * minute },
);
const queued = rowOf(
	2,
	{ status: "queued" },
	{ doing: "queued: 1st, for a place (1 of 1 running)" },
);
const failed = rowOf(3, {
	status: "error",
	error: "exited 3",
	started_at: ago(190 * minute),
	completed_at: ago(180 * minute),
});
const rows = [droid, queued, failed];

test("columns come with the width; a long description pushes nothing out", () => {
	const listAt = (columns: number) =>
		screenOf(stateOf(rows, { columns, rows: 8 })).slice(1, 5);
	expect(listAt(60)).toEqual([
		"  ID         TIME  TASK                   DOES",
		"› s1  ▶       12m  rewrite the parser a…  quiet 4m · 12 cal…",
		"  s2  ·       60m  task 2                 1st, for a place",
		"  s3  ✖    3h ago  task 3                 exited 3",
	]);
	expect(listAt(80)).toEqual([
		"  ID  STATUS           TIME  TASK                        DOES",
		"› s1  ▶ running         12m  rewrite the parser and th…  quiet 4m · 12 calls ·…",
		"  s2  · queued          60m  task 2                      1st, for a place",
		"  s3  ✖ error        3h ago  task 3                      exited 3",
	]);
	const [head = "", first = ""] = listAt(119);
	for (const title of [
		"ID",
		"STATUS",
		"TIME",
		"DROID",
		"ACTIVE",
		"TASK",
		"DOES",
	])
		expect(head).toContain(title);
	for (const text of [
		"▶ running",
		"12m",
		"executor-high",
		"quiet 4m",
		"rewrite",
		"12 calls · Execute",
	])
		expect(first).toContain(text);
	expect(screenOf(stateOf(rows, { columns: 159, rows: 30 }))[2]).toContain(
		"claude-opus-4-5",
	);
});

test("a task that is quiet for long stands out; a paused one does not", () => {
	const at = (ms: number, fields: Partial<Task> = {}) => {
		const row = rowOf(
			1,
			{ started_at: ago(60 * minute), ...fields },
			{ writtenAt: now - ms },
		);
		return screenOf(
			stateOf([rowOf(9), row], { columns: 110, rows: 8 }),
			true,
		)[3];
	};
	expect(at(5000)).toContain("  active  ");
	expect(at(3 * minute)).toContain("  quiet 3m ");
	expect(at(6 * minute)).toContain("\u001b[31mquiet 6m ");
	expect(at(6 * minute, { paused_at: ago(minute) })).not.toContain("quiet");
	// Its record says that it was active in the minute before: it was, by what it wrote.
	expect(at(3 * minute, { active_at: ago(2 * minute + 30_000) })).toContain(
		"quiet 3m",
	);
	// It computed, though it wrote nothing.
	expect(at(6 * minute, { active_at: ago(1000) })).toContain("  active  ");
});

test("the selected task is inverted as far as the list goes; without colours it has a mark", () => {
	const [, , first = "", second = ""] = screenOf(stateOf(rows), true);
	expect(first).toStartWith("\u001b[7m› s1");
	expect(first).toEndWith("\u001b[27m");
	expect(Bun.stripANSI(first)).toHaveLength(80);
	expect(second).toStartWith("  s2  \u001b[39m· queued");
	expect(screenOf(stateOf(rows)).join("\n")).not.toContain("\u001b");
});

test("the head says what is in force, what matters most first", () => {
	const head = {
		counts: { running: 8, queued: 200, error: 3 },
		isQueuePaused: true,
		limit: 8,
		running: "8 of 8 running",
		limits: "limits: reviewer 1 of 1",
		usage: "1.2M tokens",
	};
	expect(screenOf({ ...stateOf(rows, { columns: 110 }), head })[0]).toBe(
		"bg watch  queue paused · 8 of 8 running, 200 queued, 3 error · limits: reviewer 1 of 1 · 1.2M tokens",
	);
	expect(screenOf(stateOf([]))[0]).toBe("bg watch  no task yet");
});

test.each([
	["queued: 2nd, for a place (8 of 8 running)", "2nd, for a place"],
	[
		"queued: 1st, for a place of droid x (1 of 1 running)",
		"1st, for a place of droid x (1 of 1 running)",
	],
	["queued: after bg_19f0c2a4 (running)", "after ~ (running)"],
	["paused · starts in 5m", "starts in 5m"],
])("the list says of %p: %p", (reason, text) => {
	expect(toShort(reason, () => "~")).toBe(text);
});

test("the head says what runs here if other tasks than those of the list run", () => {
	const usage = { isHere: true, depth: 1, running: 3, droid: {}, model: {} };
	const queue = { listUsages: () => [{ ...usage, machine: "m", queued: 0 }] };
	expect(describeInUse({ running: 8 }, queue, 3)).toMatchObject({
		running: "3 of 8 running",
		limits: "",
	});
	expect(describeInUse({ running: 8 }, queue, 1)).toMatchObject({
		running: "1 running",
		limits: "limits: 3 of 8 running here",
	});
});

test("a long description does not hide what a task changed", () => {
	const changes = "plum: 1 commit ahead, 2 files changed";
	const long = rowOf(1, { description: "long ".repeat(40) });
	const state = { ...stateOf([long], { columns: 100, rows: 32 }), changes };
	expect(screenOf(state).join("\n")).toContain(changes);
});

test("of 200 tasks those around the selected one are shown, and how many", () => {
	const many = Array.from({ length: 200 }, (_, n) => rowOf(n + 1));
	const state = stateOf(many);
	expect(screenOf(state).at(-1)).toEndWith("  showing 21 of 200");
	expect(screenOf(typed(state, "G").state).at(-2)).toStartWith("› s200");
	expect(screenOf(typed(state, "G").state).at(-1)).toEndWith(
		"  showing 21 of 200",
	);
	const small = withSize(typed(state, "G").state, 60, 12);
	expect(screenOf(small).at(-2)).toStartWith("› s200");
});

test("a pane comes below from 30 rows on, and beside the list from 120 columns", () => {
	const shown = (columns: number, height: number) =>
		screenOf(
			showOutput(stateOf(rows, { columns, rows: height }), outputOf(1, 100)),
		);
	expect(shown(119, 29).join("\n")).not.toContain("line 99");
	expect(shown(80, 30).at(-2)).toBe("line 99");
	expect(shown(80, 30).find((line) => line.startsWith("──"))).toStartWith(
		"── s1 ▶ running 12m · executor-high · rewrite",
	);
	expect(shown(120, 24).at(-2)).toEndWith(" │ line 99");
	expect(shown(200, 50).at(-2)).toEndWith(" │ line 99");
	expect(shown(200, 50)).toHaveLength(50);
});

test("the help has every key, and is scrolled on a small screen", () => {
	const help = (columns: number, height: number, ...texts: string[]) =>
		screenOf(
			typed(stateOf(rows, { columns, rows: height }), "?", ...texts).state,
		);
	const all = help(80, 24).join("\n");
	for (const { title, keys } of listHelp(stateOf(rows))) {
		expect(all).toContain(title);
		for (const { label, text } of keys)
			expect(all).toContain(`${label.padEnd(11)}${text}`);
	}
	expect(help(40, 10)[1]).toBe("Move");
	expect(help(40, 10, "jj")[1]).toContain("previous task");
	expect(help(40, 10, "x")[0]).toStartWith("bg watch");
});

test("a typed line shows its end, with the cursor behind it", () => {
	const state = typed(stateOf(rows), `/日本 ${"x".repeat(200)} end`).state;
	const { lines, cursor } = render(state, { now, colour: false });
	expect(lines.at(-1)).toStartWith("filter: xxx");
	expect(lines.at(-1)).toEndWith("xx end");
	expect(cursor).toEqual({ row: 23, column: 79 });
	const short = render(typed(stateOf(rows), "/日本").state, {
		now,
		colour: false,
	});
	expect(short.cursor).toEqual({ row: 23, column: 12 });
});

test("an output that is too long names the key that shows all", () => {
	const output = outputOf(1, 100, { isCut: true, first: 900 });
	const state = showOutput(typed(stateOf(rows), "\r").state, output);
	expect(screenOf(typed(state, "g").state)[1]).toBe(
		"[… earlier output: o shows all]",
	);
	expect(screenOf(state)[1]).toBe("line 78");
});

test("running tasks come first, then queued ones in their order, then the newest ends", () => {
	const known = new Map<
		string,
		{ row: ReturnType<typeof rowOf>; task?: Task }
	>();
	const add = (n: number, status: Status, fields: Partial<Task> = {}) => {
		const task = {
			id: idOf(n),
			status,
			kind: "command",
			description: "",
			...fields,
		} as Task;
		const isOver = status !== "running" && status !== "queued";
		known.set(task.id, { row: rowOf(n, task), ...(!isOver && { task }) });
	};
	add(1, "completed", { completed_at: ago(5000) });
	add(2, "error", { completed_at: ago(1000) });
	add(3, "queued", { priority: 5 });
	add(4, "queued");
	add(5, "queued", { priority: 9, after: [idOf(8)] });
	add(6, "queued", { after: [idOf(1)] });
	add(7, "running", { started_at: ago(1000) });
	add(8, "running", { started_at: ago(9000) });
	const order = orderRows(known, now).map(({ short }) => short);
	expect(order).toEqual(["s8", "s7", "s3", "s4", "s6", "s5", "s2", "s1"]);
});

test("a line of output is plain and of bounded length; of what was overwritten the last is shown", () => {
	expect(splitLine("10%\r50%\r100%\r")).toEqual(["100%"]);
	expect(splitLine("\u001b[31mred\u001b[m\ta\u0007")).toEqual([
		"red    a\\x07",
	]);
	expect(splitLine("x".repeat(2500)).map(({ length }) => length)).toEqual([
		1000, 1000, 500,
	]);
	expect(splitLine("")).toEqual([""]);
});

const sizes = [1, 2, 3, 5, 10, 24, 40].flatMap((height) =>
	[1, 2, 5, 20, 80, 130, 200].map((columns) => [columns, height] as const),
);

test.each(eachWords)(
	"whatever %s words tasks say, every screen is filled and no line passes it",
	(_, words) => {
		const typing = ["", "\r", "c", "?", "/a 日", "\t", "K", "/x\r", "m日本"];
		fc.assert(
			fc.property(
				fc.array(
					fc.record({
						description: words.texts,
						agent: words.texts,
						model: words.texts,
						result: words.texts,
						kind: fc.constantFrom("droid", "command"),
					}),
					{ maxLength: 5 },
				),
				fc.constantFrom(...sizes),
				fc.constantFrom(...typing),
				fc.boolean(),
				(tasks, [columns, height], keys, colour) => {
					const all = tasks.map((task, n) =>
						rowOf(n + 1, {
							...task,
							status: n % 2 ? "running" : "completed",
						} as Partial<Task>),
					);
					const lines = tasks.flatMap(({ result }) =>
						result.split("\n").flatMap(splitLine),
					);
					const state = showOutput(
						stateOf(all, { columns, rows: height }),
						all[0] && outputOf(1, 0, { lines }),
					);
					const drawn = render(typed(state, keys).state, { now, colour });
					expect(drawn.lines.length).toBe(height);
					for (const line of drawn.lines) {
						const plain = Bun.stripANSI(line);
						expect(plain).not.toMatch(/\p{Cc}/u);
						if (!colour) expect(plain).toBe(line);
						// One character may be wider than a narrow screen.
						expect(words.measure(plain)).toBeLessThanOrEqual(
							Math.max(6, columns),
						);
					}
				},
			),
			{ numRuns: 300 },
		);
	},
);
