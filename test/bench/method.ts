/**
 * The method of the benchmark. Programs are compiled with the same flags and copied with `cp` (two
 * identical executables differed by 15–20 % until both were copied: page cache). Each process is timed
 * from outside, from start to exit; both programs of a ratio alternate in random order for 30 rounds;
 * the median of three runs counts. Everything is in one temporary folder, removed at the end.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Bench } from "./setup.ts";

export const rounds = 30;
const runs = 3;

export type Call = {
	argv: string[];
	env: Record<string, string>;
	/** Its stdin, a pipe. */
	input?: string;
	/** Run before and after each call, outside of the timing. */
	prepare?: () => Promise<void>;
	settle?: () => Promise<void>;
};

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

/** One line of the table. */
export type Figure = {
	what: string;
	measured: number;
	limit: number;
	unit: string;
	/** The absolute medians. */
	detail: string;
};

/** Rows by name. One measures nothing if the machine lacks what it needs. */
export type Rows = Record<string, (bench: Bench) => Promise<Figure[]>>;

/** The figure of two calls that were compared. */
export function ratioFigure(
	what: string,
	limit: number,
	{ ratio, ours, theirs }: Ratio,
): Figure {
	const detail = `${ms(ours)} / ${ms(theirs)}`;
	return { what, measured: ratio, limit, unit: "×", detail };
}

/** Formats a time. */
export function ms(value: number): string {
	return `${value.toFixed(1)} ms`;
}

// --- internal ---

async function timeAlone(bench: Bench, call: Call): Promise<number> {
	await call.prepare?.();
	const taken = time(bench, call);
	await call.settle?.();
	return taken;
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
