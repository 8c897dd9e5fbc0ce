/** The rows about the queue: a batch against task-spooler, and waiting supervisors. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findOnPath } from "../../lib/process/executables.ts";
import {
	type Bench,
	median,
	openStore,
	pause,
	type Ratio,
	read,
} from "./method.ts";
import { memoryOf } from "./tasks.ts";

const slots = 4;
const rounds = 7;

/**
 * Times 500 × `true` from the first launch to the last end: one batch of bg, and one call of `tsp` for
 * each task, because it has no batches. Undefined without tsp.
 */
export async function compareDrain(
	bench: Bench,
	count = 500,
): Promise<Ratio | undefined> {
	const tsp = findOnPath("tsp");
	if (!tsp) return undefined;
	const batch = join(bench.base, "batch.jsonl");
	const line = `${JSON.stringify({ description: "x", command: ["true"] })}\n`;
	writeFileSync(batch, line.repeat(count));
	const ours: number[] = [];
	const theirs: number[] = [];
	for (let round = 0; round < rounds; round++) {
		ours.push(timeBatch(bench, batch));
		theirs.push(timeSpooler(bench, tsp, count, round));
	}
	const [a, b] = [median(ours), median(theirs)];
	return { ratio: a / b, ours: a, theirs: b };
}

/** The memory of supervisors, in MB, while their tasks run or wait. */
export async function queueMemory(
	bench: Bench,
	running: number,
	waiting: number,
): Promise<{ pss: number; own: number }[]> {
	const { env } = openStore(bench, "queue");
	const limited = { ...env, BG_MAX_RUNNING: String(running) };
	const argv = [bench.bg, "run", "-q", "x", "--", "sleep", "600"];
	for (let n = 0; n < running + waiting; n++)
		read(bench, { argv, env: limited });
	await pause(bench, 5000);
	return Promise.all(supervisorsOf(env.BG_DIR ?? "").map(memoryOf));
}

/** Counts the wake-ups a second of all threads of an idle supervisor, a minute after its start. */
export async function countWakeUps(bench: Bench): Promise<number> {
	const { env } = openStore(bench, "idle");
	read(bench, {
		argv: [bench.bg, "run", "-q", "x", "--", "sleep", "600"],
		env,
	});
	await pause(bench, 60_000);
	const [pid = 0] = supervisorsOf(env.BG_DIR ?? "");
	const before = switchesOf(pid);
	const seconds = 20;
	await pause(bench, seconds * 1000);
	return (switchesOf(pid) - before) / seconds;
}

// --- internal ---

function timeBatch(bench: Bench, batch: string): number {
	const { env } = openStore(bench, "batch");
	const limited = { ...env, BG_MAX_RUNNING: String(slots) };
	const start = performance.now();
	const argv = [bench.bg, "launch", "-q", "--batch", batch];
	read(bench, { argv, env: limited });
	read(bench, { argv: [bench.bg, "wait"], env });
	return performance.now() - start;
}

function timeSpooler(
	bench: Bench,
	tsp: string,
	count: number,
	round: number,
): number {
	const { env } = openStore(bench, "tsp");
	const server = { ...env, TS_SOCKET: join(bench.base, `tsp-${round}`) };
	const call = (script: string) =>
		read(bench, {
			argv: ["sh", "-c", script, tsp, String(count)],
			env: server,
		});
	call(`"$0" -S ${slots}`);
	const start = performance.now();
	call('i=0; while [ $i -lt $1 ]; do "$0" true; i=$((i+1)); done; "$0" -w');
	const spent = performance.now() - start;
	call('"$0" -K');
	return spent;
}

function supervisorsOf(store: string): number[] {
	return readdirSync(store)
		.filter((name) => name.endsWith(".json"))
		.map((name) => JSON.parse(readFileSync(join(store, name), "utf8")))
		.map(({ supervisor }) => supervisor.pid);
}

/** Counts voluntary context switches. Each is a thread that slept and woke up. */
function switchesOf(pid: number): number {
	return readdirSync(`/proc/${pid}/task`)
		.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"))
		.map((text) => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(text)?.[1]))
		.reduce((sum, each) => sum + each, 0);
}
