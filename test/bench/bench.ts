/**
 * Measures the performance budgets: `bun test/bench/bench.ts [row…]` prints a line for each, and `over`
 * if one is exceeded. The exit code is 0 even then, because a benchmark is not a test; it is 1 if a row
 * could not be measured. Reads `dist`, writes only to a temporary folder.
 */
import { writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { endingHook, idleHook, runtimeCommand, writeIndexed } from "./hook.ts";
import {
	type Bench,
	closeBench,
	compare,
	compileSource,
	endTasks,
	livingOf,
	median,
	openBench,
	openStore,
	pause,
	type Ratio,
	read,
	readRecords,
	rounds,
	until,
} from "./method.ts";
import { compareDrain, countWakeUps, queueMemory } from "./queue.ts";
import {
	droidCall,
	memoryOf,
	readAndParse,
	timeWait,
	writeFinished,
} from "./tasks.ts";

/** One line of the table. */
type Figure = {
	what: string;
	measured: number;
	limit: number;
	unit: string;
	/** The absolute medians. */
	detail: string;
};

const rows: Record<string, (bench: Bench) => Promise<Figure[]>> = {
	hook: async (bench) => {
		const { store, env } = openStore(bench, "hook");
		await writeIndexed(bench, store, 10);
		const empty = await compileSource(bench, "empty", "");
		const figures: Figure[] = [];
		for (const [what, limit, call] of [
			["hook, nothing to do / empty", 1.25, idleHook([bench.bg], env)],
			["hook, completes a task / empty", 2.25, endingHook(bench, store, env)],
		] as const) {
			const { input } = call;
			const ratio = await compare(bench, call, { argv: [empty], env, input });
			figures.push(ratioFigure(what, limit, ratio));
		}
		return figures;
	},

	bundle: async (bench) => {
		const { store, env } = openStore(bench, "bundle");
		await writeIndexed(bench, store, 10);
		const empty = join(bench.base, "empty.mjs");
		await writeFile(empty, "");
		const figures: Figure[] = [];
		for (const [runtime, limit] of [
			["bun", 1.6],
			["deno", 1.4],
			["node", 1.3],
		] as const) {
			const command = runtimeCommand(runtime);
			const call = idleHook([...command, bench.script], env);
			const { input } = call;
			const ratio = await compare(bench, call, {
				argv: [...command, empty],
				env,
				input,
			});
			const what = `hook, nothing to do / empty script, ${runtime}`;
			figures.push(ratioFigure(what, limit, ratio));
		}
		return figures;
	},

	many: async (bench) => {
		const few = openStore(bench, "few");
		const many = openStore(bench, "many");
		await writeIndexed(bench, few.store, 10);
		await writeIndexed(bench, many.store, 10_000);
		const idle = await compare(
			bench,
			idleHook([bench.bg], many.env),
			idleHook([bench.bg], few.env),
		);
		const ending = await compare(
			bench,
			endingHook(bench, many.store, many.env),
			endingHook(bench, few.store, few.env),
		);
		return [
			ratioFigure("hook, nothing to do, 10000 tasks / 10", 1.15, idle),
			ratioFigure("hook, completes a task, 10000 tasks / 10", 1.15, ending),
		];
	},

	launch: async (bench) => {
		const { store, env } = openStore(bench, "launch");
		const call = await droidCall(bench, env, "exit 0");
		const empty = { argv: [await compileSource(bench, "empty", "")], env };
		// A supervisor that still runs would slow the next call down.
		const settle = async () => {
			await until(
				() => livingOf(store).length === 0,
				"the end of a supervisor",
			);
		};
		const ratio = await compare(bench, { ...call, settle }, empty);
		return [ratioFigure("launch until it returns / empty", 3.5, ratio)];
	},

	list: async (bench) => {
		const { store, env } = openStore(bench, "list");
		const count = 10_000;
		await writeFinished(bench, store, count);
		const reader = await compileSource(bench, "reader", readAndParse);
		const ratio = await compare(
			bench,
			{ argv: [bench.bg, "list"], env },
			{ argv: [reader, store], env },
		);
		const what = `list over ${count} tasks / reading and parsing them`;
		return [ratioFigure(what, 1.8, ratio)];
	},

	memory: async (bench) => {
		if (process.platform !== "linux") return [];
		const { store, env } = openStore(bench, "memory");
		for (let task = 0; task < 8; task++)
			read(bench, { argv: [bench.bg, "run", "x", "--", "sleep", "60"], env });
		await until(
			() => readRecords(store).every(({ status }) => status === "running"),
			"8 running tasks",
		);
		await pause(bench, 5000);
		const supervisors = await Promise.all(
			readRecords(store).map(({ supervisor }) => memoryOf(supervisor?.pid)),
		);
		await endTasks(store);
		return (
			[
				["pss", "PSS", 12],
				["own", "private", 6],
			] as const
		).map(([key, word, limit]) => {
			const all = supervisors.map((each) => each[key]);
			return {
				what: `memory beside a running task, ${word}, largest of 8`,
				measured: Math.max(...all),
				limit,
				unit: " MB",
				detail: `median ${median(all).toFixed(1)} MB`,
			};
		});
	},

	wait: async (bench) => {
		const { env } = openStore(bench, "wait");
		const taken: number[] = [];
		for (let round = 0; round < rounds; round++)
			taken.push(await timeWait(bench, env, round));
		return [
			{
				what: "wait after the end of a supervised process, median",
				measured: median(taken),
				limit: 20,
				unit: " ms",
				detail: `${ms(Math.min(...taken))} to ${ms(Math.max(...taken))}`,
			},
		];
	},

	drain: async (bench) => {
		const ratio = await compareDrain(bench);
		const what = "500 × true in a batch, 4 slots / tsp";
		return ratio ? [ratioFigure(what, 1.3, ratio)] : [];
	},

	queue: async (bench) => {
		const supervisors = await queueMemory(bench, 8, 50);
		return (["pss", "own"] as const).map((key) => {
			const all = supervisors.map((each) => each[key]);
			return {
				what: `supervisor, 8 running and 50 waiting, ${key}, largest`,
				measured: Math.max(...all),
				limit: key === "pss" ? 12 : 6,
				unit: " MB",
				detail: `median ${median(all).toFixed(1)} MB`,
			};
		});
	},

	idle: async (bench) => [
		{
			what: "wake-ups of an idle supervisor a second, all threads",
			measured: await countWakeUps(bench),
			limit: 1,
			unit: "",
			detail: "over 20 s, a minute after its start",
		},
	],
};

const names = process.argv.slice(2);
const unknown = names.find((name) => !Object.hasOwn(rows, name));
if (unknown) {
	console.error(`no row ${unknown}: there are ${Object.keys(rows).join(", ")}`);
	process.exit(2);
}
process.exit(await measure(names.length ? names : Object.keys(rows)));

// --- internal ---

async function measure(wanted: readonly string[]): Promise<number> {
	const bench = openBench();
	for (const signal of ["SIGINT", "SIGTERM"] as const)
		process.once(signal, () => bench.stop.abort(new Error(signal)));
	let failed = 0;
	console.log(`load average ${loadavg()[0]?.toFixed(2)}`);
	print("row", "what", "at most", "measured", "", "medians");
	try {
		for (const name of wanted) {
			if (bench.stop.signal.aborted) break;
			try {
				const figures = (await rows[name]?.(bench)) ?? [];
				for (const each of figures) printFigure(name, each);
				if (!figures.length) print(name, "not measured on this platform");
			} catch (error) {
				failed++;
				print(name, `failed: ${error instanceof Error ? error.stack : error}`);
			}
		}
	} finally {
		await closeBench(bench);
	}
	return failed || bench.stop.signal.aborted ? 1 : 0;
}

function printFigure(name: string, figure: Figure): void {
	const { what, measured, limit, unit, detail } = figure;
	const verdict = measured > limit ? "over" : "ok";
	const value = `${measured.toFixed(unit === "×" ? 2 : 1)}${unit}`;
	print(name, what, `${limit}${unit}`, value, verdict, detail);
}

function print(...cells: string[]): void {
	const widths = [7, 53, 8, 9, 5, 0];
	const line = cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" ");
	console.log(line.trimEnd());
}

function ratioFigure(
	what: string,
	limit: number,
	{ ratio, ours, theirs }: Ratio,
): Figure {
	const detail = `${ms(ours)} / ${ms(theirs)}`;
	return { what, measured: ratio, limit, unit: "×", detail };
}

function ms(value: number): string {
	return `${value.toFixed(1)} ms`;
}
