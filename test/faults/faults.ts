/**
 * Every system call that bg makes on its store, on processes and on its input and output fails once, with
 * each error that fits. After each the verdict of the chaos test judges: one true end for each task, nothing
 * lost, nothing left over, limits held, no answer untrue.
 *
 *     npm run faults -- [--only verb[:call[#index][:error]]] [--minutes N] [--seed N] [--workers 6]
 *
 * Without --minutes every case is played; with it, as many as fit, in the order that the seed gives. A signal ends
 * the run: cases that are played are given up, and it prints what it counted. Needs strace.
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

const cases: Case[] = [];
const playing = new Set<World>();
const violated: string[] = [];
let played = 0;
let reached = 0;

const counts = () =>
	`${reached} different cases (verb, call, error), ${played - reached} not reached, ${cases.length - played} left out, ${violated.length} violated`;

/** Prints what was counted, and ends. */
function finish(code: number): never {
	for (const name of violated.sort()) console.log(`violated: ${name}`);
	console.log(counts());
	process.exit(code);
}

for (const [signal, code] of [
	["SIGINT", 130],
	["SIGTERM", 143],
] as const)
	process.on(signal, () => {
		for (const world of playing) world.abandon();
		finish(code);
	});

/** How a case is named, and given to --only. */
const nameOf = (name: string, { call, index, error }: Fault) =>
	`${name}:${call}#${index}:${error}`;

const isWanted = ({ call, index, error }: Fault) =>
	(!onlyCall || [call, `${call}#${index}`].includes(onlyCall)) &&
	(!onlyError || error === onlyError);

/** Plays a scenario, prints what is wrong, and keeps the folder if anything is. */
async function play(
	name: string,
	{ maxRunning = 4, play }: Scenario,
	fault?: Fault,
): Promise<Outcome & { world: World }> {
	const world = new World({ fault, maxRunning });
	playing.add(world);
	const outcome = await world.play(play);
	const { problems } = outcome;
	if (problems.length) {
		violated.push(name);
		console.log(`\nviolated: --only '${name}', kept in ${world.place}`);
		for (const problem of problems) console.log(`- ${problem}`);
		console.log(world.trail);
	}
	playing.delete(world);
	return { ...outcome, world };
}

/** Plays a scenario without a fault, and returns those that may be tried. */
async function findCases(name: string): Promise<Case[]> {
	const scenario = scenarios[name] as Scenario;
	const { problems, world } = await play(name, scenario);
	if (problems.length) return [];
	const found = world.faults.filter(isWanted).map((fault) => ({
		verb: name,
		name: nameOf(name, fault),
		scenario,
		fault,
	}));
	world.remove();
	if (found.length === 0 && !onlyCall) violated.push(`${name}: no case found`);
	return found;
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

/** Mixes by a seed. What fails in a way that no case before it does comes first: a part of all tries most of them. */
function shuffle(items: Case[], seed: number): Case[] {
	const key = ({ name }: Case) => Bun.hash.xxHash64(name, BigInt(seed));
	const mixed = items.toSorted((a, b) => (key(a) < key(b) ? -1 : 1));
	const sameWay = ({ fault }: Case) => `${fault.error} ${fault.kind}`;
	const rank = new Map<Case, number>();
	for (const same of Map.groupBy(mixed, sameWay).values())
		for (const [index, each] of same.entries()) rank.set(each, index);
	return mixed.sort((a, b) => (rank.get(a) ?? 0) - (rank.get(b) ?? 0));
}

const names = Object.keys(scenarios).filter(
	(name) => !onlyVerb || name === onlyVerb,
);
await inParallel(names, async (name) => {
	cases.push(...(await findCases(name)));
});
for (const [name, all] of Map.groupBy(cases, (each) => each.verb))
	console.log(`${name}: ${all.length} cases`);
console.log(
	`seed ${values.seed}: ${cases.length} cases of ${names.length} verbs`,
);
const begin = performance.now();
const progress = setInterval(() => {
	const minutes = Math.round((performance.now() - begin) / 60_000);
	console.log(`${minutes} min: ${counts()}`);
}, 60_000);
await inParallel(shuffle(cases, Number(values.seed)), async (each) => {
	if (performance.now() > deadline) return;
	const { name, scenario, fault } = each;
	const { isReached, problems, world } = await play(name, scenario, fault);
	played++;
	if (isReached) reached++;
	if (problems.length === 0) world.remove();
});
clearInterval(progress);
finish(violated.length || reached === 0 ? 1 : 0);
