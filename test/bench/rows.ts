/** The rows about hooks, launches, lists, waiting and memory. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { programNames } from "../../lib/install/droid-files.ts";
import {
	endingHook,
	guardedHook,
	idleHook,
	runtimeCommand,
	shellCall,
	writeIndexed,
} from "./hook.ts";
import {
	compare,
	type Figure,
	median,
	ms,
	type Rows,
	ratioFigure,
	read,
	rounds,
} from "./method.ts";
import { countWakeUps } from "./queue.ts";
import {
	compileSource,
	endTasks,
	livingOf,
	openStore,
	pause,
	readRecords,
	until,
} from "./setup.ts";
import {
	droidCall,
	memoryOf,
	readAndParse,
	timeWait,
	writeFinished,
} from "./tasks.ts";

export const rows: Rows = {
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

	guard: async (bench) => {
		const { store, env } = openStore(bench, "guard");
		await writeIndexed(bench, store, 10);
		const figures: Figure[] = [];
		for (const name of programNames) {
			const call = guardedHook(name, env);
			const { input = "" } = call;
			const ratio = await compare(bench, call, shellCall(":", { env, input }));
			const what = `guarded hook, nothing due / sh -c :, hooks/${name}`;
			figures.push(ratioFigure(what, 1.3, ratio));
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
			taken.push(await timeWait(bench, env));
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
