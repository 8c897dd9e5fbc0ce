/**
 * What all rows use: the copied programs, a temporary folder with a home and a store for each row, the
 * records and the processes of a store, and waiting. All of it is removed at the end.
 */
import {
	existsSync,
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	realpathSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile } from "../../build.ts";
import { checkLiveness } from "../../lib/process/identity.ts";
import { findTree } from "../../lib/process/process-tree.ts";
import { takeSnapshot } from "../../lib/process/snapshot.ts";
import type { Identity, Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { listStoreProcesses } from "../tools/processes.ts";

const dist = join(import.meta.dir, "..", "..", "dist");

/** How much the rows about the queue measure. */
export type Size = {
	/** Ten times fewer tasks and one round: shows that a row works. Its figures do not count. */
	isSmall: boolean;
	/** How long the CPU time of waiting launches is measured. */
	seconds: number;
};

/** One temporary folder: the programs, a home, and a store for each row. */
export type Bench = {
	base: string;
	home: string;
	/** A copy of the product's executable. */
	bg: string;
	/** A copy of the product's script. */
	script: string;
	/** A named pipe, because Bun passes input to a child as a file in memory. */
	pipe: string;
	stores: string[];
	size: Size;
	/** Once it is aborted, the next call throws. */
	stop: AbortController;
};

/** Copies the programs into a new folder. @throws if they were not built. */
export function openBench(size: Size): Bench {
	for (const name of ["bg", "bg.mjs"])
		if (!existsSync(join(dist, name)))
			throw new Error(`no dist/${name}: npm run build`);
	const base = realpathSync(mkdtempSync(join(tmpdir(), "bg-bench-")));
	const home = join(base, "home");
	mkdirSync(home);
	const bg = join(base, "bg");
	const script = join(base, "bg.mjs");
	command("cp", join(dist, "bg"), bg);
	command("cp", join(dist, "bg.mjs"), script);
	const pipe = join(base, "pipe");
	command("mkfifo", pipe);
	return {
		base,
		home,
		bg,
		script,
		pipe,
		stores: [],
		size,
		stop: new AbortController(),
	};
}

/** Kills what still runs in the stores and removes all folders. */
export async function closeBench(bench: Bench): Promise<void> {
	for (const store of bench.stores) {
		await endTasks(store);
		rmSync(store, { recursive: true, force: true });
	}
	rmSync(bench.base, { recursive: true, force: true });
}

/** Creates a store below a folder, and the environment of calls that use it. */
export function openStore(
	bench: Bench,
	name: string,
	folder = bench.base,
): { store: string; env: Record<string, string> } {
	const store = mkdtempSync(join(folder, `bg-bench-${name}-`));
	bench.stores.push(store);
	const { PATH = "" } = process.env;
	return { store, env: { PATH, HOME: bench.home, BG_DIR: store } };
}

/** Compiles a program of one file with the flags of bg. Returns its path. */
export async function compileSource(
	{ base }: Bench,
	name: string,
	source: string,
): Promise<string> {
	const entry = join(base, `${name}.ts`);
	writeFileSync(entry, source);
	await compile(entry, join(base, name));
	return join(base, name);
}

/** Polls until a condition is true. @throws Error that names `what` after a time, in ms. */
export async function until<T>(
	condition: () => T,
	what: string,
	timeoutMs = 30_000,
): Promise<NonNullable<T>> {
	const deadline = performance.now() + timeoutMs;
	for (;;) {
		const answer = condition();
		if (answer) return answer;
		if (performance.now() > deadline)
			throw new Error(`waited in vain for ${what}`);
		await Bun.sleep(5);
	}
}

/** Sleeps, in ms. @throws if the benchmark was stopped. */
export async function pause({ stop }: Bench, ms: number): Promise<void> {
	await Bun.sleep(ms);
	stop.signal.throwIfAborted();
}

/** Reads the records of a store. */
export function readRecords(store: string): Task[] {
	return readdirSync(store)
		.filter((name) => name.endsWith(".json"))
		.map((name) => JSON.parse(readFileSync(join(store, name), "utf8")));
}

/** The living processes that the records of a store name. */
export function livingOf(store: string): Identity[] {
	return readRecords(store)
		.flatMap(({ supervisor, process }) => [supervisor, process])
		.filter(
			(each): each is Identity =>
				each !== undefined && checkLiveness(each) === "alive",
		);
}

/** Kills every living process of a store, even if no record names it. */
export async function endTasks(store: string): Promise<void> {
	const ids = readRecords(store)
		.filter((task) => !isFinal(task))
		.map(({ id }) => id);
	const isLinux = process.platform === "linux";
	const find = () => {
		const snapshot = takeSnapshot();
		return [
			...livingOf(store),
			...ids.flatMap((id) => findTree(id, undefined, { snapshot })),
			...(isLinux ? listStoreProcesses(store) : []),
		];
	};
	await until(() => {
		const living = find();
		for (const each of living) end(each.pid);
		return living.length === 0;
	}, `the end of all in ${store}`);
}

// --- internal ---

/** Runs a program. @throws Error with what it said. */
function command(...argv: string[]): void {
	const { exitCode, stderr } = Bun.spawnSync(argv);
	if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

/** Kills a process that may have exited. */
function end(pid: number): void {
	try {
		process.kill(pid, "SIGKILL");
	} catch {
		// It has exited; the next scan shows that.
	}
}
