/** The rows about the queue and batches. */
import { playHandOver, type Role, roles } from "../chaos/hand-over.ts";
import { countKinds } from "../tools/processes.ts";
import {
	compareDrain,
	compareShortage,
	listFileSystems,
	timeTimeout,
} from "./batches.ts";
import type { Cost } from "./cost.ts";
import { type Figure, median, ms, type Rows, ratioFigure } from "./method.ts";
import { compareQueues, measureWaiting, queueMemory } from "./queue.ts";
import type { Bench } from "./setup.ts";

export const queueRows: Rows = {
	singles: async (bench) => {
		if (process.platform !== "linux") return [];
		const sizes = { many: sized(bench, 400), few: sized(bench, 25) };
		const { many, few } = await compareQueues(bench, sizes);
		const { each, launch, cost } = many;
		return [
			{
				what: `${sizes.many} single launches of true, 1 slot, a task`,
				measured: each,
				limit: 20,
				unit: " ms",
				detail: `${ms(launch)} a launch; while all wait ${describeCost(cost)}`,
			},
			ratioFigure(`the same / with ${sizes.few}`, 1.6, {
				ratio: each / few,
				ours: each,
				theirs: few,
			}),
		];
	},

	waiting: async (bench) => {
		if (process.platform !== "linux") return [];
		const count = sized(bench, 200);
		const cost = await measureWaiting(bench, count);
		const kinds = countKinds(cost.processes);
		const figure = (what: string, measured: number, limit: number, unit = "") =>
			({
				what: `${count} waiting single launches, ${what}, in all`,
				measured,
				limit,
				unit,
				detail: "",
			}) satisfies Figure;
		return [
			{
				...figure("CPU a second", cost.cpu, 10, " ms"),
				detail: `over ${bench.size.seconds} s`,
			},
			{
				...figure("private memory", cost.memory, 80, " MiB"),
				detail: `${kinds.supervisor} supervisors, ${kinds.parked} parked shells, ${kinds.other} other`,
			},
			figure("inotify instances", cost.inotify, 8),
		];
	},

	inotify: async (bench) => {
		if (process.platform !== "linux") return [];
		const count = sized(bench, 100);
		const ratio = await compareShortage(bench, count);
		const what = `${count} × true in a batch, no inotify instance left / with`;
		const figure = ratioFigure(what, 1.3, ratio);
		return [{ ...figure, detail: `${figure.detail}, ${ratio.held} taken` }];
	},

	drain: async (bench) => {
		const count = sized(bench, 500);
		const figures: Figure[] = [];
		for (const { folder, name, isTmpfs } of listFileSystems()) {
			const ratio = await compareDrain(bench, { folder, count });
			const what = `${count} × true in a batch, 4 slots / tsp, ${name}`;
			if (ratio) figures.push(ratioFigure(what, isTmpfs ? 1.4 : 2.2, ratio));
		}
		return figures;
	},

	timeout: async (bench) => {
		const fired: number[] = [];
		// A supervisor that blocks is latest if it begins to just before the timeout.
		for (const endMs of bench.size.isSmall ? [1100] : [100, 600, 1100])
			fired.push(await timeTimeout(bench, { holdMs: 9000, endMs }));
		return [
			{
				what: "timeout of 1.5 s, a sibling's lock is held for 9 s, latest",
				measured: Math.max(...fired),
				limit: 2,
				unit: " s",
				detail: fired.map((each) => `${each.toFixed(2)} s`).join(", "),
			},
		];
	},

	killed: async ({ size }) => {
		if (process.platform !== "linux") return [];
		const steps = size.isSmall ? [3] : [3, 8, 13, 18, 23];
		const others = roles.filter((role) => role !== "line");
		const measureOthers = async () => {
			const gaps: number[] = [];
			for (const role of others)
				gaps.push(
					...(await Promise.all(
						steps.map((step) => measureGap(role, step, step % 2 ? 1 : 2)),
					)),
				);
			return gaps;
		};
		// The killed line waits for a minute.
		const [line, gaps] = await Promise.all([
			measureGap("line", 1, 1),
			measureOthers(),
		]);
		const figure = (what: string, measured: number, limit: number) =>
			({
				what: `longest a place stays free, killed: ${what}`,
				measured,
				limit,
				unit: " s",
				detail: "",
			}) satisfies Figure;
		return [
			{
				...figure("a process at a step", Math.max(...gaps), 5),
				detail: `${gaps.length} hand-overs`,
			},
			figure("all that run, and the next", line, 60),
		];
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
};

// --- internal ---

/** How long a place stays free at most in a hand-over in which a process is killed, in s. */
async function measureGap(
	role: Role,
	step: number,
	places: 1 | 2,
): Promise<number> {
	const { gap, problems } = await playHandOver(role, step, places);
	if (problems.length) throw new Error(`${role} ${step}: ${problems}`);
	return gap / 1000;
}

/** The size of a row: a tenth with `--small`, and at least 5. */
function sized({ size }: Bench, count: number): number {
	return size.isSmall ? Math.max(5, count / 10) : count;
}

function describeCost({ cpu, memory, inotify }: Cost): string {
	return `${ms(cpu)}/s CPU, ${memory.toFixed(0)} MiB private, ${inotify} inotify`;
}
