/** What all processes of a store cost: CPU time, memory and inotify instances. Linux only. */
import {
	countInotify,
	listStoreProcesses,
	readPrivateMemory,
	type StoreProcess,
} from "../tools/processes.ts";
import { type Bench, pause, readRecords } from "./setup.ts";

export type Cost = {
	/** CPU time in ms a second. */
	cpu: number;
	/** Private memory in MiB. */
	memory: number;
	inotify: number;
	/** The processes. */
	processes: StoreProcess[];
};

/** Measures what all processes of a store cost together, over some seconds. */
export async function measureCost(
	bench: Bench,
	store: string,
	seconds: number,
): Promise<Cost> {
	const cpu = await measureCpu(bench, store, seconds);
	const processes = processesOf(store);
	const pids = processes.map(({ pid }) => pid);
	return {
		cpu,
		memory: sum(pids.map(readPrivateMemory)) / 2 ** 20,
		inotify: sum(pids.map(countInotify)),
		processes,
	};
}

// --- internal ---

/** Every process that has the store in its environment or is named by one of its records. */
function processesOf(store: string): StoreProcess[] {
	const named = readRecords(store).flatMap(({ supervisor, process }) => [
		supervisor?.pid ?? 0,
		process?.pid ?? 0,
	]);
	return listStoreProcesses(store, new Set(named));
}

/**
 * The CPU time of all processes of a store, in ms a second. The kernel counts in steps of 10 ms for each
 * process, so a short measurement of many idle processes is rough. A process that starts and ends between
 * two samples is in the time of the parent that waits for it.
 */
async function measureCpu(
	bench: Bench,
	store: string,
	seconds: number,
): Promise<number> {
	const seen = new Map<string, { first: number; last: StoreProcess }>();
	let living = new Set<string>();
	const sample = (isFirst: boolean) => {
		const all = processesOf(store);
		for (const each of all) {
			const key = keyOf(each);
			const first = seen.get(key)?.first ?? (isFirst ? each.cpu : 0);
			seen.set(key, { first, last: each });
		}
		living = new Set(all.map(keyOf));
	};
	const start = performance.now();
	sample(true);
	while (performance.now() < start + seconds * 1000) {
		await pause(bench, 1000);
		sample(false);
	}
	const spent = (performance.now() - start) / 1000;
	// What has ended is in the time of its parent, if the parent is one of these.
	const pids = new Set([...seen.values()].map(({ last }) => last.pid));
	const counted = [...seen.values()].filter(
		({ last }) => living.has(keyOf(last)) || !pids.has(last.parent),
	);
	return sum(counted.map(({ first, last }) => last.cpu - first)) / spent;
}

const keyOf = ({ pid, start }: StoreProcess) => `${pid}:${start}`;

const sum = (values: readonly number[]) =>
	values.reduce((total, each) => total + each, 0);
