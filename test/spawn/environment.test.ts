import { expect } from "bun:test";
import { isFinal } from "../../lib/task/states.ts";
import { answersIn, toLines } from "../tools/batch.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Sandbox, sandbox } from "../tools/harness.ts";

/** Runs `env` in a batch and returns the variables of Bun that the first task got. */
async function bunVariables(box: Sandbox, count: number, env = {}) {
	const line = { description: "x", command: ["env"] };
	const input = toLines(Array(count).fill(line));
	const words = ["launch", "--batch", "-"];
	const { stdout } = await box.bg(words, { input, env });
	const [id = ""] = answersIn(stdout).map(({ taskId }) => String(taskId));
	const { result = "" } = await box.untilTask(id, isFinal, "its end");
	return result.split("\n").filter((each) => /^(BUN|MIMALLOC)_/.test(each));
}

concurrentTest(
	"tasks get none of the variables that make a supervisor small",
	async () => {
		const box = sandbox();
		expect(await bunVariables(box, 1)).toEqual([]);
		expect(await bunVariables(box, 21)).toEqual([]);
	},
);

concurrentTest(
	"tasks get such a variable with the value of their launcher",
	async () => {
		const own = { BUN_JSC_useJIT: "1", BUN_GC_TIMER_DISABLE: "1" };
		const expected = Object.entries(own).map((each) => each.join("="));
		const found = await bunVariables(sandbox(), 1, own);
		expect(found.sort()).toEqual(expected.sort());
	},
);
