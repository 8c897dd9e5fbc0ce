/**
 * The plan of an upgrade: the builds of an older bg and of this one alternate over one store, with single
 * launches, batches, tasks that come after others, priorities and cancels. Nothing is killed.
 */
import { existsSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import {
	type Action,
	type Form,
	type Plan,
	sessions,
	type TaskPlan,
} from "./plan.ts";

const root = join(import.meta.dir, "..", "..");

/** Older commits, by what waits for a place in them. */
export const formerCommits = {
	"supervisors that poll": "1cb3093820547dc074bdeec0fee6cbc553141be5",
	"parked shells": "f7bb056221579c9d18757632f029da2bbc2135c1",
};

/**
 * Builds an older bg in a folder.
 * @returns its executable; undefined if this clone does not have the commit.
 */
export async function buildFormer(
	folder: string,
	formerCommit: string,
): Promise<string | undefined> {
	const git = (...args: string[]) =>
		Bun.spawnSync(["git", "-C", root, ...args]);
	if (git("cat-file", "-e", `${formerCommit}^{commit}`).exitCode !== 0)
		return undefined;
	mkdirSync(folder);
	const archive = join(folder, "source.tar");
	const steps = [
		["git", "-C", root, "archive", "-o", archive, formerCommit],
		["tar", "-xf", archive, "-C", folder],
		["bun", "build.ts"],
	];
	symlinkSync(join(root, "node_modules"), join(folder, "node_modules"));
	for (const argv of steps) {
		const child = Bun.spawnSync(argv, { cwd: folder });
		if (child.exitCode !== 0) throw new Error(`${argv}: ${child.stderr}`);
	}
	const program = join(folder, "dist", "bg");
	if (!existsSync(program)) throw new Error(`${program} was not built`);
	return program;
}

/** How many tasks a batch has. */
const batchSize = 5;

/** Plans about so many tasks. Every other call is one of the older bg. */
export function planUpgrade(seed: number, tasks: number, fire: number): Plan {
	const calls: Action["call"][] = [];
	let count = 0;
	const task = (): TaskPlan => {
		const n = count++;
		return {
			name: `task ${n}`,
			kind: "command",
			session: sessions[n % sessions.length] ?? "",
			seconds: (1 + (n % 4)) / 10,
			code: n % 11 === 10 ? 3 : 0,
			retries: n % 22 === 10 ? 1 : 0,
			after: n % 6 === 5 ? [n * 7919] : [],
			afterAny: n % 12 === 5,
			onEnd: n % 10 === 0,
			priority: n % 3,
			byFile: false,
		};
	};
	while (count < tasks) {
		const n = calls.length;
		const of = [n * 7919];
		const asks = { of, any: false, collects: false };
		if (n % 9 === 4)
			calls.push({
				verb: "batch",
				tasks: Array.from({ length: batchSize }, task),
			});
		else if (n % 12 === 7) calls.push({ verb: "cancel", ...asks });
		else if (n % 30 === 8) calls.push({ verb: "wait", ...asks });
		else if (n % 30 === 18) calls.push({ verb: "list" });
		else calls.push({ verb: "run", task: task() });
	}
	const actions = calls.map((call, index): Action => {
		const form: Form = index % 2 ? "executable" : "former";
		return { at: Math.round((index * fire) / calls.length), form, call };
	});
	return { seed, fire, actions, kills: [], maxRunning: 3 };
}
