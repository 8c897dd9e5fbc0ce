import { expect, test } from "bun:test";
import { joinValues } from "../../lib/cli/arguments.ts";
import {
	checkNaming,
	formatSelectors,
	parseSelectors,
	refuseBoth,
	selectorNames,
} from "../../lib/cli/selectors.ts";
import { loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";

const known = await loadVerbs(verbs);

test("every verb that takes more than one id takes the selectors", () => {
	const takesIds = known.filter(({ args }) => args.ids);
	expect(takesIds.length).toBeGreaterThan(5);
	const others = ["send", "list", "report", "cleanup", "watch"];
	for (const { name, args } of known)
		if (args.ids || others.includes(name))
			expect([name, ...Object.keys(args)]).toEqual(
				expect.arrayContaining([name, ...selectorNames]),
			);
});

test.each([
	[{ status: "done" }, "--status takes queued, running"],
	[{ tag: "" }, "--tag is empty"],
	[{ tag: joinValues(["a", ""]) }, "--tag is empty"],
	[{ session: "" }, "--session is empty"],
	[{ cwd: "" }, "--cwd is empty"],
	[{ status: "" }, "--status takes"],
])("%j is refused: %s", (args, why) => {
	expect(() => parseSelectors(args)).toThrow(why);
});

test("values are split, and a folder is made absolute", () => {
	const tag = joinValues(["a", "b c"]);
	const status = joinValues(["error,queued", "running"]);
	expect(parseSelectors({ tag, status, cwd: "/a/../b/", all: true })).toEqual({
		session: undefined,
		tags: ["a", "b c"],
		statuses: ["error", "queued", "running"],
		cwd: "/b",
		archived: true,
	});
	expect(parseSelectors({ cwd: "x" }).cwd).toBe(`${process.cwd()}/x`);
});

test("a call is formatted as it is typed", () => {
	const tag = joinValues(["a", "b c"]);
	expect(formatSelectors({ tag, all: true, cwd: undefined }).join(" ")).toBe(
		"--tag a --tag 'b c' --all",
	);
	expect(formatSelectors({ all: false })).toEqual([]);
});

test("ids and selectors cannot be combined, and one of them is needed", () => {
	expect(() => checkNaming("cancel", {})).toThrow("needs <ids>");
	expect(() => checkNaming("cancel", { ids: "a", tag: "b" })).toThrow(
		"ids or --tag, not both",
	);
	expect(() => refuseBoth("wait", { ids: "a", all: true })).toThrow("--all");
	checkNaming("cancel", { ids: "a" });
	checkNaming("cancel", { all: true });
	refuseBoth("wait", {});
});
