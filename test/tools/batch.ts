import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { type Sandbox, standIn } from "./harness.ts";

export const toLines = (lines: readonly object[]) =>
	lines.map((line) => `${JSON.stringify(line)}\n`).join("");

export const command = (name: string, script: string, more: object = {}) => ({
	name,
	description: name,
	command: ["sh", "-c", script],
	...more,
});

/** Launches a batch from standard input. */
export const launch = (
	box: Sandbox,
	lines: readonly object[],
	args: string[] = [],
) =>
	box.bg(["launch", "--batch", "-", ...args], {
		input: toLines(lines),
		env: { BG_DROID: standIn },
	});

/** The tasks in the answer of a batch. */
// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what a test is about
export const answersIn = (stdout: string): any[] => JSON.parse(stdout).tasks;

/** The files of a store in folders that stand for tasks, and its records. */
export function filesOf(box: Pick<Sandbox, "dir">): string[] {
	if (!existsSync(box.dir)) return [];
	return readdirSync(box.dir, { recursive: true, withFileTypes: true })
		.filter((each) => each.isFile())
		.map((each) => join(each.parentPath, each.name).slice(box.dir.length + 1))
		.filter((name) =>
			/^(bg_.*\.json$|\.(queue|slots|sessions|notices|due|prompts|on-end)\/[^.])/.test(
				name,
			),
		);
}
