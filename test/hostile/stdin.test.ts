/** The input of a command (`--stdin keep`) in a broken store, and the process that keeps it open. */
import { expect } from "bun:test";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identifySelf } from "../../lib/process/identity.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { failing } from "../tools/faults.ts";
import {
	isAlive,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
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

concurrentTest(
	"the end of a lost task is recorded, whatever stands where its input, prompt and messages were",
	async () => {
		const box = sandbox();
		const gone = { ...identifySelf(), start: "1" };
		const lost = {
			status: "running",
			supervisor: gone,
			process: gone,
		} as const;
		const ids = [
			addTask(box, { ...lost, stdin: "keep" }),
			addTask(box, { ...lost, kind: "droid" }),
		];
		const [command = "", droid = ""] = ids;
		const strange = [
			join(box.dir, ".input", command, "x"),
			join(box.dir, ".prompts", droid, "x"),
		];
		for (const path of strange) mkdirSync(path, { recursive: true });
		const messages = join(box.dir, ".messages");
		mkdirSync(messages, { mode: 0o700, recursive: true });
		writeFileSync(join(messages, droid), "");
		const list = await box.bg(["list"]);
		expect([list.code, list.error]).toEqual([0, ""]);
		for (const id of ids) expect(box.record(id).reason).toBe("lost");
		const log = readFileSync(join(box.dir, ".supervisor.log"), "utf8");
		for (const id of ids) expect(log).toContain(id);
	},
);
