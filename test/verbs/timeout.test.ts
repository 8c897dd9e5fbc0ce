import { describe, expect } from "bun:test";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { isAlive, sandbox, until } from "../tools/harness.ts";
import { endOf, outputOf, running, script, treeOf } from "../tools/scripts.ts";

describe("--timeout", () => {
	concurrentTest(
		"stops the whole tree, with force what takes no notice, and keeps what it wrote",
		async () => {
			const box = sandbox();
			const deaf =
				'trap "" TERM; echo $$ >deaf; while :; do echo deaf; sleep 0.2; done';
			const id = await script(
				box,
				["--timeout", "10s"],
				`setsid sh -c '${deaf}' & until test -s deaf; do sleep 0.2; done; sleep 60`,
			);
			const task = await endOf(box, id);
			expect(task).toMatchObject({
				status: "error",
				reason: "timeout",
				error: "timed out after 10s",
			});
			const pid = Number(readFileSync(join(box.home, "deaf"), "utf8"));
			expect([pid > 0, isAlive(pid), treeOf(id)]).toEqual([true, false, []]);
			expect(outputOf(box, id)).toContain("deaf\n");
			const took =
				Date.parse(task.completed_at ?? "") - Date.parse(task.started_at ?? "");
			expect(took).toBeGreaterThan(14_900);
		},
	);

	concurrentTest("does not count the time a task is paused", async () => {
		const box = sandbox();
		const id = await script(
			box,
			["--timeout", "10s"],
			"until test -e go; do sleep 0.2; done",
		);
		await running(box, id);
		await box.bg(["pause", id]);
		// Only time can show that nothing happens: a second more than the limit.
		await Bun.sleep(11_000);
		expect(box.record(id)).toMatchObject({ status: "running" });
		writeFileSync(join(box.home, "go"), "");
		await box.bg(["unpause", id]);
		expect(await endOf(box, id)).toMatchObject({ status: "completed" });
	});

	concurrentTest("does not count the time between two attempts", async () => {
		const box = sandbox();
		const flags = ["--retries", "3", "--timeout", "5s"];
		const id = await script(box, flags, "exit 1");
		await box.untilTask(id, ({ attempt }) => attempt === 4, "a long pause");
		await box.bg(["pause", id]);
		await box.bg(["unpause", id]);
		expect(await endOf(box, id)).toMatchObject({ reason: "exit", attempt: 4 });
	});

	concurrentTest.each(["30d", "99999999d"])(
		"of %s does not fire at once",
		async (given) => {
			const box = sandbox();
			const id = await script(box, ["--timeout", given], "sleep 1.5");
			expect(await endOf(box, id)).toMatchObject({ status: "completed" });
		},
	);
});

concurrentTest(
	"time in which nobody could look, as on a sleeping machine, does not count",
	async () => {
		const box = sandbox();
		const id = await script(box, ["--timeout", "10s"], "sleep 60");
		const { supervisor } = await running(box, id);
		const pid = supervisor?.pid ?? 0;
		process.kill(pid, "SIGSTOP");
		// Longer than the limit; one poll counts 2 s of it at most.
		await Bun.sleep(10_500);
		process.kill(pid, "SIGCONT");
		// A supervisor that counted all of it would stop the task at its next poll.
		await Bun.sleep(500);
		expect(box.record(id).status).toBe("running");
		expect(await endOf(box, id)).toMatchObject({ reason: "timeout" });
	},
);

concurrentTest(
	"a limit holds under the supervisor that a verb starts in place of a dead one",
	async () => {
		const box = sandbox();
		const id = await script(box, ["--timeout", "4s"], "sleep 60");
		const { supervisor } = await running(box, id);
		const pid = supervisor?.pid ?? 0;
		process.kill(pid, "SIGKILL");
		await until(() => !isAlive(pid), "its death");
		// A variable that a launch would refuse does not concern it.
		await box.bg(["list"], { env: { BG_MAX_RUNNING: "no" } });
		const end = await box.untilTask(id, isFinal, "an end");
		expect(end).toMatchObject({ reason: "timeout" });
	},
);

concurrentTest(
	"a limit holds though the record could not be read for a while",
	async () => {
		const box = sandbox();
		const id = await script(box, ["--timeout", "10s"], "sleep 60");
		await running(box, id);
		const path = join(box.dir, `${id}.json`);
		renameSync(path, `${path}.away`);
		await Bun.sleep(1500);
		renameSync(`${path}.away`, path);
		expect(await endOf(box, id)).toMatchObject({ reason: "timeout" });
	},
);
