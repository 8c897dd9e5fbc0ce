import { expect, test } from "bun:test";
import { orderForPerson, Selection } from "../../lib/task/selection.ts";

/** The positions of the tasks that are shown; a letter a task: running, queued, or finished otherwise. */
function select(
	tasks: string,
	typed?: number,
	queued?: "oldest" | "newest",
): string {
	const words = { r: "running", q: "queued" } as const;
	const selection = new Selection<{
		status: "running" | "queued" | "completed";
		at: number;
	}>(typed, queued);
	for (const [at, letter] of [...tasks].entries()) {
		const status = words[letter as "r" | "q"] ?? "completed";
		selection.add({ status, at });
	}
	return selection
		.shown()
		.map(({ at }) => at)
		.join(" ");
}

const finished = "c".repeat(60);

test.each([
	["all of a few", "crqc", undefined, "0 1 2 3"],
	["those that run first", "ccccr", 2, "0 4"],
	["queued ones before finished ones", "ccqcr", 3, "0 2 4"],
	["not more than were asked for", "rrrr", 2, "0 1"],
	["all with 0", "ccrq", 0, "0 1 2 3"],
])("a list shows %s", (_, tasks, typed, shown) => {
	expect(select(tasks, typed)).toBe(shown);
});

test("of the finished tasks those that ended last are shown, also if they were launched first", () => {
	const selection = new Selection<{
		status: "completed";
		completed_at: string;
	}>(3);
	const ends = ["05", "04", "03", "02", "01", "09"];
	for (const minute of [...ends, ...ends.map(() => "00")])
		selection.add({
			status: "completed",
			completed_at: `2026-01-01T00:${minute}:00.000Z`,
		});
	const shown = selection.shown().map(({ completed_at }) => completed_at);
	expect(shown.map((at) => at.slice(14, 16))).toEqual(["05", "04", "09"]);
});

test("without a limit 50 are shown, or all that run", () => {
	expect(select(`${finished}r`).split(" ")).toHaveLength(50);
	expect(select(`${finished}r`)).toEndWith(" 48 60");
	expect(select("r".repeat(60) + finished).split(" ")).toHaveLength(60);
	expect(select(finished, 0).split(" ")).toHaveLength(60);
});

test("of too many queued tasks the newest are shown, or the oldest", () => {
	expect(select("qqqqrc", 3)).toBe("0 1 4");
	expect(select("qqqqrc", 3, "oldest")).toBe("2 3 4");
	expect(select("q".repeat(60), 2, "oldest")).toBe("58 59");
	expect(select("qqr", 0, "oldest")).toBe("0 1 2");
	expect(select("qrr", 1, "oldest")).toBe("1");
});

test("a person sees running and queued tasks as they were launched, then those that ended last", () => {
	const done = (minute: string) => ({
		status: "completed" as const,
		completed_at: `2026-01-01T00:${minute}:00.000Z`,
	});
	const queued = [1, 2].map((n) => ({ status: "queued" as const, n }));
	const running = [1, 2].map((n) => ({ status: "running" as const, n }));
	const newestFirst = [
		queued[1],
		done("01"),
		running[1],
		done("03"),
		queued[0],
		running[0],
	].flatMap((task) => task ?? []);
	expect(orderForPerson(newestFirst)).toEqual([
		...running,
		...queued,
		done("03"),
		done("01"),
	]);
});
