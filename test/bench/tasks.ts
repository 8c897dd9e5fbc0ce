/** What the rows of the benchmark run: a launch, finished records, a wait; and the memory of a process. */
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createSessionId, createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { type Call, read } from "./method.ts";
import { type Bench, openStore, pause, readRecords, until } from "./setup.ts";

/** The program that `list` is compared with. */
export const readAndParse = `
import { readdirSync, readFileSync } from "node:fs";
const dir = process.argv[2];
for (const name of readdirSync(dir))
	if (name.endsWith(".json")) JSON.parse(readFileSync(dir + "/" + name, "utf8"));
`;

/** A launch of a droid with a definition; in place of droid `script` runs. */
export async function droidCall(
	{ base, home, bg }: Bench,
	env: Record<string, string>,
	script: string,
): Promise<Call> {
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

/** Writes records of finished droid tasks, copied from one that bg wrote, each with an output. */
export async function writeFinished(
	bench: Bench,
	store: string,
	count: number,
): Promise<void> {
	const { store: other, env } = openStore(bench, "template");
	const stream = [
		{ type: "system", subtype: "init", session_id: "s-1", model: "m" },
		{
			type: "message",
			role: "assistant",
			text: words(200),
			timestamp: Date.now(),
		},
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

/** The memory of a process in MB (10⁶ bytes): proportional share (PSS), and private. */
export async function memoryOf(
	pid: number | undefined,
): Promise<{ pss: number; own: number }> {
	const text = await readFile(`/proc/${pid}/smaps_rollup`, "utf8");
	const mb = (key: string) =>
		(Number(new RegExp(`^${key}:\\s+(\\d+) kB`, "m").exec(text)?.[1]) * 1024) /
		1e6;
	return { pss: mb("Pss"), own: mb("Private_Clean") + mb("Private_Dirty") };
}

/** A new named pipe. */
export function makePipe({ base }: Bench): string {
	const pipe = join(base, `pipe-${crypto.randomUUID()}`);
	const { exitCode } = Bun.spawnSync(["mkfifo", pipe]);
	if (exitCode !== 0) throw new Error(`mkfifo ${pipe} exited ${exitCode}`);
	return pipe;
}

/** A command that ends when a line is written to its pipe. Until then it takes no CPU time. */
export const readPipe = (pipe: string) => ["sh", "-c", 'read _ <"$0"', pipe];

/** Opens the writing end of a pipe; undefined while it has no reader. */
export function openWritable(pipe: string): number | undefined {
	try {
		return openSync(pipe, constants.O_WRONLY | constants.O_NONBLOCK);
	} catch {
		return undefined;
	}
}

/** Launches a task that runs until `end` is called, once. Resolves when it runs. */
export async function launchBlocked(
	bench: Bench,
	env: Call["env"],
): Promise<{ id: string; end: () => void }> {
	const pipe = makePipe(bench);
	const argv = [bench.bg, "run", "-q", "x", "--", ...readPipe(pipe)];
	const id = read(bench, { argv, env });
	const fd = await until(() => openWritable(pipe), "the task to read");
	const end = () => {
		writeSync(fd, "\n");
		closeSync(fd);
	};
	return { id, end };
}

/**
 * The time from the end of a task until a waiting `bg wait` returns, in ms. The task ends when this
 * process writes a line to its pipe, so one clock measures both.
 */
export async function timeWait(
	bench: Bench,
	env: Record<string, string>,
): Promise<number> {
	const { id, end } = await launchBlocked(bench, env);
	const waiting = Bun.spawn([bench.bg, "wait", id], {
		cwd: bench.home,
		env,
		stdio: ["ignore", "ignore", "ignore"],
	});
	try {
		// Nothing shows that it waits; after 300 ms it does.
		await pause(bench, 300);
		const start = performance.now();
		end();
		const code = await waiting.exited;
		if (code !== 0) throw new Error(`bg wait exited ${code}`);
		return performance.now() - start;
	} finally {
		waiting.kill();
	}
}

// --- internal ---

/** A copy of a record with a new id, session and processes, which do not exist. */
function numbered(task: Task, number: number): Task {
	const pid = 10_000_000 + number;
	return {
		...task,
		id: createTaskId(),
		session_id: createSessionId(),
		pid,
		...(task.process && { process: { ...task.process, pid } }),
		...(task.supervisor && { supervisor: { ...task.supervisor, pid } }),
	};
}

/** A text of a length. */
function words(length: number): string {
	return "Read the tests, say “what” is wrong, and repair it.\n"
		.repeat(length / 50 + 1)
		.slice(0, length);
}
