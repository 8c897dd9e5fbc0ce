import { expect, test } from "bun:test";
import { spawn } from "node:child_process";
import * as fc from "fast-check";
import {
	checkLiveness,
	claimName,
	identifyChild,
	identifyProcess,
	identifySelf,
	parseClaimName,
} from "../../lib/process/identity.ts";
import { sendSignal } from "../../lib/process/signals.ts";
import { until } from "../tools/harness.ts";

/** A process that the test ends. */
function startSleep() {
	const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
	return { child, root: identifyChild(child.pid ?? 0) };
}

test("a process keeps its identity until it ends; a zombie is gone", async () => {
	const { child, root } = startSleep();
	expect(checkLiveness(root)).toBe("alive");
	child.kill("SIGKILL");
	await until(() => checkLiveness(root) === "gone", "the process gone");
	expect(identifyProcess(root.pid)).toBeUndefined();
});

test("a pid that another process has taken is another identity", () => {
	expect(checkLiveness({ ...identifySelf(), start: "1" })).toBe("gone");
	expect(checkLiveness({ ...identifySelf(), boot: "before" })).toBe("gone");
	expect(checkLiveness({ ...identifySelf(), machine: "other" })).toBe(
		"elsewhere",
	);
});

test("a process with another identity gets no signal", async () => {
	const { child, root } = startSleep();
	sendSignal({ ...root, start: "1" }, "SIGKILL");
	sendSignal({ ...root, machine: "other" }, "SIGKILL");
	await Bun.sleep(50);
	expect(checkLiveness(root)).toBe("alive");
	sendSignal(root, "SIGKILL");
	await until(() => child.signalCode === "SIGKILL", "its end");
});

test("the name of a claim is parsed back to its identity; any other name is refused", () => {
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
				const name = claimName(identity, "7");
				expect(name).not.toMatch(/[/\0]/);
				expect(parseClaimName(name)).toEqual(identity);
				parseClaimName(junk);
			},
		),
	);
	for (const name of ["", "1,2", "x,2,3,4,5", ".DS_Store", "1,%zz,3,4,5"])
		expect(parseClaimName(name)).toBeUndefined();
});
