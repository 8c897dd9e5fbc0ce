/** What the examples of the help are tried in: a store, a project and a few tasks. */
import { expect } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../../lib/store/directory.ts";
import { createTask } from "../../../lib/store/records.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { type Answer, executable, root } from "../../tools/harness.ts";
import { type Trees, treeSandbox } from "../../tools/worktrees.ts";

/** A store and a project, in which a person types an example. */
export type World = Trees & {
	/** Launches a droid that says something, and waits for it. */
	say: (words?: string) => Promise<Task>;
	/** Starts a command that lasts; ended with the test. */
	last: (...flags: string[]) => Promise<string>;
	/** Starts a command whose standard input is kept open. While it is queued, `bg send` is refused. */
	keep: (...command: string[]) => Promise<string>;
	newest: () => Promise<Task>;
};

export type Example = {
	before?: (world: World) => unknown;
	/** While it runs. */
	during?: (world: World) => unknown;
	/** Of what is printed, and of what is there afterwards. */
	check: (answer: Answer, world: World) => unknown;
	/** The shell that it is for, if not `sh`. */
	shell?: string;
	/** What is typed into a terminal in which it runs; `q` leaves. */
	keys?: string;
};

export const oldId = "bg_19f0c2a4b5c6d7e8";

/** A finished task of long ago, with an output. */
export function addOld(world: World, fields: Partial<Task> = {}): void {
	const store = openStore({ dir: world.dir, write: true });
	const at = "2020-01-01T00:00:00.000Z";
	createTask(store, {
		...{ id: oldId, kind: "command", description: "old", status: "completed" },
		...{ command: ["true"], queued_at: at, started_at: at, completed_at: at },
		...fields,
	});
	writeFileSync(join(world.dir, `${oldId}.out`), "an old line\n", {
		mode: 0o600,
	});
}

/** Checks what is printed. */
export const prints =
	(...wanted: (string | RegExp)[]) =>
	({ stdout }: Answer) => {
		for (const each of wanted) expect(stdout).toMatch(each);
	};

/** Checks the status of the newest task. */
export const finished = (status: string) => async (_: Answer, world: World) =>
	expect(await world.newest()).toMatchObject({ status });

export function openWorld(): World {
	const box = treeSandbox();
	const bin = join(box.home, "bin");
	mkdirSync(bin);
	// Only what was built can be installed.
	symlinkSync(join(root, "dist", "bg"), join(bin, "bg"));
	for (const name of ["make", "npm"])
		executable(bin, name, `#!/bin/sh\necho ${name} "$@"\n`);
	box.env.PATH = `${bin}:${box.env.PATH}`;
	const bg: Trees["bg"] = (args, options) =>
		box.bg(args, { argv: ["env", "bg"], ...options });
	const id = async (args: string[]) => {
		const { stdout, error } = await bg(args);
		if (!stdout) throw new Error(error);
		return stdout.trim();
	};
	const start = async (...words: string[]) => {
		const started = await id(["run", "-q", ...words]);
		await box.untilTask(started, ({ pid }) => pid, "a start");
		return started;
	};
	return {
		...box,
		bg,
		say: async (words = "Done.") => {
			const launched = await id(["launch", "-q", "d", `SAY[${words}]`]);
			await bg(["wait", launched]);
			return box.record(launched);
		},
		last: (...flags) => start(...flags, "a long one", "--", "sleep", "600"),
		keep: (...command) => start("--stdin", "keep", "d", "--", ...command),
		newest: async () => (await bg(["status", "@last", "--full"])).json(),
	};
}
