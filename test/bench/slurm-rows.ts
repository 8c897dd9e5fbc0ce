/** The rows about Slurm: what bg adds to its programs. They start a cluster on this machine. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, missingForCluster, start } from "../slurm/cluster.ts";
import { writeBatch } from "./batches.ts";
import { measureCost } from "./cost.ts";
import {
	type Call,
	compare,
	type Figure,
	median,
	type Rows,
	ratioFigure,
	read,
} from "./method.ts";
import { type Bench, openStore, pause, readRecords, until } from "./setup.ts";

export const slurmRows: Rows = {
	slurm: async (bench) => {
		if (missingForCluster()) return [];
		const cluster = await start({ config: { MaxJobCount: 50_000 } });
		try {
			const open = () => openCluster(bench, cluster);
			return [
				await compareLaunches(bench, open()),
				await compareArrays(bench, open),
				await timeCancel(bench, open()),
				await timeTerm(bench, open()),
				await measureWaiter(bench, open()),
			];
		} finally {
			await cluster.end();
		}
	},
};

// --- internal ---

type Store = ReturnType<typeof openStore>;

/** A store whose tasks run on the cluster unless it is said otherwise. */
function openCluster(bench: Bench, cluster: Cluster): Store {
	const { store, env } = openStore(bench, "slurm");
	return { store, env: { ...env, ...cluster.env, BG_ENGINE: "slurm" } };
}

const held = ["--engine-args", "--hold"];

/** Times single launches that stay in Slurm's queue, against sbatch alone. */
async function compareLaunches(bench: Bench, { env }: Store): Promise<Figure> {
	const ours = {
		env,
		argv: [bench.bg, "run", "-q", ...held, "x", "--", "true"],
	};
	const theirs = { env, argv: sbatch("--hold") };
	const ratio = await compare(bench, ours, theirs);
	cancelJobs(bench, env);
	return ratioFigure("launch to Slurm / sbatch", 1.5, ratio);
}

/** Times a batch of `true`, from its launch until Slurm has no job left, against a job array. */
async function compareArrays(bench: Bench, open: () => Store): Promise<Figure> {
	const count = bench.size.isSmall ? 20 : 500;
	const batch = writeBatch(bench, count);
	const [ours, theirs]: [number[], number[]] = [[], []];
	for (let round = 0; round < (bench.size.isSmall ? 1 : 3); round++) {
		const { store, env } = open();
		const launch = [bench.bg, "launch", "-q", "--batch", batch];
		ours.push(await timeJobs(bench, { env, argv: launch }));
		const failed = readRecords(store).find(
			({ status }) => status !== "completed",
		);
		if (failed) throw new Error(`${failed.id} is ${failed.status}`);
		const argv = sbatch(`--array=0-${count - 1}`);
		theirs.push(await timeJobs(bench, { env, argv }));
	}
	const [a, b] = [median(ours), median(theirs)];
	const what = `batch of ${count} × true on Slurm, until all ended / job array`;
	return ratioFigure(what, 1.1, { ratio: a / b, ours: a, theirs: b });
}

/** Times `cancel --all` of tasks that Slurm has not started. */
async function timeCancel(bench: Bench, { env }: Store): Promise<Figure> {
	const count = bench.size.isSmall ? 20 : 1000;
	launchHeld(bench, env, count);
	const start = performance.now();
	read(bench, { argv: [bench.bg, "cancel", "--all"], env });
	const measured = (performance.now() - start) / 1000;
	if (listJobs(bench, env)) throw new Error("jobs are left");
	const what = `cancel --all of ${count} tasks that wait on Slurm`;
	return { what, measured, limit: 5, unit: " s", detail: "" };
}

/** Times `cancel` until the command on its node gets SIGTERM: the median of ten. */
async function timeTerm(bench: Bench, { env }: Store): Promise<Figure> {
	const log = join(bench.base, "term");
	const script = `trap 'date +%s%3N >>${log}; exit' TERM; echo >>${log}; while :; do sleep .01; done`;
	const lines = () => (existsSync(log) ? readFileSync(log, "utf8") : "").trim();
	const times: number[] = [];
	for (let round = 0; round < 10; round++) {
		rmSync(log, { force: true });
		const words = ["run", "-q", "x", "--", "sh", "-c", script];
		const id = read(bench, { argv: [bench.bg, ...words], env });
		await until(() => existsSync(log), "the start of a task");
		const start = Date.now();
		read(bench, { argv: [bench.bg, "cancel", id], env });
		await until(() => lines() !== "", "a SIGTERM");
		times.push((Number(lines()) - start) / 1000);
	}
	return {
		what: "cancel, until the command on its node has SIGTERM",
		measured: median(times),
		limit: 1,
		unit: " s",
		detail: `${Math.max(...times)} s at most`,
	};
}

/** The CPU time of `bg wait`, with what it calls, while many tasks wait on Slurm. */
async function measureWaiter(
	bench: Bench,
	{ store, env }: Store,
): Promise<Figure> {
	const count = bench.size.isSmall ? 20 : 10_000;
	launchHeld(bench, env, count);
	const waiter = Bun.spawn([bench.bg, "wait"], {
		env,
		stdio: ["ignore", "ignore", "ignore"],
	});
	try {
		// It reads all records once.
		await pause(bench, 15_000);
		const { cpu } = await measureCost(bench, store, bench.size.seconds);
		return {
			what: `wait for ${count} tasks that wait on Slurm, CPU a second`,
			measured: cpu,
			limit: 20,
			unit: " ms",
			detail: `over ${bench.size.seconds} s`,
		};
	} finally {
		waiter.kill("SIGKILL");
		await waiter.exited;
		cancelJobs(bench, env);
	}
}

const sbatch = (...flags: string[]) => [
	...["sbatch", "--parsable", "--output=/dev/null", "--chdir=/"],
	...flags,
	"--wrap=true",
];

/** Launches a batch whose jobs Slurm holds. */
function launchHeld(bench: Bench, env: Call["env"], count: number): void {
	const batch = writeBatch(bench, count);
	const words = ["launch", "-q", ...held, "--batch", batch];
	read(bench, { argv: [bench.bg, ...words], env });
}

/** Times a call, and the jobs that it submits, until none is left. */
async function timeJobs(bench: Bench, call: Call): Promise<number> {
	const start = performance.now();
	read(bench, call);
	const isEmpty = () => listJobs(bench, call.env) === "";
	await until(isEmpty, "the end of all jobs", 600_000);
	return performance.now() - start;
}

/** The jobs that are not over. */
const listJobs = (bench: Bench, env: Call["env"]): string =>
	read(bench, { argv: ["squeue", "--noheader"], env });

/** Removes all jobs. */
function cancelJobs(bench: Bench, env: Call["env"]): void {
	read(bench, { argv: ["scancel", "--quiet", "--user=root"], env });
}
