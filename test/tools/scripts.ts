/** Shell scripts as tasks, for tests of limits, retries and pauses. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { processesWith, type Sandbox } from "./harness.ts";

/** Launches a shell script with flags and returns its id. */
export async function script(
	box: Sandbox,
	flags: string[],
	text: string,
	env = {},
): Promise<string> {
	const words = ["run", "-q", ...flags, "d", "--", "sh", "-c", text];
	const { stdout, stderr } = await box.bg(words, { env });
	if (stderr) throw new Error(stderr);
	return stdout.trim();
}

/** The record of a task after its end. */
export async function endOf(box: Sandbox, id: string) {
	await box.bg(["wait", id]);
	return box.record(id);
}

export const outputOf = (box: Sandbox, name: string) =>
	readFileSync(join(box.dir, `${name}.out`), "utf8");

export const treeOf = (id: string) => processesWith(`BG_TASK_ID=${id}`);

export const running = (box: Sandbox, id: string) =>
	box.untilTask(id, ({ process }) => process, "its process");
