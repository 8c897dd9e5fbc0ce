import { expect, test } from "bun:test";
import type { Task } from "../../lib/task/schema.ts";
import {
	isSince,
	matchesSelectors,
	parseStatuses,
	type Selectors,
} from "../../lib/task/selectors.ts";
import { computeDelayLeftMs } from "../../lib/task/states.ts";

const task = {
	id: "bg_1a2b3c4d",
	status: "error",
	tags: ["nightly", "a,b"],
	cwd: "/work",
} as Task;

const all = { tags: [], statuses: [], archived: false } as const;

test.each([
	[{}, true],
	[{ tags: ["nightly"] }, true],
	[{ tags: ["a,b"] }, true],
	[{ tags: ["a"] }, false],
	[{ tags: ["other", "nightly"] }, true],
	[{ statuses: ["error"] }, true],
	[{ statuses: ["queued", "error"] }, true],
	[{ statuses: ["queued"] }, false],
	[{ cwd: "/work" }, true],
	[{ cwd: "/" }, false],
	[{ tags: ["nightly"], statuses: ["queued"] }, false],
	[{ tags: ["other"], statuses: ["error"] }, false],
	[{ tags: ["nightly"], statuses: ["error"], cwd: "/work" }, true],
] as [Partial<Selectors>, boolean][])(
	"selectors combine with AND, values of one with OR: %j",
	(selectors, isMatch) => {
		expect(matchesSelectors(task, { ...all, ...selectors })).toBe(isMatch);
	},
);

test("an archived task matches only with --all", () => {
	const archived = { ...task, archived_at: "2026-01-01T00:00:00Z" };
	expect(matchesSelectors(archived, all)).toBe(false);
	expect(matchesSelectors(archived, { ...all, archived: true })).toBe(true);
});

test("a task without tags or a folder matches neither", () => {
	const bare = { ...task, tags: undefined, cwd: undefined } as Task;
	expect(matchesSelectors(bare, { ...all, tags: ["nightly"] })).toBe(false);
	expect(matchesSelectors(bare, { ...all, cwd: "/work" })).toBe(false);
});

test.each([
	[[], []],
	[["error"], ["error"]],
	[["queued,running"], ["queued", "running"]],
	[
		["queued, running", "error"],
		["queued", "running", "error"],
	],
	[["done"], undefined],
	[["error,"], undefined],
	[[""], undefined],
])("%j are the statuses %j", (texts, wanted) => {
	expect(parseStatuses(texts)).toEqual(wanted as never);
});

const at = (time: string) => `2026-01-01T${time}:00Z`;

test.each([
	[{ queued_at: at("12:00") }, true],
	[{ queued_at: at("10:00") }, false],
	[{ queued_at: at("10:00"), completed_at: at("11:00") }, true],
	[{ queued_at: at("09:00"), completed_at: at("10:59") }, false],
	[{ started_at: at("12:00") }, true],
	[{}, false],
	[{ queued_at: "yesterday" }, false],
])("since eleven: %j is %p", (times, isMatch) => {
	expect(isSince({ ...task, ...times }, Date.parse(at("11:00")))).toBe(isMatch);
});

test.each([
	[{ not_before: at("11:10") }, 600_000],
	[{ not_before: at("10:00") }, 0],
	[{ not_before: "soon" }, 0],
	[{}, 0],
	[{ not_before: at("11:10"), attempt: 2 }, 0],
])("at eleven a task with %j is delayed by %d ms", (fields, left) => {
	expect(computeDelayLeftMs(fields, Date.parse(at("11:00")))).toBe(left);
});
