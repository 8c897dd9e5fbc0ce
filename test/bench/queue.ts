/** The rows about launches that wait for a slot: how fast they drain, and what they cost until then. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isFinal } from "../../lib/task/states.ts";
import { countKinds, listStoreProcesses } from "../tools/processes.ts";
import { type Cost, measureCost } from "./cost.ts";
import { median, read } from "./method.ts";
import {
	type Bench,
	endTasks,
	openStore,
	pause,
	readRecords,
	until,
} from "./setup.ts";
import { launchBlocked, memoryOf } from "./tasks.ts";

/** How single launches drained. */
export type Drain = {
	/** From the end of the task before them until all have ended, in ms a task. */
	each: number;
	/** One launch, in ms. */
	launch: number;
	/** What they cost while all of them waited. */
	cost: Cost;
};

/**
 * Drains many single launches of `true` through one slot, and few, alternately.
 * @returns medians over the rounds.
 */
export async function compareQueues(
	bench: Bench,
	{ many, few }: { many: number; few: number },
): Promise<{ many: Drain; few: number }> {
	const rounds = bench.size.isSmall ? 1 : 3;
	const drains: Drain[] = [];
	const ofFew: number[] = [];
	for (let round = 0; round < rounds; round++) {
		// Few take a short time, so they are measured twice.
		ofFew.push((await drain(bench, few)).each);
		drains.push(await drain(bench, many));
		ofFew.push((await drain(bench, few)).each);
	}
	const [middle] = drains
		.toSorted((a, b) => a.each - b.each)
		.slice((rounds - 1) / 2);
	if (!middle) throw new Error("no round");
	return { many: middle, few: median(ofFew) };
}

/** What single launches cost while all of them wait, with the running task that they wait for. */
export async function measureWaiting(
	bench: Bench,
	count: number,
): Promise<Cost> {
	const { store, wait } = await launchWaiting(bench, count);
	await wait();
	const cost = await measureCost(bench, store, bench.size.seconds);
	await endTasks(store);
	return cost;
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

/** The longest measurement of the cost before a drain, in seconds. */
const costSeconds = 10;

/** The longest drain, in ms. */
const drainTimeoutMs = 600_000;

/** Launches many `true` behind a running task, lets that end, and times until all have ended. */
async function drain(bench: Bench, count: number): Promise<Drain> {
	const { store, ids, launch, wait, end } = await launchWaiting(bench, count);
	await wait();
	const seconds = Math.min(costSeconds, bench.size.seconds);
	const cost = await measureCost(bench, store, seconds);
	const start = performance.now();
	end();
	const pending = [...ids];
	const hasLastEnded = () => {
		bench.stop.signal.throwIfAborted();
		// The last one launched ends last, so one file is read until then.
		for (; pending.length; pending.pop())
			if (!isFinal(readTask(store, pending.at(-1) ?? ""))) return false;
		return true;
	};
	await until(hasLastEnded, `the end of ${count} tasks`, drainTimeoutMs);
	const each = (performance.now() - start) / count;
	const failed = readRecords(store).find((task) => task.status !== "completed");
	if (failed)
		throw new Error(`${failed.id} is ${failed.status}: ${failed.error}`);
	await until(() => listStoreProcesses(store).length === 0, "no process left");
	return { each, launch, cost };
}

/** Launches single tasks, one slot, while another task holds it. */
async function launchWaiting(bench: Bench, count: number) {
	const { store, env: own } = openStore(bench, "waiting");
	const env = { ...own, BG_MAX_RUNNING: "1", BG_MAX_QUEUED: "10000" };
	const first = await launchBlocked(bench, env);
	const argv = [bench.bg, "run", "-q", "x", "--", "true"];
	const start = performance.now();
	const ids: string[] = [];
	while (ids.length < count) {
		ids.push(read(bench, { argv, env }));
		// Lets this process handle a signal, which synchronous calls prevent.
		await Bun.sleep(0);
	}
	const launch = (performance.now() - start) / count;
	const wait = () => settle(bench, store, count);
	return { store, ids, launch, wait, end: first.end };
}

/**
 * Waits until all tasks wait: their processes are of the same kinds for 5 s, in which the start of the
 * last one ends.
 */
async function settle(
	bench: Bench,
	store: string,
	count: number,
): Promise<void> {
	let seen = "";
	for (let seconds = 0, quiet = 0; quiet < 5 && seconds < 60; seconds++) {
		await pause(bench, 1000);
		const { supervisor, parked } = countKinds(listStoreProcesses(store));
		const now = `${supervisor} ${parked}`;
		quiet = now === seen ? quiet + 1 : 0;
		seen = now;
	}
	const queued = readRecords(store).filter(({ status }) => status === "queued");
	if (queued.length !== count)
		throw new Error(`${queued.length} of ${count} tasks wait`);
}

/** The record of a task. */
function readTask(store: string, id: string) {
	return JSON.parse(readFileSync(join(store, `${id}.json`), "utf8"));
}

/** The pids of the supervisors that the records of a store name. */
function supervisorsOf(store: string): number[] {
	return readRecords(store).flatMap(({ supervisor }) => supervisor?.pid ?? []);
}

/** Counts voluntary context switches. Each is a thread that slept and woke up. */
function switchesOf(pid: number): number {
	return readdirSync(`/proc/${pid}/task`)
		.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/status`, "utf8"))
		.map((text) => Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(text)?.[1]))
		.reduce((sum, each) => sum + each, 0);
}
