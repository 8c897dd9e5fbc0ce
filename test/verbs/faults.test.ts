import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import { program, sandbox } from "../tools/harness.ts";

test("a launcher that ignores SIGCHLD learns the exit code of its task", async () => {
	const box = sandbox();
	const argv = ["env", "--ignore-signal=CHLD", ...program];
	for (const code of [0, 3]) {
		const id = await box.run(["sh", "-c", `exit ${code}`], { argv });
		expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
			status: code ? "error" : "completed",
			reason: "exit",
			exit_code: code,
		});
	}
});

test("an end that is larger than a file may be is recorded without its result", async () => {
	const box = sandbox();
	const go = join(box.home, "go");
	const script = `until [ -e ${go} ]; do sleep 0.2; done; head -c 16000 /dev/zero | tr '\\0' x; exit 3`;
	const id = await box.run(["sh", "-c", script]);
	const task = await box.untilTask(id, ({ process }) => process, "a start");
	const { exitCode } = Bun.spawnSync([
		"prlimit",
		`--pid=${task.supervisor?.pid}`,
		"--fsize=4096:",
	]);
	expect(exitCode).toBe(0);
	writeFileSync(go, "");
	expect(await box.untilTask(id, isFinal, "an end")).toMatchObject({
		status: "error",
		exit_code: 3,
		result: "(not recorded: ulimit -f)",
	});
	const { stdout } = await box.bg(["output", id, "--raw"]);
	expect(stdout).toHaveLength(16_000);
});
