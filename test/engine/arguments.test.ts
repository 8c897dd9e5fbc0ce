import { describe, expect, test } from "bun:test";
import { checkEngine, parseArguments } from "../../lib/engine/arguments.ts";

describe("the arguments of an engine", () => {
	test.each([
		["-p gpu -c 8 --mem=32G", ["-p", "gpu", "-c", "8", "--mem=32G"]],
		[`--comment='two words' -C "a b"`, ["--comment=two words", "-C", "a b"]],
		["-H", ["-H"]],
		["  ", []],
		["--wait-all-nodes=1", ["--wait-all-nodes=1"]],
	])("%p are split as a shell does", (text, words) => {
		expect(parseArguments(text)).toEqual(words);
	});

	test.each([
		["--array=0-3", "bg sets that itself"],
		["--arr=0-3", "bg sets that itself"],
		["-a 0-3", "bg sets that itself"],
		["-Ha0-3", "bg sets that itself"],
		["--dependency=singleton", "bg sets that itself"],
		["--wrap=true", "bg sets that itself"],
		["job.sh", "is not an option of sbatch"],
		["-p gpu job.sh", "is not an option of sbatch"],
		["-- job.sh", "is not an option of sbatch"],
		["-p 'gpu", "a quote is open"],
		["-p\u0000", "a control character"],
		["x".repeat(100_000), "at most 16384 fit"],
	])("%p are refused", (text, why) => {
		expect(() => parseArguments(text)).toThrow(why);
	});
});

test("an engine that is none, and arguments without an engine, are refused", () => {
	expect(() => checkEngine({ on: "pbs" })).toThrow(
		'--on "pbs": an engine is slurm, or local',
	);
	expect(() => checkEngine({ engineArgs: "-p gpu" })).toThrow("--on slurm");
	expect(checkEngine({ on: "local" })).toBeUndefined();
	expect(checkEngine({ on: "slurm", engineArgs: "-H" })).toEqual({
		name: "slurm",
		args: ["-H"],
	});
});
