/**
 * The chaos test: launches, waits, hooks, cancels and prunes run at once on one store, in every form,
 * while their processes are killed with SIGKILL, at any moment or right after a chosen step of a write.
 * Then all come to rest, one prune runs, and the store is checked: nothing lost, nothing left over, nothing untrue.
 *
 *     npm run chaos -- [--minutes 1] [--seed N] [--rounds N]
 *
 * plan.ts chooses the calls and kills, round.ts plays them, calls.ts makes their argv, crash.mjs dies at a
 * step, watch.ts observes from outside, verdict.ts compares.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { linesOf } from "../tools/harness.ts";
import { planRound, scripts } from "./plan.ts";
import { commandOf, environmentOf, playRound, type Result } from "./round.ts";

/** Checks that crash points work in each runtime: a call dies after its first step. */
function checkCrashPoints(): void {
	for (const form of scripts) {
		const base = mkdtempSync(join(tmpdir(), "bg-chaos-"));
		const log = join(base, "crashes");
		const env = environmentOf(base, join(base, "store"), log);
		const call = (point: number) =>
			Bun.spawnSync([...commandOf(form), "list"], {
				env: { ...env, CHAOS_CRASH: `verb:${point}` },
			});
		const [first, never] = [call(1), call(1000)];
		const deaths = existsSync(log) ? linesOf(log).length : 0;
		rmSync(base, { recursive: true });
		if (first.signalCode !== "SIGKILL" || never.exitCode !== 0 || deaths !== 1)
			throw new Error(`${form} has no crash points: ${first.stderr}`);
	}
}

const countByKind = (kinds: readonly string[]): string =>
	`${kinds.length} (${[...Map.groupBy(kinds, (kind) => kind)]
		.map(([kind, all]) => `${all.length} ${kind}`)
		.sort()
		.join(", ")})`;

/** `36 tasks, 12 (5 supervisor, 7 launcher) killed, 8 of them at 6 crash points, …`. */
function sumUp(results: readonly Result[]): string {
	const sum = (of: (result: Result) => number) =>
		results.map(of).reduce((all, each) => all + each, 0);
	const deaths = results.flatMap((each) => each.deaths);
	const points = deaths.flatMap(({ point }) => point ?? []);
	const moves = deaths.filter(({ isArchiving }) => isArchiving);
	const recoveries = results.map((each) => each.recovery).sort((a, b) => a - b);
	const gap = Math.max(...results.map((each) => each.gap));
	return [
		`${sum(({ tasks }) => tasks)} tasks`,
		`${countByKind(deaths.map(({ kind }) => kind))} killed`,
		`${points.length} of them at ${new Set(points).size} crash points`,
		`${moves.length} in a move to the archive`,
		`${countByKind(results.flatMap((each) => each.stops))} stopped`,
		`${sum((each) => each.archived)} archived`,
		`${sum((each) => each.deleted)} deleted`,
		`at rest after ${recoveries[recoveries.length >> 1]?.toFixed(1)} s (median) and ${recoveries.at(-1)?.toFixed(1)} s (at most)`,
		`a place free for ${(gap / 1000).toFixed(1)} s at most`,
		`${sum(({ problems }) => problems.length)} violations`,
	].join(", ");
}

const { values } = parseArgs({
	options: {
		minutes: { type: "string", default: "1" },
		seed: { type: "string", default: String(Date.now() % 1_000_000) },
		rounds: { type: "string", default: "Infinity" },
	},
});
checkCrashPoints();
const deadline = performance.now() + Number(values.minutes) * 60_000;
const results: Result[] = [];
while (results.length < Number(values.rounds) && performance.now() < deadline) {
	const seed = Number(values.seed) + results.length;
	const result = await playRound(planRound(seed));
	results.push(result);
	console.log(`round ${results.length}, seed ${seed}: ${sumUp([result])}`);
}
console.log(`\n${results.length} rounds: ${sumUp(results)}`);
process.exit(results.some(({ problems }) => problems.length) ? 1 : 0);
