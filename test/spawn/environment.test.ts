import { expect } from "bun:test";
import { isFinal } from "../../lib/task/states.ts";
import { answersIn, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Sandbox, sandbox } from "../tools/harness.ts";

/** Runs `env` in a batch and returns the variables of a runtime that the first task got. */
async function runtimeVariables(box: Sandbox, count: number, env = {}) {
	const line = { description: "x", command: ["env"] };
	const input = toLines(Array(count).fill(line));
	const words = ["launch", "--batch", "-"];
	const { stdout } = await box.bg(words, { input, env });
	const [id = ""] = answersIn(stdout).map(({ taskId }) => String(taskId));
	const { result = "" } = await box.untilTask(id, isFinal, "its end");
	return result.split("\n").filter((each) => /^(BUN|MIMALLOC|UV)_/.test(each));
}

concurrentTest(
	"a task gets none of the variables that its supervisor has for its runtime",
	async () => {
		const box = sandbox();
		expect(await runtimeVariables(box, 1)).toEqual([]);
		expect(await runtimeVariables(box, 21)).toEqual([]);
	},
);

concurrentTest(
	"tasks get such a variable with the value of their launcher",
	async () => {
		const own = { BUN_JSC_useJIT: "1", BUN_GC_TIMER_DISABLE: "1" };
		const expected = Object.entries(own).map((each) => each.join("="));
		const found = await runtimeVariables(sandbox(), 1, own);
		expect(found.sort()).toEqual(expected.sort());
	},
);
