import { expect, test } from "bun:test";
import {
	chmodSync,
	mkdirSync,
	readdirSync,
	renameSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { type Limits, readLimits } from "../../lib/spawn/limits.ts";
import { dequeue, enqueue, setRunnable } from "../../lib/spawn/queue.ts";
import { claimSlots, releaseSlot, sweepQueue } from "../../lib/spawn/slots.ts";
import { withPendingLaunch } from "../../lib/store/claims.ts";
import { openStore } from "../../lib/store/directory.ts";
import { queueLock, type Store } from "../../lib/store/paths.ts";
import { createTask } from "../../lib/store/records.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox } from "../tools/harness.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

const limitsOf = (env: Record<string, string> = {}): Limits => readLimits(env);

const gone = { ...identifySelf(), start: "999999999999" };

/** A queued task of this process that may start. */
function add(store: Store, fields: Partial<Task> = {}): Task {
	const task: Task = {
		id: createTaskId(),
		kind: "droid",
		description: "a task",
		status: "queued",
		supervisor: identifySelf(),
		...fields,
	};
	enqueue(store, [task], limitsOf());
	createTask(store, task);
	setRunnable(store, task, true);
	return task;
}

const mapOf = (tasks: Task[]) => new Map(tasks.map((task) => [task.id, task]));

const entries = ({ dir }: Store) =>
	[".queue", ".slots"].flatMap((name) => readdirSync(join(dir, name)));

test("limits and order hold in any sequence of claims and ends, and every task starts", () => {
	const store = open();
	const kind = fc.record({
		priority: fc.integer({ min: -1, max: 1 }),
		depth: fc.integer({ min: 1, max: 2 }),
		agent: fc.constantFrom("a", "b"),
		owner: fc.integer({ min: 0, max: 2 }),
	});
	const act = fc.record({
		owner: fc.integer({ min: 0, max: 2 }),
		thorough: fc.boolean(),
		ends: fc.nat(),
	});
	const all = fc.record({
		kinds: fc.array(kind, { maxLength: 12 }),
		acts: fc.infiniteStream(act),
		most: fc.integer({ min: 1, max: 3 }),
		mostOfOne: fc.integer({ min: 0, max: 2 }),
	});
	fc.assert(
		fc.property(all, ({ kinds, acts, most, mostOfOne }) => {
			const limits = limitsOf({
				BG_MAX_RUNNING: `${most}`,
				BG_MAX_PER_DROID: `${mostOfOne}`,
			});
			let waiting = kinds.map(({ owner, ...fields }) => ({
				owner,
				task: add(store, fields),
			}));
			let running: Task[] = [];
			const mayStart = (task: Task) => {
				const beside = running.filter(({ depth }) => depth === task.depth);
				const same = beside.filter(({ agent }) => agent === task.agent);
				return beside.length < most && same.length < limits.BG_MAX_PER_DROID;
			};
			while (waiting.length + running.length > 0) {
				const { owner, thorough, ends } = acts.next().value;
				const ours = waiting.filter((each) => each.owner === owner);
				const asked = mapOf(ours.map(({ task }) => task));
				const started = claimSlots(store, {
					ownTasks: asked,
					limits,
					isFullPoll: thorough,
				});
				// The expected result: one task after the other, each if there is a slot.
				const expected: string[] = [];
				const before = running;
				for (const { task, owner: whose } of waiting.toSorted(
					(a, b) => (b.task.priority ?? 0) - (a.task.priority ?? 0),
				)) {
					if (!mayStart(task)) continue;
					running = [...running, task];
					if (whose === owner) expected.push(task.id);
				}
				expect(started).toEqual(expected);
				running = [...before, ...started.flatMap((id) => asked.get(id) ?? [])];
				waiting = waiting.filter(({ task }) => !started.includes(task.id));
				const [over] = running.splice(ends % (running.length || 1), 1);
				if (over) releaseSlot(store, over);
			}
			expect(entries(store)).toEqual([]);
		}),
		{ numRuns: 50 },
	);
});

test("a dead supervisor's tasks take up no slot and do not block later tasks", () => {
	const store = open();
	const limits = limitsOf({ BG_MAX_RUNNING: "1" });
	const running = add(store);
	expect(
		claimSlots(store, {
			ownTasks: mapOf([running]),
			limits,
			isFullPoll: false,
		}),
	).toHaveLength(1);
	createTask(store, { ...running, status: "running", supervisor: gone });
	add(store, { supervisor: gone, priority: 1 });
	const next = add(store);
	expect(
		claimSlots(store, { ownTasks: mapOf([next]), limits, isFullPoll: false }),
	).toEqual([]);
	expect(
		claimSlots(store, { ownTasks: mapOf([next]), limits, isFullPoll: true }),
	).toEqual([next.id]);
	expect(entries(store)).toHaveLength(2);
	sweepQueue(store);
	expect(entries(store)).toEqual([expect.stringContaining(next.id)]);
});

test("entries of another machine take up no slot here, block no task, and are left alone", () => {
	const store = open();
	const limits = limitsOf({ BG_MAX_RUNNING: "1", BG_MAX_QUEUED: "1" });
	const elsewhere = { ...identifySelf(), machine: "a container:1" };
	const running = add(store, { supervisor: elsewhere });
	const entry = entries(store).find((name) => name.includes(running.id));
	renameSync(
		join(store.dir, ".queue", `${entry}`),
		join(store.dir, ".slots", `${entry}`),
	);
	createTask(store, { ...running, status: "running", process: elsewhere });
	const waiting = add(store, { supervisor: elsewhere, priority: 1 });
	const lock = join(store.dir, ".locks", queueLock(elsewhere.machine));
	mkdirSync(lock);
	writeFileSync(join(lock, claimName(elsewhere, "0")), "");
	const ours = add(store);
	enqueue(store, [], limits);
	expect(
		claimSlots(store, { ownTasks: mapOf([ours]), limits, isFullPoll: true }),
	).toEqual([ours.id]);
	sweepQueue(store);
	const left = entries(store).map((name) => name.split(",")[3]);
	expect(left).toEqual(expect.arrayContaining([running.id, waiting.id]));
});

test("a full queue refuses a whole launch, and entries of dead supervisors do not count", () => {
	const store = open();
	const limits = limitsOf({ BG_MAX_QUEUED: "2" });
	add(store, { supervisor: gone });
	const before = [add(store), add(store)].map(({ id }) => id);
	const tasks = [1, 2].map(() => ({ ...add(store), id: createTaskId() }));
	const ids = tasks.map(({ id }) => id);
	const launch = () =>
		withPendingLaunch(store, ids, () => enqueue(store, tasks, limits));
	expect(launch).toThrow("4 tasks are queued");
	const left = entries(store).map((name) => name.split(",")[3]);
	expect(left).toHaveLength(4);
	expect(left).toEqual(expect.arrayContaining(before));
});

test("a launch leaves no entry in a queue that cannot be counted", () => {
	const store = open();
	const tasks = [add(store), add(store)];
	for (const task of tasks) dequeue(store, task);
	chmodSync(join(store.dir, ".queue"), 0o770);
	expect(() => enqueue(store, tasks, limitsOf())).toThrow(
		/can be written by others/,
	);
	expect(entries(store)).toEqual([]);
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
