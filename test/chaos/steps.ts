/**
 * Every hand-over of hand-over.ts, with one place and with two: one process dies after its first step, in the next
 * one after its second, and so on to its last.
 *
 *     npm run chaos:steps -- [role…] [--every 1]
 */
import { parseArgs } from "node:util";
import { type Outcome, playHandOver, type Role, roles } from "./hand-over.ts";

/** How many are played at once: they wait most of their time. */
const workers = 6;

/** Several in a row without a death: a process has no more steps. (How many it has varies a little.) */
const enough = 2 * workers;

/** How many hand-overs have their whole line killed. */
const linesKilled = 4;

async function playAll(role: Role, every: number): Promise<Outcome[]> {
	const outcomes: Outcome[] = [];
	let played = 0;
	let survivals = 0;
	const isOver = () =>
		role === "line" ? played >= linesKilled : survivals >= enough;
	const work = async () => {
		while (!isOver()) {
			const places = played % 2 ? 2 : 1;
			const step = 1 + every * Math.floor(played / 2);
			played++;
			const outcome = await playHandOver(role, step, places);
			survivals = outcome.step ? 0 : survivals + 1;
			outcomes.push(outcome);
			for (const problem of outcome.problems)
				console.log(
					`${role} ${step}, ${places} places (${outcome.step}): ${problem}`,
				);
		}
	};
	await Promise.all(Array.from({ length: workers }, work));
	const deaths = outcomes.filter((each) => each.step);
	const gap = Math.max(...outcomes.map((each) => each.gap));
	const violated = outcomes.filter(({ problems }) => problems.length);
	console.log(
		`${role}: ${deaths.length} killed, a place free for ${(gap / 1000).toFixed(1)} s at most, ${violated.length} violated`,
	);
	return violated;
}

const { values, positionals } = parseArgs({
	allowPositionals: true,
	options: { every: { type: "string", default: "1" } },
});
const chosen = roles.filter(
	(role) => positionals.length === 0 || positionals.includes(role),
);
const violated: Outcome[] = [];
const playOneByOne = async () => {
	for (const role of chosen)
		if (role !== "line")
			violated.push(...(await playAll(role, Number(values.every))));
};
// The killed lines wait for a minute; the others are played meanwhile.
const lines = chosen.includes("line") ? playAll("line", 1) : [];
await playOneByOne();
violated.push(...(await lines));
process.exit(violated.length ? 1 : 0);
