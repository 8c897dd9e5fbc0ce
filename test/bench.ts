/**
 * The budgets of the design, measured: `bun test/bench.ts [row…]` prints a line for each, and says
 * `over` where one is exceeded. It exits 0 even then, for a benchmark is no test; 1 where a row
 * could not be measured. Reads `dist/bg`, writes nothing outside a temporary folder.
 */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { newSessionId, newTaskId, type Task } from "../lib/task.ts";
import {
	type Bench,
	closeBench,
	compare,
	compile,
	endTasks,
	livingOf,
	median,
	openBench,
	openStore,
	read,
	readRecords,
	rounds,
	until,
} from "./bench-method.ts";

/** One line of the table. */
type Figure = {
	what: string;
	measured: number;
	limit: number;
	unit: string;
	/** The absolute medians, for people. */
	detail: string;
};

/** What `list` is measured against. */
const readAndParse = `
import { readdirSync, readFileSync } from "node:fs";
const dir = process.argv[2];
for (const name of readdirSync(dir))
	if (name.endsWith(".json")) JSON.parse(readFileSync(dir + "/" + name, "utf8"));
`;

const rows: Record<string, (bench: Bench) => Promise<Figure[]>> = {
	launch: async (bench) => {
		const { store, env } = openStore(bench, "launch");
		const call = await droidCall(bench, env, "exit 0");
		const empty = { argv: [await compile(bench, "empty", "")], env };
		// A supervisor at work would take the next call's processor.
		const settle = async () => {
			await until(
				() => livingOf(store).length === 0,
				"the end of a supervisor",
			);
		};
		const { ratio, ours, theirs } = await compare(bench, call, empty, settle);
		return [
			{
				what: "launch until it returns / empty",
				measured: ratio,
				limit: 3,
				unit: "×",
				detail: `${ms(ours)} / ${ms(theirs)}`,
			},
		];
	},

	list: async (bench) => {
		const { store, env } = openStore(bench, "list");
		const count = 10_000;
		await writeFinished(bench, store, count);
		const reader = await compile(bench, "reader", readAndParse);
		const { ratio, ours, theirs } = await compare(
			bench,
			{ argv: [bench.bg, "list"], env },
			{ argv: [reader, store], env },
		);
		return [
			{
				what: `list over ${count} tasks / reading and parsing them`,
				measured: ratio,
				limit: 1.8,
				unit: "×",
				detail: `${ms(ours)} / ${ms(theirs)}`,
			},
		];
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
		await Bun.sleep(5000);
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
		process.once(signal, () => closeBench(bench).then(() => process.exit(130)));
	let failed = 0;
	print("row", "what", "at most", "measured", "", "medians");
	try {
		for (const name of wanted) {
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
	return failed ? 1 : 0;
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

function ms(value: number): string {
	return `${value.toFixed(1)} ms`;
}

/** A launch of a droid that has a definition; the stand-in runs `script`. */
async function droidCall(
	{ base, home, bg }: Bench,
	env: Record<string, string>,
	script: string,
) {
	const droid = join(base, "droid");
	await writeFile(droid, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
	const folder = join(home, ".factory", "droids");
	await mkdir(folder, { recursive: true });
	await writeFile(
		join(folder, "executor-med.md"),
		"---\nname: executor-med\nmodel: inherit\n---\nYou carry a task out.\n",
	);
	const argv = [bg, "launch", "carry a task out", words(500)];
	return { argv, env: { ...env, BG_DROID: droid } };
}

/** Records of finished droid tasks, as bg itself wrote one, with an output beside each. */
async function writeFinished(
	bench: Bench,
	store: string,
	count: number,
): Promise<void> {
	const { store: other, env } = openStore(bench, "template");
	const stream = [
		{ type: "system", subtype: "init", session_id: "s-1", model: "m" },
		{ type: "message", role: "assistant", text: words(200), timestamp: 1e12 },
		{ type: "completion", finalText: words(1024), numTurns: 1 },
	].map((event) => JSON.stringify(event));
	const script = `cat <<'end'\n${stream.join("\n")}\nend`;
	const call = await droidCall(bench, env, script);
	read(bench, call);
	const template = await until(
		() => readRecords(other).find(({ status }) => status === "completed"),
		"a finished task",
	);
	for (let task = 0; task < count; task++) {
		const record = numbered(template, task);
		const path = join(store, record.id);
		await writeFile(`${path}.json`, `${JSON.stringify(record, null, 1)}\n`);
		await writeFile(`${path}.out`, `${stream.join("\n")}\n`);
	}
}

/** A record with an id, a session and processes of its own; those processes are gone. */
function numbered(task: Task, number: number): Task {
	const pid = 10_000_000 + number;
	return {
		...task,
		id: newTaskId(),
		session_id: newSessionId(),
		pid,
		...(task.process && { process: { ...task.process, pid } }),
		...(task.supervisor && { supervisor: { ...task.supervisor, pid } }),
	};
}

function words(length: number): string {
	return "Read the tests, say “what” is wrong, and mend it.\n"
		.repeat(length / 50 + 1)
		.slice(0, length);
}

/** What a process holds, in MB (10⁶ bytes): its share of all it maps, and what is its alone. */
async function memoryOf(
	pid: number | undefined,
): Promise<{ pss: number; own: number }> {
	const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
	const mb = (key: string) =>
		(Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024) /
		1e6;
	return { pss: mb("Pss"), own: mb("Private_Clean") + mb("Private_Dirty") };
}

/**
 * From the moment a task is told to end until a `bg wait` that was waiting returns, in ms. The
 * task's last act is to read a line from a pipe, so this process's own clock sees both.
 */
async function timeWait(
	bench: Bench,
	env: Record<string, string>,
	round: number,
): Promise<number> {
	const pipe = join(bench.base, `pipe-${round}`);
	read(bench, { argv: ["mkfifo", pipe], env });
	const task = ["sh", "-c", 'read _ <"$0"', pipe];
	const id = read(bench, {
		argv: [bench.bg, "run", "-q", "x", "--", ...task],
		env,
	});
	const fd = await until(() => openWritable(pipe), "the task to read");
	const waiting = Bun.spawn([bench.bg, "wait", id], {
		cwd: bench.home,
		env,
		stdio: ["ignore", "ignore", "ignore"],
	});
	// Nothing outside tells that it waits; by then it has long been ready.
	await Bun.sleep(300);
	const start = performance.now();
	writeSync(fd, "\n");
	const code = await waiting.exited;
	const taken = performance.now() - start;
	closeSync(fd);
	if (code !== 0) throw new Error(`bg wait exited ${code}`);
	return taken;
}

/** The writing end of a pipe, once somebody reads from it. */
function openWritable(pipe: string): number | undefined {
	try {
		return openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
	} catch {
		return undefined;
	}
}
