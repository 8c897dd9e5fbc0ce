import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	renameSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import {
	claimName,
	identifyProcess,
	identifySelf,
} from "../../lib/process/identity.ts";
import { identifyMachine } from "../../lib/process/machine.ts";
import { readProcess } from "../../lib/process/proc.ts";
import {
	handOver,
	handOverAsync,
	readBeat,
	repairQueue,
	sweepQueue,
	takeGrants,
} from "../../lib/spawn/hand-over.ts";
import { type Limits, readLimits } from "../../lib/spawn/limits.ts";
import { dismissTask } from "../../lib/spawn/parked.ts";
import { Line, Places } from "../../lib/spawn/places.ts";
import {
	enqueue,
	listEntries,
	listLocalEntries,
	releaseSlot,
	removeEntries,
	setQueuePaused,
} from "../../lib/spawn/queue.ts";
import { openStore } from "../../lib/store/directory.ts";
import { queueLock, type Store } from "../../lib/store/paths.ts";
import { createTask } from "../../lib/store/records.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox, until } from "../tools/harness.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

const limitsOf = (env: Record<string, string> = {}): Limits => readLimits(env);

const gone = { ...identifySelf(), start: "999999999999" };

/** A queued task of this process that may start. */
function add(
	store: Store,
	fields: Partial<Task> = {},
	limits = limitsOf(),
): Task {
	const task: Task = {
		id: createTaskId(),
		kind: "droid",
		description: "a task",
		status: "queued",
		supervisor: identifySelf(),
		...fields,
	};
	enqueue(store, [task], limits);
	createTask(store, task);
	return task;
}

const idsOf = (tasks: Iterable<Task>) =>
	new Set([...tasks].map(({ id }) => id));

const entries = ({ dir }: Store) =>
	[".queue", ".slots"].flatMap((name) => readdirSync(join(dir, name)));

/** The ids in a folder, in the order of their places. */
const idsIn = (store: Store, folder: "queue" | "slots") =>
	listEntries(store, folder).map(({ id }) => id);

const one = limitsOf({ BG_MAX_RUNNING: "1" });

test("limits and order hold in any sequence of hand-overs and ends, and every task starts", async () => {
	const kind = fc.record({
		priority: fc.integer({ min: -1, max: 1 }),
		depth: fc.integer({ min: 1, max: 2 }),
		agent: fc.constantFrom("a", "b"),
		owner: fc.integer({ min: 0, max: 2 }),
	});
	const act = fc.record({
		owner: fc.integer({ min: 0, max: 2 }),
		repairs: fc.boolean(),
		ends: fc.nat(),
	});
	const all = fc.record({
		kinds: fc.array(kind, { maxLength: 12 }),
		acts: fc.infiniteStream(act),
		most: fc.integer({ min: 1, max: 3 }),
		mostOfOne: fc.integer({ min: 0, max: 2 }),
	});
	const store = open();
	await fc.assert(
		fc.asyncProperty(all, async ({ kinds, acts, most, mostOfOne }) => {
			const limits = limitsOf({
				BG_MAX_RUNNING: `${most}`,
				BG_MAX_PER_DROID: `${mostOfOne}`,
			});
			let waiting = kinds.map(({ owner, ...fields }) => ({
				owner,
				task: add(store, fields, limits),
			}));
			/** Those that have a place, taken or granted. */
			let placed: typeof waiting = [];
			const mayStart = (task: Task) => {
				const beside = placed.filter((each) => each.task.depth === task.depth);
				const same = beside.filter((each) => each.task.agent === task.agent);
				return beside.length < most && same.length < limits.BG_MAX_PER_DROID;
			};
			while (waiting.length + placed.length > 0) {
				const { owner, repairs, ends } = acts.next().value;
				const own = idsOf(
					waiting.flatMap((each) => (each.owner === owner ? each.task : [])),
				);
				const started = repairs
					? (await repairQueue(store, own)).started
					: await handOverAsync(store, own);
				// The expected result: one task after the other, each if there is a place.
				const expected: string[] = [];
				for (const each of waiting.toSorted(
					(a, b) => (b.task.priority ?? 0) - (a.task.priority ?? 0),
				)) {
					if (!mayStart(each.task)) continue;
					placed = [...placed, each];
					if (each.owner === owner) expected.push(each.task.id);
				}
				expect(started).toEqual(expected);
				waiting = waiting.filter((each) => !placed.includes(each));
				expect(new Set(idsIn(store, "slots"))).toEqual(
					idsOf(placed.map(({ task }) => task)),
				);
				expect(idsIn(store, "queue")).toHaveLength(waiting.length);
				takeGrants(store, idsOf(placed.map(({ task }) => task)));
				const [over] = placed.splice(ends % (placed.length || 1), 1);
				if (over) releaseSlot(store, over.task);
			}
			expect(entries(store)).toEqual([]);
		}),
		{ numRuns: 50 },
	);
});

test("a granted place is taken once, by the process that it was granted to", async () => {
	const store = open();
	const [first, second] = [add(store, {}, one), add(store, {}, one)];
	handOver(store);
	expect(idsIn(store, "slots")).toEqual([first.id]);
	expect(takeGrants(store, idsOf([second]))).toEqual([]);
	expect(takeGrants(store, idsOf([first, second]))).toEqual([first.id]);
	expect(takeGrants(store, idsOf([first, second]))).toEqual([]);
	expect(await handOverAsync(store, idsOf([second]))).toEqual([]);
});

test("in a long line, tasks that others removed since it was listed are passed over", async () => {
	const store = open();
	const tasks = Array.from({ length: 1001 }, () => ({
		id: createTaskId(),
		kind: "command" as const,
		description: "a task",
		status: "queued" as const,
		supervisor: identifySelf(),
	}));
	enqueue(store, tasks, one);
	const own = idsOf(tasks);
	const line = new Line(store);
	const [first, second, third, fourth] = tasks;
	if (!first || !second || !third || !fourth) throw new Error("no task");
	expect(await handOverAsync(store, own, line)).toEqual([first.id]);
	releaseSlot(store, first);
	removeEntries(store, "queue", idsOf([second, third]));
	expect(await handOverAsync(store, own, line)).toEqual([fourth.id]);
	expect(await handOverAsync(store, own, line)).toEqual([]);
	expect(idsIn(store, "slots")).toEqual([fourth.id]);
});

test("a task that ends before it takes its place frees it", () => {
	const store = open();
	const [first, second] = [add(store, {}, one), add(store, {}, one)];
	handOver(store);
	expect(idsIn(store, "slots")).toEqual([first.id]);
	const ended: Task = { ...first, status: "cancelled" };
	createTask(store, ended);
	dismissTask(store, ended);
	handOver(store);
	expect(idsIn(store, "slots")).toEqual([second.id]);
});

test("a place that is taken while the slots are listed is counted, however many there are", async () => {
	const store = open();
	const count = 300;
	const limits = limitsOf({ BG_MAX_RUNNING: `${count}` });
	const slots = join(store.dir, ".slots");
	// It may start if a single one of them is missed.
	add(store, {}, limits);
	const [entry] = listLocalEntries(store, "queue");
	if (!entry) throw new Error("no entry");
	const names = Array.from(
		{ length: count },
		() => `999,1,${createTaskId()},${queueLock(identifyMachine().machine)},a`,
	).map((name) => name.replace("queue,", ""));
	const script = `const { renameSync } = require("node:fs");
		for (const name of JSON.parse(process.argv.at(-1)))
			renameSync(\`${slots}/held,\${name}\`, \`${slots}/ready,\${name}\`);`;
	for (let round = 0; round < 15; round++) {
		for (const name of names) {
			rmSync(join(slots, `ready,${name}`), { force: true });
			writeFileSync(join(slots, `held,${name}`), "");
		}
		const taker = Bun.spawn(["bun", "-e", script, JSON.stringify(names)]);
		while (taker.exitCode === null) {
			expect(new Places(store).isFreeFor(entry)).toBe(false);
			await Bun.sleep(0);
		}
	}
});

test("the repair of another machine's queue does not stand for one of this", () => {
	const store = open();
	const other = join(store.dir, ".parked", "beat,another%3A1");
	writeFileSync(other, "");
	expect(readBeat(store).ageMs).toBe(Number.POSITIVE_INFINITY);
	sweepQueue(store);
	expect(existsSync(other)).toBe(false);
});

test("a grant goes back to the queue if that was paused before it is taken", () => {
	const store = open();
	const task = add(store, {}, one);
	handOver(store);
	expect(idsIn(store, "slots")).toEqual([task.id]);
	setQueuePaused(store, true);
	expect(takeGrants(store, idsOf([task]))).toEqual([]);
	expect(idsIn(store, "slots")).toEqual([]);
	handOver(store);
	expect(idsIn(store, "queue")).toEqual([task.id]);
	setQueuePaused(store, false);
	handOver(store);
	expect(takeGrants(store, idsOf([task]))).toEqual([task.id]);
});

test("a grant that nobody takes goes back to the queue, with its place in the order", async () => {
	const store = open();
	const first = add(store, {}, one);
	handOver(store);
	const granted = listEntries(store, "slots");
	const second = add(store, { priority: 1 }, one);
	await repairQueue(store, new Set());
	expect(listEntries(store, "slots")).toEqual(granted);
	await until(async () => {
		await repairQueue(store, new Set());
		return idsIn(store, "slots")[0] === second.id;
	}, "a grant for the one that is next by then");
	expect(idsIn(store, "slots")).toEqual([second.id]);
	expect(idsIn(store, "queue")).toEqual([first.id]);
});

test("a task whose process a signal has stopped holds up nobody", async () => {
	const store = open();
	const sleeper = Bun.spawn(["sleep", "60"]);
	try {
		const supervisor = identifyProcess(sleeper.pid);
		const stopped = add(store, { ...(supervisor && { supervisor }) }, one);
		const next = add(store, {}, one);
		const isPaused = () => readProcess(sleeper.pid)?.paused;
		sleeper.kill("SIGSTOP");
		await until(isPaused, "its stop");
		handOver(store);
		expect(idsIn(store, "slots")).toEqual([next.id]);
		releaseSlot(store, next);
		sleeper.kill("SIGCONT");
		await until(() => !isPaused(), "its end");
		handOver(store);
		expect(idsIn(store, "slots")).toEqual([stopped.id]);
	} finally {
		sleeper.kill("SIGKILL");
	}
});

test("a task with a lower limit of its own holds up nobody", () => {
	const store = open();
	const [running, ...others] = [add(store, {}, one), add(store, {}, one)];
	handOver(store);
	const later = add(store, {}, limitsOf({ BG_MAX_RUNNING: "2" }));
	handOver(store);
	expect(new Set(idsIn(store, "slots"))).toEqual(
		idsOf([running as Task, later]),
	);
	expect(idsIn(store, "queue")).toEqual(others.map(({ id }) => id));
});

test("a dead supervisor's tasks take up no slot and do not block later tasks", async () => {
	const store = open();
	const running = add(store, {}, one);
	expect(await handOverAsync(store, idsOf([running]))).toEqual([running.id]);
	createTask(store, { ...running, status: "running", supervisor: gone });
	const dead = add(store, { supervisor: gone, priority: 1 }, one);
	const next = add(store, {}, one);
	expect(await handOverAsync(store, idsOf([next]))).toEqual([]);
	expect(await repairQueue(store, idsOf([next]))).toEqual({
		started: [next.id],
		removed: [dead.id],
	});
	expect(entries(store)).toEqual([expect.stringContaining(next.id)]);
	createTask(store, { ...next, supervisor: gone });
	sweepQueue(store);
	expect(entries(store)).toEqual([]);
});

test("entries of another machine take up no slot here, block no task, and are left alone", async () => {
	const store = open();
	const elsewhere = { ...identifySelf(), machine: "a container:1" };
	const running = add(store, { supervisor: elsewhere }, one);
	const entry = entries(store).find((name) => name.includes(running.id));
	renameSync(
		join(store.dir, ".queue", `${entry}`),
		join(store.dir, ".slots", `${entry}`),
	);
	createTask(store, { ...running, status: "running", process: elsewhere });
	const waiting = add(store, { supervisor: elsewhere, priority: 1 }, one);
	const lock = join(store.dir, ".locks", queueLock(elsewhere.machine));
	mkdirSync(lock);
	writeFileSync(join(lock, claimName(elsewhere, "0")), "");
	const ours = add(store, {}, one);
	const { started } = await repairQueue(store, idsOf([ours]));
	expect(started).toEqual([ours.id]);
	sweepQueue(store);
	const left = entries(store).map((name) => name.split(",")[3]);
	expect(left).toEqual(expect.arrayContaining([running.id, waiting.id]));
});

test("a task of an older bg keeps its turn, takes its own slot, and is counted", async () => {
	const store = open();
	const old = add(store, {}, one);
	const [entry = ""] = readdirSync(join(store.dir, ".queue"));
	const oldName = entry.split(",").slice(0, 6).join(",");
	const [queue, slots] = [".queue", ".slots"].map((name) =>
		join(store.dir, name, oldName),
	) as [string, string];
	renameSync(join(store.dir, ".queue", entry), queue);
	const eight = Array.from({ length: 8 }, () => add(store));
	handOver(store);
	expect(idsIn(store, "slots")).toHaveLength(7);
	renameSync(queue, slots);
	handOver(store);
	expect(idsIn(store, "slots")).toHaveLength(8);
	releaseSlot(store, old);
	handOver(store);
	expect(new Set(idsIn(store, "slots"))).toEqual(idsOf(eight));
});

test("limits are numbers: 0 is no limit, and a missing one has its default", () => {
	expect(limitsOf({ BG_MAX_RUNNING: "", BG_MAX_DEPTH: "0" })).toEqual({
		BG_MAX_RUNNING: 8,
		BG_MAX_PER_DROID: Number.POSITIVE_INFINITY,
		BG_MAX_DEPTH: Number.POSITIVE_INFINITY,
		BG_MAX_QUEUED: 1000,
	});
	for (const value of ["-1", "1.5", "8 ", "0x8", "1e3", "1234567"])
		expect(() => limitsOf({ BG_MAX_QUEUED: value })).toThrow("BG_MAX_QUEUED");
});
