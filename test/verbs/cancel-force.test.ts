import { expect } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	isAlive,
	program,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { treeOf } from "../tools/scripts.ts";

/** Runs a command and waits until its process runs. */
async function running(box: Sandbox, command: string[], options = {}) {
	const id = await box.run(command, options);
	return box.untilTask(id, ({ process }) => process, "its process");
}

concurrentTest("what ignores SIGTERM is killed after 5 s", async () => {
	const box = sandbox();
	const { id } = await running(box, [
		"sh",
		"-c",
		"trap '' TERM; echo ready; while :; do sleep 0.2; done",
	]);
	await until(
		async () => (await box.bg(["output", id])).stdout === "ready\n",
		"the trap",
	);
	expect((await box.bg(["cancel", id])).code).toBe(0);
	expect(box.record(id)).toMatchObject({
		status: "cancelled",
		signal: "SIGKILL",
	});
});

concurrentTest.each(["SIGKILL", "SIGSTOP"] as const)(
	"a supervisor that got %s does not keep its task from being cancelled",
	async (signal) => {
		const box = sandbox();
		const { id, supervisor } = await running(box, ["sleep", "60"]);
		const pid = supervisor?.pid ?? 0;
		// Stopped with the lock of the record in its hand, it would be told as its holder.
		const locks = join(box.dir, ".locks");
		await until(() => readdirSync(locks).length === 0, "the lock given back");
		process.kill(pid, signal);
		await until(() => signal === "SIGSTOP" || !isAlive(pid), "its death");
		expect((await box.bg(["cancel", id])).code).toBe(0);
		expect(box.record(id).status).toBe("cancelled");
		if (signal === "SIGSTOP") process.kill(pid, "SIGCONT");
		await until(() => box.alive().length === 0, "nothing of it alive");
	},
);

concurrentTest(
	"complete does not overtake a cancel that is under way",
	async () => {
		const box = sandbox();
		const script = "trap '' TERM; echo ready; while :; do sleep 0.2; done";
		const { id } = await running(box, ["sh", "-c", script]);
		await until(
			async () => (await box.bg(["output", id])).stdout === "ready\n",
			"the trap",
		);
		const cancelling = box.bg(["cancel", id]);
		await box.untilTask(id, ({ stop }) => stop, "the intent");
		const complete = await box.bg(["complete", id, "fine"]);
		expect(complete.code).toBe(1);
		expect(complete.json()).toMatchObject({ completed: false });
		expect((await cancelling).json().tasks).toMatchObject([
			{ cancelled: true },
		]);
		expect(treeOf(id)).toEqual([]);
	},
);

concurrentTest(
	"a canceller killed halfway leaves nothing half done",
	async () => {
		const box = sandbox();
		const { id } = await running(box, [
			"sh",
			"-c",
			"trap '' TERM; while :; do sleep 0.2; done",
		]);
		const canceller = Bun.spawn([...program, "cancel", id], {
			cwd: box.home,
			env: box.env,
			stdout: "ignore",
		});
		await box.untilTask(id, ({ stop }) => stop, "the intent");
		canceller.kill("SIGKILL");
		const end = await box.untilTask(
			id,
			({ completed_at }) => completed_at,
			"the end",
		);
		expect(end).toMatchObject({ status: "cancelled", reason: "cancel" });
		await until(() => box.alive().length === 0, "nothing of it alive");
	},
);
