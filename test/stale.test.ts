import { expect, test } from "bun:test";
import type { Standing } from "../lib/prune.ts";
import { judge } from "../lib/stale.ts";
import type { Task } from "../lib/task.ts";

const minute = 60_000;
const now = Date.parse("2026-01-01T12:00:00Z");
const ago = (minutes: number) => new Date(now - minutes * minute).toISOString();

const task = (fields: Partial<Task> = {}): Task => ({
	id: "bg_0123456789",
	kind: "command",
	description: "a task",
	status: "running",
	started_at: ago(60),
	elapsed_ms: 60 * minute,
	quiet_ms: 11 * minute,
	...fields,
});

const facts = {
	ttl: 30 * minute,
	ageAlone: false,
	stale: 10 * minute,
	now,
	wrote: 0,
};

const choose = (
	fields: Partial<Task>,
	standing: Standing = "watched",
	more: Partial<typeof facts> = {},
) => judge(task(fields), standing, { ...facts, ...more });

test("who is old and quiet is stale", () => {
	expect(choose({})).toEqual({ reason: "stale", by: "11m" });
});

test("who is old and active is overdue", () => {
	expect(choose({ quiet_ms: 9 * minute })).toEqual({ age: "60m" });
	expect(choose({}, "watched", { wrote: now - minute })).toEqual({
		age: "60m",
	});
});

test("who is young stays, however quiet", () => {
	const young = { started_at: ago(29), elapsed_ms: 29 * minute };
	expect(choose(young)).toBe("leave");
	expect(choose({ ...young, started_at: ago(900) })).toBe("leave");
});

test("who was never measured is not stopped", () => {
	const note = "nobody measured what it does";
	expect(choose({ quiet_ms: undefined })).toMatchObject({ note });
	expect(choose({}, "orphaned")).toMatchObject({ note });
});

test("a TTL that was typed decides alone", () => {
	expect(choose({ quiet_ms: 0 }, "watched", { ageAlone: true })).toEqual({
		reason: "timeout",
		by: "30m",
	});
});

test("who is queued or paused stays", () => {
	expect(choose({ status: "queued", queued_at: ago(900) })).toBe("leave");
	expect(choose({ paused_at: ago(50) })).toBe("leave");
});

test("of another machine's tasks nothing is said", () => {
	expect(choose({}, "elsewhere")).toBe("unknown");
});

test("an old record that names no process is left until the TTL", () => {
	const old = { elapsed_ms: undefined };
	expect(choose({ ...old, started_at: ago(29) }, "unknown")).toBe("unknown");
	expect(choose(old, "unknown")).toEqual({ reason: "timeout", by: "30m" });
	expect(choose({ started_at: "long ago" }, "unknown")).toBe("unknown");
});

test("a native subagent whose end never came is over at the TTL", () => {
	const native = { kind: "native", elapsed_ms: undefined } as const;
	expect(choose({ ...native, started_at: ago(29) }, "native")).toBe("leave");
	expect(choose(native, "native")).toEqual({
		reason: "lost",
		by: "its end was not reported",
	});
});
