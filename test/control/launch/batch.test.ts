import { expect, test } from "bun:test";
import { batchFlagKeys } from "../../../lib/cli/verbs/launch.ts";
import { batchKeys, planBatch } from "../../../lib/control/launch/batch.ts";

/** The tasks that one line with these keys would launch. */
const plan = (more: object) =>
	planBatch(JSON.stringify({ description: "d", command: ["true"], ...more }));

test("a batch line has the keys of the flags, and those that stand for places", () => {
	const others = ["description", "prompt", "command", "name"];
	const older = ["parent_session_id", "tags"];
	expect(batchKeys.toSorted()).toEqual(
		[...batchFlagKeys, ...others, ...older].toSorted(),
	);
});

test.each([
	[{ tag: "a, b" }, ["a, b"]],
	[{ tag: ["a", "b"] }, ["a", "b"]],
	[{ tags: "a" }, ["a"]],
	[{ tags: ["a", "b"] }, ["a", "b"]],
])("%j are tags", (line, tags) => {
	expect(plan(line)[0]?.plan.task.tags).toEqual(tags);
});

test.each([
	[{ env: { A: "1", B: "x=y" } }],
	[{ env: ["A=0", "A=1", "B=x=y"] }],
])("%j is an environment", (line) => {
	expect(plan(line)[0]?.plan.env).toEqual({ A: "1", B: "x=y" });
});

test("a key may be written as its flag, and a number is seconds or bytes", () => {
	const line = { "max-output": 100, timeout: 60, "on-end": "echo $X" };
	expect(plan(line)[0]?.plan.task).toMatchObject({
		max_output_bytes: 100,
		timeout_ms: 60_000,
		on_end: ["/bin/sh", "-c", "echo $X"],
	});
	const task = plan({ session: "s", on_end: ["a", "b c"] })[0]?.plan.task;
	expect(task).toMatchObject({
		parent_session_id: "s",
		on_end: ["a", "b c"],
	});
});

test.each([
	[{ tag: "a", tags: ["b"] }, "tag and tags cannot be combined"],
	[{ session: "a", parent_session_id: "a" }, "session and parent_session_id"],
	[{ max_output: "1K", "max-output": "1K" }, "max_output is given twice"],
	[{ env: ["A"] }, "NAME=VALUE"],
	[{ env: { "A B": "1" } }, "env"],
	[{ tags: [1] }, "tags"],
	[{ quiet: true }, "there is no key quiet"],
])("%j is refused: %s", (line, why) => {
	expect(() => plan(line)).toThrow(why);
});

const lines = (...more: object[]) =>
	more
		.map((each) =>
			JSON.stringify({ description: "d", command: ["true"], ...each }),
		)
		.join("\n");

test("the flags name the engine of lines that name none, and its arguments", () => {
	const text = lines({}, { on: "slurm", engine_args: "-c 8" });
	const plans = planBatch(text, { on: "slurm", engineArgs: "-H" });
	expect(plans.map(({ plan }) => plan.task.engine)).toEqual([
		{ name: "slurm", args: ["-H"] },
		{ name: "slurm", args: ["-c", "8"] },
	]);
});

test("a batch that runs on two engines is refused", () => {
	expect(() => planBatch(lines({ on: "slurm" }, {}))).toThrow(
		"line 2: it would run on local, and line 1 on slurm",
	);
});
