/**
 * How the benchmark measures: programs compiled with the product's flags and copied with `cp` (two
 * identical executables differed by 15–20 % until both were copied: page cache), each process timed
 * from outside and whole, both programs of a ratio in random order, 30 rounds, and of three runs
 * the median. What it starts lives in one temporary folder and is gone when it closes.
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
	/** A named pipe: what Bun itself gives a child to read is a file in memory. */
	pipe: string;
	stores: string[];
	/** Aborted by whoever wants it to end: the next call throws. */
	stop: AbortController;
};

export type Call = {
	argv: string[];
	env: Record<string, string>;
	/** What it reads through a pipe. */
	input?: string;
	/** Run before and after each call, and not timed. */
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

/** Ends what still runs in the stores and removes the folder. */
export async function closeBench(bench: Bench): Promise<void> {
	for (const store of bench.stores) await endTasks(store);
	rmSync(bench.base, { recursive: true, force: true });
}

/** A fresh store, and the environment of calls that use it. */
export function openStore(
	bench: Bench,
	name: string,
): { store: string; env: Record<string, string> } {
	const store = mkdtempSync(join(bench.base, `${name}-`));
	bench.stores.push(store);
	const { PATH = "" } = process.env;
	return { store, env: { PATH, HOME: bench.home, BG_DIR: store } };
}

/**
 * Compiles a program of one file as the product is compiled.
 * @returns its path.
 */
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

/** Calls a program to its end, its output discarded, and returns the time it took in ms. */
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

/** Calls a program to its end and returns what it wrote. */
export function read({ home, stop }: Bench, { argv, env }: Call): string {
	stop.signal.throwIfAborted();
	const { exitCode, stdout, stderr } = Bun.spawnSync(argv, { cwd: home, env });
	if (exitCode !== 0) throw new Error(`${argv.join(" ")}: ${stderr}`);
	return stdout.toString().trim();
}

export type Ratio = { ratio: number; ours: number; theirs: number };

/**
 * How many times as long our call takes as theirs; of three runs the median one, with the medians
 * of both in ms.
 */
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
		// The first call of each fills the caches and does not count.
		for (const side of sides) await side();
		taken.ours.length = taken.theirs.length = 0;
		for (let round = 0; round < rounds; round++) {
			if (Math.random() < 0.5) sides.reverse();
			for (const side of sides) await side();
			// Lets a signal in: calls that are waited for keep it out.
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

/** @throws Error that says what was waited for. */
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

/** Lets time pass, in ms. */
export async function pause({ stop }: Bench, ms: number): Promise<void> {
	await Bun.sleep(ms);
	stop.signal.throwIfAborted();
}

/** The records of a store as they stand on disk. */
export function readRecords(store: string): Task[] {
	return readdirSync(store)
		.filter((name) => name.endsWith(".json"))
		.map((name) => JSON.parse(readFileSync(join(store, name), "utf8")));
}

/** The processes of a store's tasks that live: supervisors, and what they run. */
export function livingOf(store: string): Identity[] {
	return readRecords(store)
		.flatMap(({ supervisor, process }) => [supervisor, process])
		.filter(
			(each): each is Identity =>
				each !== undefined && checkLiveness(each) === "alive",
		);
}

/** Ends what lives of a store's tasks, also where no record names it yet. */
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

/** The reading end of a pipe that holds `input` and nothing after it. */
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
		// It ended meanwhile; the next look tells.
	}
}
