/**
 * The guarded hook commands of `bg install` in the real droid client: with nothing due bg is not started,
 * and what it must see reaches it. `npm run test:droid`.
 */
import { expect } from "bun:test";
import { existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { hookGuards } from "../../lib/hook/guard.ts";
import type { Task } from "../../lib/task/schema.ts";
import { median } from "../bench/method.ts";
import { type ModelRequest, textsOf } from "../tools/model.ts";
import {
	bgProgram,
	droidTest,
	type Lab,
	quote,
	useDroid,
} from "./droid-lab.ts";
import { type Call, install, kinds } from "./installed.ts";

useDroid();

const bg = bgProgram.map(quote).join(" ");
const noticeHead = "(notice from bg; ";

/** A tool launches a task that lasts until the next tool ends it and waits for the notice to be due. */
const launchInner = `RUN[${bg} run -q inner -- sh -c "until [ -e open ]; do sleep 0.2; done; echo the harvest"]`;
const endInner = `RUN[touch open; until [ -e "$BG_DIR/.due/$BG_SESSION_ID" ]; do sleep 0.2; done]`;

/** The events that started bg, without those that always do. */
const guardedStarts = (calls: readonly Call[]) =>
	calls
		.filter(({ verb, event }) => verb === "hook" && event in hookGuards)
		.map(({ event, tool }) => `${event} ${tool}`);

const wordsOf = ({ messages }: ModelRequest) =>
	messages.flatMap(textsOf).join("\n");

/** How often a notice is in each request so far, oldest first. */
const noticesIn = (lab: Lab) =>
	lab.model
		.requests()
		.map((request) => wordsOf(request).split(noticeHead).length - 1);

for (const kind of kinds) {
	droidTest(
		`the ${kind}'s hook starts bg only for a notice that is due`,
		async (lab) => {
			const calls = await install(lab, kind);
			const { code, text } = await lab.droid(
				`RUN[echo one] RUN[echo two] ${launchInner} ${endInner} RUN[echo three] SAY[Done.]`,
			);
			expect([code, text]).toEqual([0, "Done."]);
			expect(noticesIn(lab)).toEqual([0, 0, 0, 0, 1, 1]);
			expect(wordsOf(lab.model.requests()[5] as ModelRequest)).toContain(
				'not instructions: "the harvest"',
			);
			expect(guardedStarts(calls())).toEqual(["PostToolUse Execute"]);
		},
	);

	droidTest(`the ${kind}'s hook starts bg for the Task tool`, async (lab) => {
		const calls = await install(lab, kind);
		const { code } = await lab.droid(
			"TASK[SAY[The subagent is done.]] SAY[It runs.] SAY[It reported.]",
			{ autonomy: "high" },
		);
		expect(code).toBe(0);
		const { tasks } = (await lab.bg(["list", "--full"])).json();
		expect(tasks.map(({ kind, status }: Task) => [kind, status])).toEqual([
			["native", "completed"],
		]);
		expect(guardedStarts(calls())).toEqual(["PostToolUse Task"]);
	});
}

droidTest("a droid that is a task gets its notices as well", async (lab) => {
	const calls = await install(lab, "user");
	const id = await lab.launch(
		`RUN[echo one] ${launchInner} ${endInner} RUN[echo two] SAY[Done.]`,
	);
	expect((await lab.bg(["wait", id])).code).toBe(0);
	expect(lab.record(id).result).toBe("Done.");
	expect(noticesIn(lab)).toEqual([0, 0, 0, 1, 1]);
	expect(guardedStarts(calls())).toEqual(["PostToolUse Execute"]);
});

droidTest("a payload larger than a pipe does no harm unread", async (lab) => {
	const calls = await install(lab, "user");
	const { code, text } = await lab.droid(
		`RUN[: ${"x".repeat(100_000)}; seq 100000] SAY[Done.]`,
	);
	expect([code, text]).toEqual([0, "Done."]);
	expect(existsSync(join(lab.dir, ".hook.log"))).toBe(false);
	expect(guardedStarts(calls())).toEqual([]);
});

/** How many tool calls a measured session makes, and how many sessions are measured each way. */
const toolCalls = 30;
const sessions = 2;

droidTest("the cost of the idle hook in a session is printed", async (lab) => {
	expect((await lab.bg(["install"])).code).toBe(0);
	const hooks = join(lab.home, ".factory", "hooks.json");
	// The client ends a session that repeats a call.
	const tools = Array.from(
		{ length: toolCalls },
		(_, call) => `RUN[: ${call}]`,
	);
	/** The times of the calls of one session, in ms: from one request of the client to the next. */
	const time = async () => {
		const first = lab.model.times().length;
		const { text } = await lab.droid(`${tools.join(" ")} SAY[Done.]`);
		expect(text).toBe("Done.");
		const times = lab.model.times().slice(first);
		expect(times).toHaveLength(toolCalls + 1);
		return times.slice(1).map((at, call) => at - (times[call] ?? 0));
	};
	const taken = { with: [] as number[], without: [] as number[] };
	for (let session = 0; session < sessions; session++) {
		taken.with.push(...(await time()));
		renameSync(hooks, `${hooks}.off`);
		taken.without.push(...(await time()));
		renameSync(`${hooks}.off`, hooks);
	}
	const [a, b] = [median(taken.with), median(taken.without)];
	console.log(
		`${toolCalls} tool calls, median: ${a.toFixed(1)} ms with hooks, ${b.toFixed(1)} ms without`,
	);
});
