/**
 * A clock that is set back an hour while bg runs. Node loads a module that moves the clock of the
 * launcher, of each supervisor and of each verb as soon as a file is there.
 */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { identifySelf } from "../../lib/process/identity.ts";
import { reconcileTask } from "../../lib/prune/reconcile.ts";
import { WaitingTasks } from "../../lib/spawn/waiting.ts";
import { openStore } from "../../lib/store/directory.ts";
import { createTask } from "../../lib/store/records.ts";
import { compareIds, createTaskId } from "../../lib/task/ids.ts";
import { parseTask } from "../../lib/task/parse.ts";
import type { Task } from "../../lib/task/schema.ts";
import { root, type Sandbox, sandbox } from "../tools/harness.ts";

const hour = 3_600_000;

/** A way to call bg, and to set the clock back for it and all that it started. */
function withClock(box: Sandbox) {
	const mark = join(box.home, "back");
	const clock = join(box.home, "clock.mjs");
	writeFileSync(
		clock,
		`import { existsSync } from "node:fs";
		const RealDate = Date;
		const moved = () => RealDate.now() - (existsSync(${JSON.stringify(mark)}) ? ${hour} : 0);
		globalThis.Date = class extends RealDate {
			constructor(...given) { super(...(given.length ? given : [moved()])); }
			static now() { return moved(); }
		};`,
	);
	const env = { NODE_OPTIONS: `--import=${clock}`, BG_MAX_RUNNING: "1" };
	const argv = ["node", join(root, "dist/bg.mjs")];
	return {
		bg: (args: string[], input?: string) =>
			box.bg(args, { argv, env, ...(input !== undefined && { input }) }),
		setBack: () => writeFileSync(mark, ""),
	};
}

test("ids of one launch keep their order when the clock is set back between them", () => {
	const now = Date.now();
	const ids = [now, now - hour, now - hour + 1, now + 1].map(createTaskId);
	expect(ids.toSorted(compareIds)).toEqual(ids);
});

test("a pause before another attempt is not made longer by an hour", async () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const task: Task = {
		...parseTask(JSON.stringify({ id: createTaskId(), status: "queued" })),
		attempt: 2,
		not_before: new Date(Date.now() + hour).toISOString(),
		supervisor: identifySelf(),
	};
	createTask(store, task);
	expect(
		await new WaitingTasks(store, reconcileTask).wait(task, {
			isRunnable: false,
		}),
	).toBe(true);
});

test("what was queued before the clock was set back starts, and is waited for", async () => {
	const box = sandbox();
	const { bg, setBack } = withClock(box);
	const lines = ["until test -e go; do sleep 0.05; done", "true", "exit 3"].map(
		(text) => JSON.stringify({ description: "d", command: ["sh", "-c", text] }),
	);
	const batch = await bg(["launch", "-q", "--batch", "-"], lines.join("\n"));
	const ids = batch.stdout.trim().split("\n");
	await box.untilTask(ids[0] ?? "", ({ process }) => process, "a start");
	setBack();
	const late = (await bg(["run", "-q", "d", "--", "true"])).stdout.trim();
	expect((await bg(["list"])).json()).toMatchObject({ running: 1, queued: 3 });
	expect((await bg(["prune"])).json()).toMatchObject({
		removed: [],
		overdue: [],
	});
	writeFileSync(join(box.home, "go"), "");
	const { tasks } = (await bg(["wait", ...ids, late])).json();
	const ends = new Map(
		tasks.map((each: { taskId: string; status: string }) => [
			each.taskId,
			each.status,
		]),
	);
	expect([...ids, late].map((id) => ends.get(id))).toEqual([
		"completed",
		"completed",
		"error",
		"completed",
	]);
});

test("a timeout lasts as long as it shall", async () => {
	const box = sandbox();
	const { bg, setBack } = withClock(box);
	const slow = (
		await bg([
			"run",
			"-q",
			"--timeout",
			"3s",
			"--retries",
			"0",
			"d",
			"--",
			"sleep",
			"600",
		])
	).stdout.trim();
	await box.untilTask(slow, ({ process }) => process, "a start");
	setBack();
	const { tasks } = (await bg(["wait", slow])).json();
	expect(tasks).toMatchObject([
		{ status: "error", error: "timed out after 3s" },
	]);
	const record = box.record(slow);
	expect(record).toMatchObject({ reason: "timeout" });
	// It says when, by the clock as it was at each moment: an hour before its start.
	expect(Date.parse(record.completed_at ?? "")).toBeLessThan(
		Date.parse(record.started_at ?? ""),
	);
	expect((await bg(["list", "--text"])).stdout).toContain(slow);
	expect((await bg(["cleanup", "--delete"])).json()).toMatchObject({
		deleted: [],
	});
});
