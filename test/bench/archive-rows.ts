/** The rows about stores with very many finished tasks: what verbs take, the moves to the archive, the disk. */
import { archiveTasks } from "../../lib/prune/archive.ts";
import { kept, measureOverhead, writeTrueTasks } from "./archive.ts";
import {
	type Call,
	compare,
	type Figure,
	ms,
	type Rows,
	ratioFigure,
	read,
} from "./method.ts";
import { type Bench, openStore } from "./setup.ts";

export const archiveRows: Rows = {
	archive: async (bench) => {
		const count = sized(bench, 100_000);
		const few = openStore(bench, "few");
		const many = openStore(bench, "many");
		await writeTrueTasks(bench, few.store, {
			count: kept,
			placement: "folder",
		});
		await writeTrueTasks(bench, many.store, { count, placement: "archive" });
		const figures: Figure[] = [];
		for (const [what, limit, makeCall] of [
			["cancel one", 1.3, cancelCall],
			["wait, nothing runs", 1.3, plainCall("wait")],
			["prune", 1.3, plainCall("prune")],
			["list", 2, plainCall("list")],
		] as const) {
			const ratio = await compare(
				bench,
				makeCall(bench, many.env),
				makeCall(bench, few.env),
			);
			figures.push(
				ratioFigure(`${what}, ${count} finished / ${kept}`, limit, ratio),
			);
		}
		const { overhead, names } = measureOverhead(many.store);
		figures.push({
			what: `disk for ${count} finished tasks beside records and outputs`,
			measured: overhead / 1e6,
			limit: 8,
			unit: " MB",
			detail: `${(names / 1e6).toFixed(1)} MB for the names of records and outputs`,
		});
		return figures;
	},

	moves: async (bench) => {
		const count = sized(bench, 10_000);
		const { store } = openStore(bench, "moves");
		await writeTrueTasks(bench, store, {
			count: count + kept,
			placement: "folder",
		});
		const slices: number[] = [];
		for (let moved = 0; moved < count; ) {
			const start = performance.now();
			moved += archiveTasks({ dir: store }, { keep: kept });
			slices.push(performance.now() - start);
		}
		const all = slices.reduce((sum, each) => sum + each, 0);
		return [
			{
				what: `moving ${count} finished tasks to the archive, in all`,
				measured: all / 1000,
				limit: 5,
				unit: " s",
				detail: `${slices.length} calls`,
			},
			{
				what: "the same, the slowest call",
				measured: Math.max(...slices),
				limit: 200,
				unit: " ms",
				detail: ms(all / slices.length),
			},
		];
	},
};

// --- internal ---

const sized = ({ size }: Bench, count: number) =>
	size.isSmall ? count / 10 : count;

const plainCall =
	(verb: string) =>
	({ bg }: Bench, env: Call["env"]): Call => ({ argv: [bg, verb], env });

/** A call that cancels a task, which is launched before it. */
function cancelCall(bench: Bench, env: Call["env"]): Call {
	const { bg } = bench;
	const call: Call = { argv: [bg, "cancel", ""], env };
	const prepare = async () => {
		const argv = [bg, "run", "-q", "x", "--", "sleep", "600"];
		call.argv = [bg, "cancel", read(bench, { argv, env })];
	};
	return Object.assign(call, { prepare });
}
