import { describe, expect, test } from "bun:test";
import { findCommand } from "../../../lib/cli/watch/bindings.ts";
import { endAction, showOutput } from "../../../lib/cli/watch/update.ts";
import {
	idOf,
	keys,
	now,
	outputOf,
	rowOf,
	screenOf,
	stateOf,
	typed,
	withRows,
	withSize,
} from "../../tools/watch.ts";

const ended = {
	status: "completed",
	completed_at: "2026-01-01T11:59:00Z",
} as const;
const rows = [
	rowOf(1),
	rowOf(2),
	rowOf(3, { status: "queued" }),
	rowOf(4, ended),
];
const start = stateOf(rows);
const many = Array.from({ length: 60 }, (_, n) => rowOf(n + 1));

describe("the selection", () => {
	test.each([
		[[], 1],
		[["j"], 2],
		[[keys.down, keys.down, keys.down, keys.down], 4],
		[["j", "k", "k"], 1],
		[["G"], 4],
		[["G", "g"], 1],
		[[keys.end], 4],
		[[keys.end, keys.home], 1],
		[["x"], 1],
		[["\u001b[200~jj\u001b[201~"], 1],
	])("after %j task %p is selected", (texts, n) => {
		expect(typed(start, ...texts).state.selected).toBe(idOf(n));
	});

	test("a page is as many tasks as the list shows, but one", () => {
		const { state } = typed(stateOf(many), keys.pageDown);
		expect(state.selected).toBe(idOf(21));
		expect(typed(state, keys.pageUp).state.selected).toBe(idOf(1));
		expect(typed(state, " ").state.selected).toBe(idOf(41));
	});

	test("it stays on its task when the list changes, and goes to the next if the task is gone", () => {
		const { state } = typed(start, "j");
		expect(withRows(state, [rowOf(9), ...rows]).selected).toBe(idOf(2));
		expect(withRows(state, rows.toReversed()).selected).toBe(idOf(2));
		const without = rows.filter(({ id }) => id !== idOf(2));
		expect(withRows(state, without).selected).toBe(idOf(3));
		expect(withRows(state, []).selected).toBeUndefined();
		expect(
			typed(withRows(state, []), "j", "c", "r", "p", "\r", "o").effects,
		).toEqual([]);
	});

	test("the window keeps showing it when tasks come, and stays when the task itself ends", () => {
		const { state } = typed(stateOf(many), ..."jjj");
		const more = Array.from({ length: 30 }, (_, n) => rowOf(100 + n));
		const shifted = withRows(state, [...more, ...many]);
		expect(shifted.top).toBe(13);
		const over = rowOf(4, ended);
		const rest = many.filter(({ id }) => id !== over.id);
		const moved = withRows(state, [...rest, over]);
		expect([moved.selected, moved.top]).toEqual([over.id, 0]);
		expect(screenOf(moved).at(-1)).toStartWith(
			"selected: s4 ✔ completed, below",
		);
		// Also at the next change.
		expect(withRows(moved, [rowOf(200), ...rest, over]).top).toBe(0);
		expect(typed(moved, "k").state.top).toBeGreaterThan(0);
	});
});

describe("actions", () => {
	const run = (text: string, state = start) => typed(state, text).effects;

	test("a task is cancelled once that is confirmed, and only if it has not ended", () => {
		const asked = typed(start, "c");
		expect(asked.effects).toEqual([]);
		expect(screenOf(asked.state).at(-1)).toStartWith(
			"cancel s1 with everything it started? y/n",
		);
		expect(run("y", asked.state)).toMatchObject([
			{ do: "run", call: ["cancel", idOf(1), "--yes"] },
		]);
		for (const key of ["n", "q", keys.escape, "\r", keys.ctrlC]) {
			const { state, effects } = typed(asked.state, key);
			expect([state.question, ...effects]).toEqual([undefined]);
		}
		const over = typed(start, "G", "c", "y");
		expect(over.effects).toEqual([]);
		expect(screenOf(over.state).at(-1)).toStartWith("s4 has already ended");
		const lingering = stateOf([rowOf(1, ended, { isLingering: true })]);
		expect(run("cy", lingering)).toMatchObject([
			{ call: ["cancel", idOf(1), "--yes"] },
		]);
	});

	test("the question is about the task it names, also if the list changes meanwhile", () => {
		const asked = typed(start, "c").state;
		const changed = withRows(asked, rows.slice(1));
		expect(run("y", changed)).toMatchObject([
			{ call: ["cancel", idOf(1), "--yes"] },
		]);
	});

	test("p pauses or continues the task, P the queue, r retries", () => {
		expect(run("p")).toMatchObject([{ call: ["pause", idOf(1)] }]);
		const paused = stateOf([rowOf(1, { paused_at: "2026-01-01T00:00:00Z" })]);
		expect(run("p", paused)).toMatchObject([{ call: ["unpause", idOf(1)] }]);
		expect(run("P")).toMatchObject([{ call: ["pause", "--queue"] }]);
		const head = { ...start.head, isQueuePaused: true };
		expect(run("P", { ...start, head })).toMatchObject([
			{ call: ["unpause", "--queue"] },
		]);
		expect(run("Gr")).toMatchObject([{ call: ["retry", idOf(4)] }]);
		const over = typed(start, "Gp");
		expect(over.effects).toEqual([]);
		expect(screenOf(over.state).at(-1)).toStartWith("s4 has already ended");
		const refused = typed(start, "r");
		expect(refused.effects).toEqual([]);
		expect(screenOf(refused.state).at(-1)).toStartWith(
			"s1 can be retried after it has ended",
		);
	});

	test("an action does not start twice; its answer is shown for a while", () => {
		const { state, effects } = typed(start, "ppp");
		expect(effects).toHaveLength(1);
		expect(screenOf(state).at(-1)).toStartWith("pause s1 …");
		const done = endAction(
			state,
			{ key: idOf(1), text: "bg_1  running, paused", isFault: false },
			now,
		);
		expect(screenOf(done).at(-1)).toStartWith("bg_1 running, paused");
		expect(
			screenOf({ ...done, note: done.note && { ...done.note, until: now } }).at(
				-1,
			),
		).toStartWith("? keys");
		expect(run("p", done)).toHaveLength(1);
	});

	test("+ and - set the limit on running tasks; never to 0, which is none", () => {
		expect(run("+")).toMatchObject([{ call: ["limit", "running", "9"] }]);
		const thrice = typed(start, "++-");
		expect(thrice.effects).toMatchObject(
			["9", "10", "9"].map((n) => ({ call: ["limit", "running", n] })),
		);
		const answer = { key: "limit", text: "done", isFault: false };
		const twice = endAction(endAction(thrice.state, answer, now), answer, now);
		expect(twice.wantedLimit).toBe(9);
		expect(endAction(twice, answer, now).wantedLimit).toBeUndefined();
		const at = (limit: number | undefined) => ({
			...start,
			head: { ...start.head, limit },
		});
		expect(run("-", at(1))).toEqual([]);
		expect(run("+", at(0))).toEqual([]);
		expect(run("+", at(undefined))).toEqual([]);
	});

	test("R asks for a prompt and m for a message, which may have lines and any text", () => {
		const droid = stateOf([
			rowOf(1, { kind: "droid" }),
			rowOf(2, { ...ended, kind: "droid" }),
		]);
		expect(run("mgo on: 日本 -x\r", droid)).toMatchObject([
			{ call: ["send", idOf(1), "--", "go on: 日本 -x"] },
		]);
		expect(run("jRa\u001b[200~\rb\nc\u001b[201~\r", droid)).toMatchObject([
			{ call: ["resume", idOf(2), "--", "a\nb\nc"] },
		]);
		for (const text of ["m\r", "mx\u001b", "mx\u0003", "m \r", "R", "jm"])
			expect(run(text, droid)).toEqual([]);
		expect(screenOf(typed(start, "R").state).at(-1)).toStartWith(
			"s1 has no droid session",
		);
	});

	test("o and d show text in the terminal; d only of a task with a worktree", () => {
		expect(run("o")).toEqual([{ do: "show", call: ["output", idOf(1)] }]);
		expect(run("d")).toEqual([]);
		const state = stateOf([rowOf(1, { worktree: "x" })]);
		expect(run("d", state)).toEqual([{ do: "show", call: ["diff", idOf(1)] }]);
	});

	test("a key whose verb does not exist does nothing and is not in the help", () => {
		const bare = { ...start, verbs: new Set(["cancel"]) };
		for (const key of "odprRmP+-")
			expect(findCommand(key, bare)).toBeUndefined();
		expect(findCommand("c", bare)).toBe("cancel");
		const help = screenOf(typed(bare, "?").state).join("\n");
		expect(help).toContain("cancel (asks)");
		expect(help).not.toContain("retry");
	});
});

describe("quitting", () => {
	test("q leaves the output first and then the list; Ctrl-C leaves at once", () => {
		const { state } = typed(start, "\r");
		expect(state.isWhole).toBe(true);
		expect(typed(state, "q").effects).toEqual([]);
		expect(typed(state, "qq").effects).toEqual([{ do: "quit" }]);
		expect(typed(state, keys.ctrlC).effects).toEqual([{ do: "quit" }]);
		expect(typed(start, "?", keys.ctrlC).effects).toEqual([{ do: "quit" }]);
		for (const before of ["", "\r", "?", "/", "c"])
			expect(typed(start, before, keys.ctrlZ).effects).toEqual([
				{ do: "suspend" },
			]);
	});
});

describe("the filter", () => {
	test("the list is filtered while it is typed; Enter keeps it, Escape does not", () => {
		const open = typed(start, "/status:q").state;
		expect(open.shown.map(({ short }) => short)).toEqual(["s3"]);
		expect(open.selected).toBe(idOf(3));
		const kept = typed(open, "\r").state;
		expect(screenOf(kept).at(-1)).toContain("showing 1 of 1 (4 in all)");
		expect(typed(open, keys.escape).state.shown).toHaveLength(4);
		expect(typed(kept, "/", keys.escape).state.filter).toBe("status:q");
		expect(typed(kept, "/\u0015\r").state.shown).toHaveLength(4);
		expect(typed(kept, keys.escape).state.shown).toHaveLength(4);
	});

	test("a paste is one line", () => {
		const { state } = typed(start, "/\u001b[200~task\n 3\u001b[201~");
		expect(state.filter).toBe("task 3");
		expect(state.shown.map(({ short }) => short)).toEqual(["s3"]);
	});

	test("letters that are typed are text, not keys", () => {
		const { state, effects } = typed(start, "/cyqpP+\r");
		expect([state.filter, effects]).toEqual(["cyqpP+", []]);
	});
});

describe("the output", () => {
	const output = outputOf(1, 100);
	const tall = showOutput(stateOf(rows, { rows: 40 }), output);
	const paneOf = (state: typeof tall) => screenOf(state).slice(-16, -1);

	test("J and K scroll the pane; it stands still while lines are added, and G follows", () => {
		expect(paneOf(tall).at(-1)).toBe("line 99");
		const up = typed(tall, "KK").state;
		expect(paneOf(up).at(-1)).toBe("line 97");
		const longer = showOutput(up, outputOf(1, 150));
		expect(paneOf(longer).slice(1)).toEqual(paneOf(up).slice(1));
		expect(screenOf(longer).join("\n")).toContain(
			"── 52 more below, G follows",
		);
		expect(paneOf(typed(longer, "\tG").state).at(-1)).toBe("line 149");
		expect(paneOf(typed(longer, "J").state).at(-1)).toBe("line 98");
	});

	test("Tab gives the keys for movement to the pane, and back", () => {
		const { state } = typed(tall, "\tk");
		expect([state.selected, paneOf(state).at(-1)]).toEqual([
			idOf(1),
			"line 98",
		]);
		expect(typed(state, "\tj").state.selected).toBe(idOf(2));
		expect(typed(state, keys.escape, "j").state.selected).toBe(idOf(2));
		// A screen without a pane has only the list.
		expect(typed(withSize(state, 80, 24), "j").state.selected).toBe(idOf(2));
	});

	test("another task is followed at its end", () => {
		const { state } = typed(tall, "Kj");
		expect([state.output, state.anchor]).toEqual([undefined, undefined]);
	});

	test("a search begins at the page, n and N go on, and both ends are joined", () => {
		const whole = typed(tall, "\r", "g", "/LINE 1\r").state;
		expect(screenOf(whole).at(-1)).toStartWith("not found: LINE 1");
		const found = typed(tall, "\r", "g", "/line 1\r").state;
		expect(screenOf(found)[1]).toBe("line 1");
		expect(screenOf(found)[0]).toContain("match 1 of 11");
		expect(screenOf(typed(found, "n").state)[1]).toBe("line 10");
		expect(screenOf(typed(found, "nN").state)[1]).toBe("line 1");
		expect(screenOf(typed(found, "N").state)[1]).toBe("line 19");
		expect(screenOf(typed(tall, "\rn").state).at(-1)).toStartWith(
			"nothing was searched",
		);
	});
});
