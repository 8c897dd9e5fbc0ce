/**
 * Measures the performance budgets: `bun test/bench/bench.ts [row…]` prints a line for each, and `over`
 * if one is exceeded. The exit code is 0 even then, because a benchmark is not a test; it is 1 if a row
 * could not be measured. Reads `dist`, writes only to temporary folders.
 *
 *     --seconds N   how long the CPU time of waiting launches is measured (60)
 *     --small       a tenth of the sizes of the rows about the queue and the archive, one round, 5 s: shows that they work
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";
import { archiveRows } from "./archive-rows.ts";
import type { Figure } from "./method.ts";
import { queueRows } from "./queue-rows.ts";
import { rows } from "./rows.ts";
import { closeBench, openBench, type Size } from "./setup.ts";
import { slurmRows } from "./slurm-rows.ts";

const all = { ...rows, ...archiveRows, ...queueRows, ...slurmRows };

const { values, positionals: names } = parseArgs({
	allowPositionals: true,
	options: { seconds: { type: "string" }, small: { type: "boolean" } },
});
const { small: isSmall = false, seconds = isSmall ? "5" : "60" } = values;
const unknown = names.find((name) => !Object.hasOwn(all, name));
if (unknown)
	fail(`no row ${unknown}: there are ${Object.keys(all).join(", ")}`);
if (!(Number(seconds) > 0))
	fail(`--seconds ${seconds} is no number of seconds`);
const size = { isSmall, seconds: Number(seconds) };
process.exit(await measure(names.length ? names : Object.keys(all), size));

// --- internal ---

/** Measures rows and prints them. Returns the exit code. */
async function measure(wanted: readonly string[], size: Size): Promise<number> {
	const bench = openBench(size);
	for (const signal of ["SIGINT", "SIGTERM"] as const)
		process.once(signal, () => bench.stop.abort(new Error(signal)));
	let failed = 0;
	console.log(`load average ${loadavg()[0]?.toFixed(2)}`);
	printCells("row", "what", "at most", "measured", "", "medians");
	try {
		for (const name of wanted) {
			if (bench.stop.signal.aborted) break;
			try {
				const figures = (await all[name]?.(bench)) ?? [];
				for (const each of figures) printFigure(name, each);
				if (!figures.length) printCells(name, "not measured on this machine");
			} catch (error) {
				failed++;
				const text = error instanceof Error ? error.stack : error;
				printCells(name, `failed: ${text}`);
			}
		}
	} finally {
		await closeBench(bench);
	}
	return failed || bench.stop.signal.aborted ? 1 : 0;
}

/** Prints a figure, and whether it is over its limit. */
function printFigure(name: string, figure: Figure): void {
	const { what, measured, limit, unit, detail } = figure;
	const verdict = measured > limit ? "over" : "ok";
	const digits = unit === "×" ? 2 : Number.isInteger(measured) ? 0 : 1;
	const value = `${measured.toFixed(digits)}${unit}`;
	printCells(name, what, `${limit}${unit}`, value, verdict, detail);
}

/** Prints the cells of one line. */
function printCells(...cells: string[]): void {
	const widths = [7, 61, 8, 11, 5, 0];
	const line = cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" ");
	console.log(line.trimEnd());
}

/** Ends with a usage error. */
function fail(message: string): never {
	console.error(message);
	process.exit(2);
}
