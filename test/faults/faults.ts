/**
 * Every system call that bg makes on its store, on processes and on its input and output fails once, with
 * each error that fits. After each the verdict of the chaos test judges: one true end for each task, nothing
 * lost, nothing left over, limits held, no answer untrue.
 *
 *     npm run faults -- [--only verb[:call[#index][:error]]] [--minutes N] [--seed N] [--workers 6]
 *
 * Without --minutes every case is played; with it, as many as fit, in the order that the seed gives.
 * Needs strace.
 */
import { parseArgs } from "node:util";
import { type Scenario, scenarios } from "./scenarios.ts";
import type { Fault } from "./trace.ts";
import { type Outcome, World } from "./world.ts";

type Case = { verb: string; name: string; scenario: Scenario; fault: Fault };

const { values } = parseArgs({
	options: {
		only: { type: "string", default: "" },
		minutes: { type: "string", default: "Infinity" },
		seed: { type: "string", default: String(Date.now() % 1_000_000) },
		workers: { type: "string", default: "6" },
	},
});
if (!Bun.which("strace")) {
	console.error("faults need strace (apt-get install strace): none was tried");
	process.exit(1);
}

const [onlyVerb, onlyCall, onlyError] = values.only.split(":");
const deadline = performance.now() + Number(values.minutes) * 60_000;
const workers = Number(values.workers);

/** How a case is named, and given to --only. */
const nameOf = (name: string, { call, index, error }: Fault) =>
	`${name}:${call}#${index}:${error}`;

const isWanted = ({ call, index, error }: Fault) =>
	(!onlyCall || [call, `${call}#${index}`].includes(onlyCall)) &&
	(!onlyError || error === onlyError);

/** Plays a scenario without a fault, and returns those that may be tried. */
async function findCases(name: string): Promise<Case[]> {
	const scenario = scenarios[name] as Scenario;
	const world = new World({ maxRunning: scenario.maxRunning ?? 4 });
	const { problems } = await world.play(scenario.play);
	const { trail } = world;
	const faults = problems.length ? [] : world.faults;
	world.remove();
	if (problems.length)
		console.log(`${name} fails by itself: ${problems.join("\n")}\n${trail}`);
	return faults.filter(isWanted).map((fault) => ({
		verb: name,
		name: nameOf(name, fault),
		scenario,
		fault,
	}));
}

async function playCase({ name, scenario, fault }: Case): Promise<Outcome> {
	const { maxRunning = 4 } = scenario;
	const world = new World({ fault, maxRunning });
	const outcome = await world.play(scenario.play);
	if (outcome.problems.length && outcome.isReached) {
		console.log(`\nviolated: --only '${name}', kept in ${world.place}`);
		for (const problem of outcome.problems) console.log(`- ${problem}`);
		console.log(world.trail);
	} else world.remove();
	return outcome;
}

/** Takes the items one after the other, several at a time. */
async function inParallel<T>(
	items: readonly T[],
	act: (item: T) => Promise<void>,
): Promise<void> {
	const rest = items.values();
	const work = async () => {
		for (const item of rest) await act(item);
	};
	await Promise.all(Array.from({ length: workers }, work));
}

/** Mixes by a seed, so that a part of all is a fair sample. */
function shuffle<T extends { name: string }>(items: T[], seed: number): T[] {
	const key = ({ name }: T) => Bun.hash.xxHash64(name, BigInt(seed));
	return items.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

const names = Object.keys(scenarios).filter(
	(name) => !onlyVerb || name === onlyVerb,
);
const cases: Case[] = [];
await inParallel(names, async (name) => {
	cases.push(...(await findCases(name)));
});
for (const [name, all] of Map.groupBy(cases, (each) => each.verb))
	console.log(`${name}: ${all.length} cases`);
console.log(
	`seed ${values.seed}: ${cases.length} cases of ${names.length} verbs`,
);
const violated: string[] = [];
let played = 0;
let reached = 0;
await inParallel(shuffle(cases, Number(values.seed)), async (each) => {
	if (performance.now() > deadline) return;
	const { isReached, problems } = await playCase(each);
	played++;
	if (isReached) reached++;
	if (isReached && problems.length) violated.push(each.name);
});
for (const name of violated.sort()) console.log(`violated: ${name}`);
console.log(
	`${reached} different cases (verb, call, error), ${played - reached} not reached, ${cases.length - played} left out, ${violated.length} violated`,
);
process.exit(violated.length || reached === 0 ? 1 : 0);
