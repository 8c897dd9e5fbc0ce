/** `bg install` for the real client, with a program that notes each of its calls. */
import { expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bgProgram, type Lab, quote } from "./droid-lab.ts";

export const kinds = ["user", "project", "plugin"] as const;

/** A call of the installed program: its verb, and in a hook the event and the tool. */
export type Call = { verb: string; event: string; tool: string };

/** Installs bg for all droids of a test. Returns what lists the calls so far. */
export async function install(
	lab: Lab,
	kind: (typeof kinds)[number],
): Promise<() => Call[]> {
	const market = join(lab.home, "market");
	const args = kind === "plugin" ? ["--plugin", market] : [`--${kind}`];
	// The client looks for a project's hooks in a checkout.
	Bun.spawnSync(["git", "init", "-q"], { cwd: lab.project });
	const { files, next } = (await lab.bg(["install", ...args])).json();
	const log = join(lab.home, "calls");
	const bg = bgProgram.map(quote).join(" ");
	writeFileSync(
		files[0].path,
		`#!/bin/sh\n# written by bg install\necho "$1 $hook_event_name $tool_name" >>${quote(log)}\nexec ${bg} "$@"\n`,
	);
	if (kind === "plugin") runAll(lab, next);
	return () => {
		if (!existsSync(log)) return [];
		const lines = readFileSync(log, "utf8").trimEnd().split("\n");
		return lines.map((line) => {
			const [verb = "", event = "", tool = ""] = line.split(" ");
			return { verb, event, tool };
		});
	};
}

// --- internal ---

/** Runs the commands that make the client install a plugin. */
function runAll(lab: Lab, commands: string[]): void {
	const author = ["AUTHOR", "COMMITTER"].flatMap((role) => [
		[`GIT_${role}_NAME`, "x"],
		[`GIT_${role}_EMAIL`, "x@x"],
	]);
	const env = { ...lab.env, ...Object.fromEntries(author) };
	for (const command of commands) {
		const done = Bun.spawnSync(["sh", "-c", command], { env });
		expect(`${command}: ${done.exitCode} ${done.stderr}`).toStartWith(
			`${command}: 0 `,
		);
	}
}
