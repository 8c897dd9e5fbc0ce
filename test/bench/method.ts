/**
 * The method of the benchmark. Programs are compiled with the same flags and copied with `cp` (two
 * identical executables differed by 15–20 % until both were copied: page cache). Each process is timed
 * from outside, from start to exit; both programs of a ratio alternate in random order for 30 rounds;
 * the median of three runs counts. Everything is in one temporary folder, removed at the end.
 */
import {
	closeSync,
	existsSync,
	mkdirSync,
	mkdtempSync,
	openSync,
	readdirSync,
	readFileSync,
	realpathSync,
	rmSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile } from "../../build.ts";
import { checkLiveness } from "../../lib/process/identity.ts";
import { findTree } from "../../lib/process/process-tree.ts";
import type { Identity, Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";

export const rounds = 30;
const runs = 3;

const dist = join(import.meta.dir, "..", "..", "dist");

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
	/** Once it is aborted, the next call throws. */
	stop: AbortController;
};

export type Call = {
	argv: string[];
	env: Record<string, string>;
	/** Its stdin, a pipe. */
	input?: string;
	/** Run before and after each call, outside of the timing. */
	prepare?: () => Promise<void>;
	settle?: () => Promise<void>;
};

export function openBench(): Bench {
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
		stop: new AbortController(),
	};
}

/** Kills what still runs in the stores and removes the folder. */
export async function closeBench(bench: Bench): Promise<void> {
	for (const store of bench.stores) await endTasks(store);
	rmSync(bench.base, { recursive: true, force: true });
}

/** Creates a store, and the environment of calls that use it. */
export function openStore(
	bench: Bench,
	name: string,
): { store: string; env: Record<string, string> } {
	const store = mkdtempSync(join(bench.base, `${name}-`));
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

/** Runs a program without its output, and returns the time it took in ms. */
export function time(
	{ home, pipe, stop }: Bench,
	{ argv, env, input }: Call,
): number {
	stop.signal.throwIfAborted();
	const stdin = input === undefined ? "ignore" : openPipe(pipe, input);
	try {
		const start = performance.now();
		const { exitCode } = Bun.spawnSync(argv, {
			cwd: home,
			env,
			stdio: [stdin, "ignore", "ignore"],
		});
		const taken = performance.now() - start;
		if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited ${exitCode}`);
		return taken;
	} finally {
		if (typeof stdin === "number") closeSync(stdin);
	}
}

/** Runs a program and returns its output. */
export function read({ home, stop }: Bench, { argv, env }: Call): string {
	stop.signal.throwIfAborted();
	const { exitCode, stdout, stderr } = Bun.spawnSync(argv, { cwd: home, env });
	if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
	return stdout.toString().trim();
}

export type Ratio = { ratio: number; ours: number; theirs: number };

/** Measures the ratio of two calls, first / second: the median of three runs, and both medians in ms. */
export async function compare(
	bench: Bench,
	ours: Call,
	theirs: Call,
): Promise<Ratio> {
	const results: Ratio[] = [];
	for (let run = 0; run < runs; run++) {
		const taken = { ours: [] as number[], theirs: [] as number[] };
		const sides = [
			async () => taken.ours.push(await timeAlone(bench, ours)),
			async () => taken.theirs.push(await timeAlone(bench, theirs)),
		];
		// The first call of each fills the caches and is not counted.
		for (const side of sides) await side();
		taken.ours.length = taken.theirs.length = 0;
		for (let round = 0; round < rounds; round++) {
			if (Math.random() < 0.5) sides.reverse();
			for (const side of sides) await side();
			// Lets this process handle a signal, which synchronous calls prevent.
			await Bun.sleep(0);
		}
		const [a, b] = [median(taken.ours), median(taken.theirs)];
		results.push({ ratio: a / b, ours: a, theirs: b });
	}
	results.sort((a, b) => a.ratio - b.ratio);
	return results[(runs - 1) / 2] as Ratio;
}

export function median(values: readonly number[]): number {
	const sorted = values.toSorted((a, b) => a - b);
	const middle = sorted.length / 2;
	return (
		((sorted[Math.floor(middle)] ?? Number.NaN) +
			(sorted[Math.ceil(middle) - 1] ?? Number.NaN)) /
		2
	);
}

/** Polls until a condition is true. @throws Error that names `what` after 30 s. */
export async function until<T>(
	condition: () => T,
	what: string,
): Promise<NonNullable<T>> {
	const deadline = performance.now() + 30_000;
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

/** Kills every living process of a store's tasks, even if no record names it yet. */
export async function endTasks(store: string): Promise<void> {
	const ids = readRecords(store)
		.filter((task) => !isFinal(task))
		.map(({ id }) => id);
	const find = () => [...livingOf(store), ...ids.flatMap((id) => findTree(id))];
	await until(() => {
		const living = find();
		for (const each of living) end(each.pid);
		return living.length === 0;
	}, `the end of all in ${store}`);
}

// --- internal ---

async function timeAlone(bench: Bench, call: Call): Promise<number> {
	await call.prepare?.();
	const taken = time(bench, call);
	await call.settle?.();
	return taken;
}

function command(...argv: string[]): void {
	const { exitCode, stderr } = Bun.spawnSync(argv);
	if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
}

/** Opens the reading end of a pipe that contains `input`. */
function openPipe(path: string, input: string): number {
	const writer = openSync(path, "r+");
	try {
		const reader = openSync(path, "r");
		writeSync(writer, input);
		return reader;
	} finally {
		closeSync(writer);
	}
}

function end(pid: number): void {
	try {
		process.kill(pid, "SIGKILL");
	} catch {
		// It has exited; the next scan shows that.
	}
}
