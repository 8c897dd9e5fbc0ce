/** What the real droid client counts, and a limit on it. `npm run test:droid`. */
import { expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { droidTest, gate, type Lab, useDroid } from "./droid-lab.ts";

useDroid();

/** The scripted model says that each turn took this. */
const turn = { input: 10, output: 5 };

const usageOf = async (lab: Lab, id: string) =>
	(await lab.bg(["status", id])).json().usage;

const turns = (count: number) => ({
	input_tokens: count * turn.input,
	output_tokens: count * turn.output,
});

droidTest("the tokens of a droid are known while it runs", async (lab) => {
	const id = await lab.launch(`RUN[${gate}] SAY[Done.]`, {
		flags: ["--max-tokens", "1M"],
	});
	await lab.untilAtGate();
	expect(await usageOf(lab, id)).toMatchObject(turns(1));
	lab.openGate();
	await lab.bg(["wait", id]);
	// The record has it without droid's files.
	rmSync(join(lab.home, ".factory", "sessions"), { recursive: true });
	expect(await usageOf(lab, id)).toMatchObject(turns(2));
});

droidTest("a native subagent and a fork count as they should", async (lab) => {
	const id = await lab.launch("TASK[SAY[inner]] SAY[It runs.] SAY[Done.]", {
		autonomy: "high",
	});
	await lab.bg(["wait", id]);
	const { input_tokens } = await usageOf(lab, id);
	expect(input_tokens).toBeGreaterThanOrEqual(3 * turn.input);
	// A copy of the session begins at 0.
	const { stdout } = await lab.bg(["resume", "-q", "--fork", id, "SAY[again]"]);
	const fork = stdout.trim();
	await lab.bg(["wait", fork]);
	expect(await usageOf(lab, fork)).toMatchObject(turns(1));
});

droidTest("a droid past --max-tokens is stopped in its tool", async (lab) => {
	const id = await lab.launch(`RUN[${gate}] SAY[Done.]`, {
		flags: ["--max-tokens", "14", "--retries", "1"],
	});
	await lab.bg(["wait", id]);
	expect(lab.record(id)).toMatchObject({
		status: "error",
		reason: "budget",
		error: "used more than 14 tokens",
	});
	expect((await usageOf(lab, id)).input_tokens).toBeGreaterThanOrEqual(
		turn.input,
	);
});
