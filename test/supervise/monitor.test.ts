import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { root, sandbox } from "../tools/harness.ts";

const hour = 3_600_000;

/** What a runtime loads first: a second later its clock has been set. */
const setClock = (shift: number) => `
const now = Date.now;
const System = Date;
const shift = () => (performance.now() > 1000 ? ${shift} : 0);
globalThis.Date = class extends System {
	constructor(...given) {
		super(...(given.length ? given : [now() + shift()]));
	}
	static now = () => now() + shift();
};`;

concurrentTest.each([
	["an hour ahead", hour],
	["an hour back", -hour],
])(
	"a clock that is set %s neither fires a time limit nor delays it",
	async (_, shift) => {
		const box = sandbox();
		const clock = join(box.home, "clock.ts");
		writeFileSync(clock, setClock(shift));
		const env = { BUN_OPTIONS: `--preload=${clock}` };
		const argv = ["bun", join(root, "bg.ts")];
		const words = ["run", "-q", "--timeout", "4s", "x", "--", "sleep", "600"];
		const start = performance.now();
		const { stdout } = await box.bg(words, { env, argv });
		const task = await box.untilTask(
			stdout.trim(),
			({ status }) => status === "error",
			"its time to be over",
		);
		expect(performance.now() - start).toBeGreaterThan(3900);
		expect(task).toMatchObject({ reason: "timeout" });
		// The supervisor did see the other time.
		const [from, to] = [task.started_at, task.completed_at].map((each) =>
			Date.parse(each ?? ""),
		);
		expect(Math.abs((to ?? 0) - (from ?? 0))).toBeGreaterThan(hour / 2);
	},
);
