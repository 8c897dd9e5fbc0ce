/**
 * A store on a bad day: while tasks are launched, waited for and cancelled, its disk becomes read-only or full for
 * a while, folders of it are removed, permission is taken away and given back. After each round the verdict of the
 * chaos test judges: one true end for each task, nothing lost, nothing left over, no answer untrue.
 *
 *     npm run bad-day -- [--minutes 3] [--seed N]
 *
 * Needs root, for mounts of its own; bg itself runs as another user.
 */
import { parseArgs } from "node:util";
import { type BadRound, playBadRound } from "./bad-round.ts";

/** How long calls and events go on in a round at most, in ms. */
const maxFire = 150_000;

const { values } = parseArgs({
	options: {
		minutes: { type: "string", default: "3" },
		seed: { type: "string", default: String(Date.now() % 1_000_000) },
	},
});
if (process.platform !== "linux" || process.getuid?.() !== 0) {
	console.error("a bad day needs root on Linux, to mount a disk: none was had");
	process.exit(1);
}

/** `2 full, 1 removed .tmp`. */
function countEvents(rounds: readonly BadRound[]): string {
	const all = rounds.flatMap(({ events }) => events.map(({ what }) => what));
	return [...Map.groupBy(all, (what) => what)]
		.map(([what, { length }]) => `${length} ${what}`)
		.sort((a, b) => Number.parseInt(b, 10) - Number.parseInt(a, 10))
		.join(", ");
}

function sumUp(rounds: readonly BadRound[]): string {
	const sum = (of: (round: BadRound) => number) =>
		rounds.map(of).reduce((all, each) => all + each, 0);
	const recovery = Math.max(...rounds.map((each) => each.recovery));
	return `${sum((r) => r.tasks)} tasks, ${sum((r) => r.calls)} calls (${sum((r) => r.refused)} refused), ${sum((r) => r.unwritten)} writes of tasks without space, ${sum((r) => r.events.length)} events, at rest after ${recovery.toFixed(1)} s at most, ${sum((r) => r.problems.length)} violations`;
}

const deadline = performance.now() + Number(values.minutes) * 60_000;
const rounds: BadRound[] = [];
for (let left = 1; left > 0; left = deadline - performance.now()) {
	const seed = Number(values.seed) + rounds.length;
	const fire = Math.min(maxFire, deadline - performance.now());
	const round = await playBadRound(seed, fire);
	rounds.push(round);
	console.log(`round ${rounds.length}, seed ${seed}: ${sumUp([round])}`);
}
console.log(`\n${countEvents(rounds)}`);
console.log(`${rounds.length} rounds, ${sumUp(rounds)}`);
process.exit(rounds.some(({ problems }) => problems.length) ? 1 : 0);
