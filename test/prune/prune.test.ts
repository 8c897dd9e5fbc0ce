import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { identifySelf } from "../../lib/process/identity.ts";
import { takeSnapshot } from "../../lib/process/snapshot.ts";
import { decidePrune, pruneTasks } from "../../lib/prune/prune.ts";
import type { Supervision } from "../../lib/prune/supervision.ts";
import { openStore } from "../../lib/store/directory.ts";
import { createTask, readTask } from "../../lib/store/records.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { sandbox, until } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";
import { running } from "../tools/scripts.ts";

const minute = 60_000;
const hour = 60 * minute;
const now = Date.parse("2026-01-01T12:00:00Z");
const ago = (minutes: number) => new Date(now - minutes * minute).toISOString();

const task = (fields: Partial<Task> = {}): Task => ({
	id: "bg_0123456789",
	kind: "command",
	description: "a task",
	status: "running",
	started_at: ago(60),
	elapsed_ms: 60 * minute,
	quiet_ms: 11 * minute,
	...fields,
});

const facts = {
	ttl: 30 * minute,
	ageAlone: false,
	stale: 10 * minute,
	now,
	wrote: 0,
	recorded: now,
};

const choose = (
	fields: Partial<Task>,
	supervision: Supervision = "watched",
	more: Partial<typeof facts & { processAge: number }> = {},
) => decidePrune(task(fields), supervision, { ...facts, ...more });

test("a task that is old and quiet is stale", () => {
	expect(choose({})).toEqual({ reason: "stale", by: "11m" });
});

test("a task that is old and active is overdue", () => {
	expect(choose({ quiet_ms: 9 * minute })).toEqual({ age: "60m" });
	expect(choose({}, "watched", { wrote: now - minute })).toEqual({
		age: "60m",
	});
});

test("a young task stays, however quiet", () => {
	const young = { started_at: ago(29), elapsed_ms: 29 * minute };
	expect(choose(young)).toBe("leave");
	expect(choose({ ...young, started_at: ago(900) })).toBe("leave");
});

test("before the first measurement the age is that of the process, whatever the clock says", () => {
	const young = { elapsed_ms: undefined, quiet_ms: undefined };
	const ageAlone = { ageAlone: true, processAge: minute };
	expect(choose(young, "watched", ageAlone)).toBe("leave");
	const setBack = { ...young, started_at: ago(-60) };
	expect(
		choose(setBack, "watched", { ageAlone: true, processAge: hour }),
	).toEqual({ reason: "timeout", by: "30m" });
});

test("a task that wrote after its last record is active, also if the clock was set since", () => {
	const forward = { wrote: now - hour, recorded: now - hour - 1 };
	expect(choose({}, "watched", forward)).toEqual({ age: "60m" });
	const before = { wrote: now - hour - 1, recorded: now - hour };
	expect(choose({}, "watched", before)).toMatchObject({ reason: "stale" });
	const back = { wrote: now + hour, recorded: now - minute };
	expect(choose({}, "watched", back)).toMatchObject({ reason: "stale" });
});

test("a task that was never measured is not stopped", () => {
	const note = "its activity was not measured";
	expect(choose({ quiet_ms: undefined })).toMatchObject({ note });
	expect(choose({}, "orphaned")).toMatchObject({ note });
});

test("with a typed TTL the age alone decides", () => {
	expect(choose({ quiet_ms: 0 }, "watched", { ageAlone: true })).toEqual({
		reason: "timeout",
		by: "30m",
	});
});

test("a queued or paused task stays", () => {
	expect(choose({ status: "queued", queued_at: ago(900) })).toBe("leave");
	expect(choose({ paused_at: ago(50) })).toBe("leave");
});

test("a task of another machine is reported as unknown", () => {
	expect(choose({}, "elsewhere")).toBe("unknown");
});

test("an old record that names no process is left until the TTL", () => {
	const old = { elapsed_ms: undefined };
	expect(choose({ ...old, started_at: ago(29) }, "unknown")).toBe("unknown");
	expect(choose(old, "unknown")).toEqual({ reason: "timeout", by: "30m" });
	expect(choose({ started_at: "long ago" }, "unknown")).toBe("unknown");
});

test("a native subagent without a reported end is lost at the TTL", () => {
	const native = { kind: "native", elapsed_ms: undefined } as const;
	expect(choose({ ...native, started_at: ago(29) }, "native")).toBe("leave");
	expect(choose(native, "native")).toEqual({
		reason: "lost",
		by: "its end was not reported",
	});
});

test("one snapshot of the processes serves any number of lost tasks", async () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const gone = { ...identifySelf(), start: "999999999999" };
	const ids = Array.from({ length: 20 }, () => createTaskId());
	for (const id of ids)
		createTask(store, { ...task(), id, status: "queued", supervisor: gone });
	let looks = 0;
	const pruned = await pruneTasks(
		store,
		{
			...facts,
			dryRun: false,
			cancel: async () => {
				throw new Error("nothing is to be stopped");
			},
		},
		() => {
			looks++;
			return takeSnapshot();
		},
	);
	expect(pruned.removed.toSorted()).toEqual(ids.toSorted());
	for (const id of ids)
		expect(readTask(store, id)).toMatchObject({ reason: "lost" });
	expect(looks).toBe(1);
});

test("stale tasks are stopped at the same time", async () => {
	const box = sandbox();
	const deaf = 'trap "" TERM; echo deaf; while :; do sleep 0.1; done';
	const ids = await Promise.all(
		[1, 2, 3].map(() => box.run(["sh", "-c", deaf])),
	);
	for (const id of ids) {
		await until(() => Bun.file(`${box.dir}/${id}.out`).size > 0, "its trap");
		// A command may print before its record says that it runs.
		await running(box, id);
	}
	expect((await box.bg(["prune", "--ttl", "0s"])).json().removed).toHaveLength(
		3,
	);
	const ends = ids.map((id) => box.record(id));
	const lastIntent = ends
		.map(({ stop }) => stop?.at ?? "z")
		.toSorted()
		.at(-1);
	const firstEnd = ends
		.map(({ completed_at }) => completed_at ?? "")
		.toSorted()[0];
	expect((lastIntent ?? "z") < (firstEnd ?? "")).toBe(true);
});

test("a dry run names how lost tasks will end, and leaves out tasks that still run", async () => {
	const box = sandbox();
	const gone = { ...identifySelf(), start: "999999999999" };
	const lost = { supervisor: gone, process: gone };
	const ended = addTask(box, { ...lost, kind: "droid", command: ["droid"] });
	writeFileSync(
		`${box.dir}/${ended}.out`,
		'{"type":"completion","finalText":"ok"}\n',
	);
	const stopped = addTask(box, {
		...lost,
		stop: { reason: "cancel", at: ago(1), by: "somebody" },
	});
	const starting = addTask(box, { status: "queued", supervisor: gone });
	const started = Bun.spawn(["sleep", "600"], {
		env: { ...box.env, BG_TASK_ID: starting, BG_ATTEMPT: "1" },
	});
	const { dryRun, ...plan } = (await box.bg(["prune", "--dry-run"])).json();
	expect(dryRun).toBe(true);
	for (const id of [ended, stopped, starting])
		expect(box.record(id).completed_at).toBeUndefined();
	expect(plan.tasks).toEqual([
		{ id: stopped, taskId: stopped, reason: "cancel" },
		{ id: ended, taskId: ended, reason: "stream" },
	]);
	expect((await box.bg(["prune"])).json()).toEqual(plan);
	expect(box.record(ended)).toMatchObject({
		status: "completed",
		result: "ok",
	});
	expect(box.record(starting)).toMatchObject({
		status: "running",
		pid: started.pid,
	});
	await box.bg(["cancel", starting]);
	await started.exited;
});
