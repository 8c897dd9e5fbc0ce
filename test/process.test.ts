import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import * as fc from "fast-check";
import {
	formatHolder,
	identify,
	identifyChild,
	liveness,
	parseHolder,
	self,
	signal,
} from "../lib/process.ts";
import { until } from "./harness.ts";

/** A process to look at; ended by the test. */
function startSleep() {
	const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
	return { child, root: identifyChild(child.pid ?? 0) };
}

test("a process is who it was until it ends, a zombie is gone", async () => {
	const { child, root } = startSleep();
	expect(liveness(root)).toBe("alive");
	child.kill("SIGKILL");
	await until(() => liveness(root) === "gone", "the process gone");
	expect(identify(root.pid)).toBeUndefined();
});

test("a pid that was taken by another process is another identity", () => {
	expect(liveness({ ...self(), start: "1" })).toBe("gone");
	expect(liveness({ ...self(), boot: "before" })).toBe("gone");
	expect(liveness({ ...self(), machine: "other" })).toBe("elsewhere");
});

test("no signal reaches a process whose identity does not match", async () => {
	const { child, root } = startSleep();
	signal({ ...root, start: "1" }, "SIGKILL");
	signal({ ...root, machine: "other" }, "SIGKILL");
	await Bun.sleep(50);
	expect(liveness(root)).toBe("alive");
	signal(root, "SIGKILL");
	await until(() => child.signalCode === "SIGKILL", "its end");
});

test("a holder's name is read back as it was, and nothing else is one", () => {
	fc.assert(
		fc.property(
			fc.record({
				machine: fc.string({ minLength: 1 }),
				boot: fc.string({ minLength: 1 }),
				pid: fc.integer({ min: 1 }),
				start: fc.string({ minLength: 1 }),
			}),
			fc.string(),
			(identity, junk) => {
				const name = formatHolder(identity, "7");
				expect(name).not.toMatch(/[/\0]/);
				expect(parseHolder(name)).toEqual(identity);
				parseHolder(junk);
			},
		),
	);
	for (const name of ["", "1,2", "x,2,3,4,5", ".DS_Store", "1,%zz,3,4,5"])
		expect(parseHolder(name)).toBeUndefined();
});
