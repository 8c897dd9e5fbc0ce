import { describe, expect, test } from "bun:test";
import {
	describeEnd,
	formatRanges,
	parseFields,
	parseQueue,
	parseRefusal,
	parseStopCause,
	phaseOf,
} from "../../lib/engine/slurm-answers.ts";

const id = "bg_0123456789abcdef";

describe("what Slurm's programs print", () => {
	test.each([
		["PENDING", "pending"],
		["RESV_DEL_HOLD", "pending"],
		["REQUEUED", "pending"],
		["RUNNING", "running"],
		["COMPLETING", "running"],
		["COMPLETED", "over"],
		["NODE_FAIL", "over"],
		["CANCELLED by 1000", "over"],
	])("a job that is %s is %s", (state, phase) => {
		expect(phaseOf(state)).toBe(phase as "over");
	});

	test.each(["", "NEW_STATE", "running", "COMPLETED\u001b[2J"])(
		"nothing follows from the state %j",
		(state) => {
			expect(() => phaseOf(state)).toThrow(
				/^Slurm reports an unknown state of the job: "[\x20-\x7e]*"$/,
			);
		},
	);

	test("of two jobs with one name and place the newer one counts", () => {
		const list = parseQueue(
			[
				`${id}|31|N/A|RUNNING|n1|31|None`,
				`${id}|30|N/A|COMPLETED|n2|30|None`,
				`${id}|40|4|PENDING||29_4|Priority|with a bar`,
				`${id}|29|N/A|CANCELLED||29|None`,
				"another job|9|N/A|RUNNING|n1|9|None",
			].join("\n"),
		);
		expect([...list.values()]).toMatchObject([
			{
				number: "31",
				index: undefined,
				state: "RUNNING",
				node: "n1",
				shown: "31",
			},
			{ number: "40", index: 4, shown: "29_4", why: "Priority|with a bar" },
		]);
	});

	test("a list without any line of a list is refused, an empty one is empty", () => {
		expect(parseQueue("\n")).toEqual(new Map());
		expect(() => parseQueue("what is this\n")).toThrow("cannot be read");
	});

	test("a user's text does not replace a field of Slurm", () => {
		const text = `JobId=30 JobName=${id}\n   JobState=RUNNING Reason=None\n   Comment=x JobState=FAILED Reason=TimeLimit`;
		expect(Object.fromEntries(parseFields(text))).toMatchObject({
			JobState: "RUNNING",
			Reason: "None",
		});
		expect(parseStopCause(text, { job: "30", run: 0 })).toEqual({
			again: false,
		});
	});

	test.each([
		["JobState=RUNNING Reason=TimeLimit Restarts=0", "TIMEOUT", false],
		["JobState=COMPLETING Reason=None Restarts=1", "REQUEUED", true],
		["JobState=CANCELLED Reason=None Restarts=0", "CANCELLED", false],
		[
			"JobState=RUNNING Restarts=0 PreemptTime=2026-01-01T00:00:00 Requeue=1",
			"PREEMPTED",
			true,
		],
		[
			"JobState=PREEMPTED Restarts=0 PreemptTime=2026-01-01T00:00:00 Requeue=0",
			"PREEMPTED",
			false,
		],
	])("a job that shows %s is ended by %s", (text, state, again) => {
		const cause = parseStopCause(text, { job: "30", run: 0 });
		expect(cause.again).toBe(again);
		expect(cause.end?.error).toEndWith(`(slurm 30: ${state})`);
	});

	test.each([
		[{ state: "CANCELLED" }, "shutdown", "cancelled at Slurm"],
		[{ state: "NODE_FAIL", node: "n2" }, "engine", "node n2 failed"],
		[{ state: "BOOT_FAIL" }, "engine", "its node did not boot"],
		[{ state: "DEADLINE" }, "engine", "its deadline has passed"],
		[{ state: "FAILED", exit: "0:9" }, "engine", "killed by signal 9"],
		[{ state: "FAILED", exit: "122:0" }, "engine", "bg is not installed"],
		[{ state: "COMPLETED", exit: "0:0" }, "engine", "recorded no end"],
	])("%j is the end of a task", (job, reason, words) => {
		const end = describeEnd({ shown: "30", ...job });
		expect(end.reason).toBe(reason as "engine");
		expect(end.error).toContain(words);
		expect(end.error).toEndWith(`(slurm 30: ${job.state})`);
	});

	test("places of an array are written as ranges", () => {
		expect(formatRanges([7, 0, 2, 1, 9])).toBe("0-2,7,9");
	});

	test("a refusal is its last sentence, without the program's name", () => {
		const text =
			'sbatch: error: first\nsbatch: error: Invalid \u001b[31mpartition\nTry "sbatch --help" for more information\n';
		const said = parseRefusal(text);
		expect(said).toStartWith("Invalid ");
		expect(said).not.toContain("\u001b");
	});
});
