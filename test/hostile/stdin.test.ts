/** The input of a command (`--stdin keep`) in a broken store, and the process that keeps it open. */
import { expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { concurrentTest } from "../tools/concurrent.ts";
import { failing } from "../tools/faults.ts";
import {
	isAlive,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { running, script } from "../tools/scripts.ts";

/** The keeper of a task's input. */
function findKeeper(id: string): number {
	const { stdout } = Bun.spawnSync(["pgrep", "-f", `bg: input of ${id}`]);
	return Number(stdout.toString().trim());
}

async function start(box: Sandbox): Promise<{ id: string; keeper: number }> {
	const id = await script(box, ["--stdin", "keep"], "exec cat");
	await running(box, id);
	return { id, keeper: findKeeper(id) };
}

concurrentTest(
	"a keeper ends with its task, also if the store was deleted",
	async () => {
		const box = sandbox();
		const { id, keeper } = await start(box);
		expect(isAlive(keeper)).toBe(true);
		const { pid = 0 } = box.record(id);
		rmSync(box.dir, { recursive: true });
		process.kill(pid);
		await until(() => !isAlive(keeper), "the keeper's end");
	},
);

concurrentTest(
	"an input that two processes end at once is ended for both",
	async () => {
		const box = sandbox();
		const { id } = await start(box);
		// The other one was first: the keeper has exited.
		const path = join(box.dir, ".input", `${id}.end`);
		const late = failing({ calls: "write", path, error: "EPIPE" });
		const answer = await box.bg(["send", id, "--eof"], {
			argv: [...late, "bun", join(root, "bg.ts")],
		});
		expect([answer.error, answer.code]).toEqual(["", 0]);
		await box.bg(["cancel", id]);
	},
);
