import { expect, test } from "bun:test";
import {
	drawView,
	emptyView,
	pressKey,
	showRows,
	splitKeys,
	type WatchAction,
	type WatchView,
} from "../../../lib/cli/watch/view.ts";
import { type TaskRow, toTaskRow } from "../../../lib/print/task-row.ts";
import type { Status, Task } from "../../../lib/task/schema.ts";

const size = { columns: 70, rows: 8 };
const up = "\u001b[A";
const down = "\u001b[B";

const glance = (n: number, status: Status): TaskRow =>
	toTaskRow(
		{
			id: `bg_0000000${n}`,
			kind: "command",
			status,
			description: `task ${n}`,
		} as Task,
		{ now: 0 },
	);

const rows = [
	glance(3, "queued"),
	glance(2, "running"),
	glance(1, "completed"),
];
const start = showRows(emptyView, rows);

/** The view after some keys, and what they asked for. */
function typed(
	view: WatchView,
	...keys: string[]
): { view: WatchView; acts: WatchAction[] } {
	const acts: WatchAction[] = [];
	for (const key of keys) {
		const pressed = pressKey(view, key, size);
		view = pressed.view;
		if (pressed.act) acts.push(pressed.act);
	}
	return { view, acts };
}

const frame = (view: WatchView) => drawView(view, { ...size, colour: false });

test("typing is taken apart into keys", () => {
	expect(splitKeys(`j${up}\u001bOBq\u0003`)).toEqual([
		"j",
		up,
		"\u001bOB",
		"q",
		"\u0003",
	]);
	expect(splitKeys("\u001b")).toEqual(["\u001b"]);
	expect(splitKeys("\u001b[5~\n")).toEqual(["\u001b[5~", "\n"]);
});

test.each([
	[[], "bg_00000003"],
	[["j"], "bg_00000002"],
	[[down, down, down], "bg_00000001"],
	[["j", "k", "k"], "bg_00000003"],
	[["G"], "bg_00000001"],
	[["G", "g"], "bg_00000003"],
	[["x"], "bg_00000003"],
])("after %j %s is selected", (keys, id) => {
	expect(typed(start, ...keys).view.selected).toBe(id);
});

test("the selection stays with its task, and goes to the next where it is gone", () => {
	const { view } = typed(start, "j");
	expect(showRows(view, [glance(4, "running"), ...rows]).selected).toBe(
		"bg_00000002",
	);
	expect(
		showRows(view, [glance(3, "queued"), glance(1, "completed")]).selected,
	).toBe("bg_00000001");
	expect(showRows(view, []).selected).toBeUndefined();
	expect(typed(showRows(view, []), "j", "c", "\r").acts).toEqual([]);
});

test("a task is cancelled once that is confirmed, and only if it is not over", () => {
	const asked = typed(start, "c");
	expect(asked.acts).toEqual([]);
	expect(frame(asked.view).at(-1)).toStartWith(
		"cancel with everything it started? y/n",
	);
	expect(typed(asked.view, "y").acts).toEqual([
		{ do: "cancel", id: "bg_00000003" },
	]);
	for (const key of ["n", "q", "\u001b", "\r"]) {
		const { view, acts } = typed(asked.view, key);
		expect([view.mode, ...acts]).toEqual(["list"]);
	}
	const over = typed(start, "G", "c", "y");
	expect(over.acts).toEqual([]);
});

test("q leaves an output first and then the list; Ctrl-C leaves at once", () => {
	const { view } = typed(start, "o");
	expect(view.mode).toBe("output");
	expect(typed(view, "q").acts).toEqual([]);
	expect(typed(view, "q", "q").acts).toEqual([{ do: "quit" }]);
	expect(typed(view, "\u0003").acts).toEqual([{ do: "quit" }]);
	expect(typed(typed(start, "c").view, "\u0003").acts).toEqual([
		{ do: "quit" },
	]);
	expect(typed(start, "\u001a").acts).toEqual([{ do: "suspend" }]);
});

test("the list has a title, a head, the tasks with a mark at one, and the keys", () => {
	expect(frame(typed(start, "j").view)).toEqual([
		"bg watch  1 queued, 1 running, 1 completed",
		"  ID           STATUS       AGE  DROID    TASK",
		"  bg_00000003  · queued       ?  command  task 3",
		"› bg_00000002  ▶ running      ?  command  task 2",
		"  bg_00000001  ✔ completed    ?  command  task 1",
		"",
		"",
		"↑↓ select  ⏎ output  c cancel  q quit",
	]);
	expect(frame(emptyView)[0]).toBe("bg watch  no task yet");
});

test("of a long list those around the selected one are shown", () => {
	const many = Array.from({ length: 9 }, (_, n) => glance(9 - n, "running"));
	const shown = (...keys: string[]) =>
		frame(typed(showRows(emptyView, many), ...keys).view)
			.slice(2, -1)
			.map((line) => line.slice(0, 13));
	expect(shown()).toEqual([
		"› bg_00000009",
		"  bg_00000008",
		"  bg_00000007",
		"  bg_00000006",
		"  bg_00000005",
	]);
	expect(shown("G").at(-1)).toBe("› bg_00000001");
	expect(shown(..."jjjj")[2]).toBe("› bg_00000005");
});

test("an output is followed at its end; scrolled back it stops at its beginning", () => {
	const output = Array.from({ length: 20 }, (_, n) => `line ${n}`).join("\n");
	const view: WatchView = { ...typed(start, "o").view, output };
	expect(frame(view)[6]).toBe("line 19");
	expect(frame(typed(view, "k").view)[6]).toBe("line 18");
	expect(frame(typed(view, "g").view)[1]).toBe("line 0");
	expect(frame(typed(view, "g", "j").view)[1]).toBe("line 1");
	expect(frame(typed(view, "g", "G").view)[6]).toBe("line 19");
});

test("a screen of any size is filled exactly", () => {
	for (const rows of [1, 2, 3, 5])
		for (const columns of [1, 5, 20])
			for (const mode of ["list", "output", "confirm"] as const) {
				const view: WatchView = { ...start, mode, output: "日本語 ".repeat(9) };
				const lines = drawView(view, { rows, columns, colour: false });
				expect(lines.length).toBe(rows);
				for (const line of lines)
					expect(Bun.stringWidth(line)).toBeLessThanOrEqual(
						Math.max(2, columns),
					);
			}
});
