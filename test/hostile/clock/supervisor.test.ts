/**
 * The clock is set while tasks run, by an hour or a day, forward or back. What waits for a time span goes by
 * the monotonic clock: a timeout, the delay before a retry, the limit of `wait`. Each form has timers of its own.
 */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../../lib/task/states.ts";
import { day, hour, offsetOf, sandboxWithClock } from "../../tools/clock.ts";
import { concurrentTest } from "../../tools/concurrent.ts";
import { linesOf, root, type Sandbox, until } from "../../tools/harness.ts";

const rows = [
	["dist/bg", day],
	["bun dist/bg.mjs", -hour],
	["deno run -A dist/bg.mjs", hour],
	["node dist/bg.mjs", -day],
] as const;

const argvOf = (form: string) =>
	form.replace("dist/", join(root, "dist/")).split(" ");

const gate = "until test -e go; do sleep 0.2; done";

/** The record of a task once it has ended. */
const endOf = (box: Sandbox, id: string) =>
	until(
		() => (isFinal(box.record(id)) ? box.record(id) : undefined),
		"its end",
		() => JSON.stringify(box.record(id)),
		50_000,
	);

concurrentTest.each(rows)(
	"%s: a timeout, a retry and wait come in their time while the clock moves by %d ms and back",
	async (form, jump) => {
		const { box, clock, bg, script } = await sandboxWithClock({
			argv: argvOf(form),
		});
		const untimed = await script(gate);
		// The clock moves at the end of the first attempt, and in the delay before the second.
		const retried = await script(
			`read now rest </proc/uptime; echo "$now" >>starts
			if test "$BG_ATTEMPT" = 2; then until test -e moved; do sleep 0.2; done; exit; fi
			(sleep 0.5; ${clock.moveLine(-jump)}; : >moved) >/dev/null 2>&1 &
			${clock.moveLine(jump)}; exit 1`,
			"--retries",
			"1",
		);
		const waitsSince = performance.now();
		const waiting = bg(["wait", untimed, "--timeout", "2s"]).then(
			({ code }) => ({ code, took: performance.now() - waitsSince }),
		);
		const { attempts, status, completed_at } = await endOf(box, retried);
		expect(status).toBe("completed");
		expect([jump, -jump]).toContain(offsetOf(attempts?.[0]?.completed_at));
		expect(offsetOf(completed_at)).toBe(-jump);
		const [first = 0, second = 0] = linesOf(join(box.home, "starts")).map(
			Number,
		);
		expect(second - first).toBeGreaterThanOrEqual(0.98);

		const since = performance.now();
		// The task moves the clock, so it moves while the supervisor counts.
		const timed = await script(
			`${clock.moveLine(jump)}; exec sleep 600`,
			"--timeout",
			"10s",
		);
		const ended = await endOf(box, timed);
		expect(performance.now() - since).toBeGreaterThanOrEqual(10_000);
		expect(ended).toMatchObject({
			status: "error",
			error: "timed out after 10s",
		});
		expect(offsetOf(ended.completed_at)).toBe(jump);

		const waited = await waiting;
		expect(waited.code).toBe(124);
		expect(waited.took).toBeGreaterThanOrEqual(2000);
		expect(box.record(untimed).status).toBe("running");
		writeFileSync(join(box.home, "go"), "");
		expect((await endOf(box, untimed)).status).toBe("completed");
	},
);
