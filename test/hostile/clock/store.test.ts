/**
 * Verbs and hooks after the clock was set, by an hour or a day, forward or back. File times stay true
 * here: to a process with a moved clock each file is an hour or a day old, or lies in the future.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { archivedRecord } from "../../../lib/store/paths.ts";
import { compareIds, createTaskId, dayOfId } from "../../../lib/task/ids.ts";
import { day, hour, offsetOf, sandboxWithClock } from "../../tools/clock.ts";
import { concurrentTest } from "../../tools/concurrent.ts";
import { type Sandbox, until } from "../../tools/harness.ts";
import { noticeIn, parent, toolUse } from "../../tools/hooks.ts";
import { holdLock } from "../../tools/locks.ts";
import { isRunning } from "../../tools/queue.ts";

const gate = "until test -e go; do sleep 0.2; done";
const open = (box: Sandbox) => writeFileSync(join(box.home, "go"), "");

test("ids of one launch keep their order when the clock is set back between them", () => {
	const now = Date.now();
	const ids = [now, now - hour, now - hour + 1, now + 1].map(createTaskId);
	expect(ids.toSorted(compareIds)).toEqual(ids);
});

concurrentTest.each([hour, -day])(
	"prune leaves a healthy task after the clock was moved by %d ms",
	async (jump) => {
		const { box, clock, bg, script } = await sandboxWithClock();
		const id = await script(gate);
		await isRunning(box, id);
		clock.move(jump);
		// The age alone decides, and it is that of the process.
		for (const flags of [[], ["--ttl", "50m"]])
			expect((await bg(["prune", ...flags])).json()).toMatchObject({
				removed: [],
				overdue: [],
				unknown: [],
			});
		open(box);
		await bg(["wait", id]);
		const { status, completed_at } = box.record(id);
		expect([status, offsetOf(completed_at)]).toEqual(["completed", jump]);
	},
);

concurrentTest(
	"a task that ended before it started, by the clock, has no negative duration and is not deleted",
	async () => {
		const { box, clock, bg, script } = await sandboxWithClock();
		const id = await script(`${gate}; exit 3`);
		await isRunning(box, id);
		clock.move(-day);
		open(box);
		await bg(["wait", id]);
		const { started_at = "", completed_at = "" } = box.record(id);
		expect(Date.parse(completed_at)).toBeLessThan(Date.parse(started_at));
		for (const args of [
			["list", "--text"],
			["status", id, "--text"],
		]) {
			const { stdout } = await bg(args);
			expect(stdout).toContain(id);
			expect(stdout).not.toMatch(/(^|\s)-\d/m);
		}
		expect((await bg(["list", "--since", "1h"])).json().total).toBe(1);
		expect((await bg(["cleanup", "--delete"])).json().deleted).toEqual([]);
	},
);

concurrentTest(
	"a task that is launched after the clock was set back is the last one",
	async () => {
		const { box, clock, bg, script } = await sandboxWithClock();
		const ids = [await script("true"), await script("true")];
		clock.move(-hour);
		ids.push(await script("true"), await script("true"));
		await bg(["wait", ...ids]);
		expect(offsetOf(box.record(ids[3] ?? "").queued_at)).toBe(-hour);
		expect((await bg(["status", "@last"])).json().id).toBe(ids[3]);
		clock.move(0);
		ids.push(await script("true"));
		expect((await bg(["wait", "@last"])).json().tasks[0].taskId).toBe(ids[4]);
		expect(new Set(ids).size).toBe(5);
	},
);

concurrentTest(
	"a lock stays with its living holder when the clock is moved by a day",
	async () => {
		const { box, clock, bg, script } = await sandboxWithClock();
		const id = await script(gate);
		await isRunning(box, id);
		const release = holdLock(box.dir, id);
		const names = () => readdirSync(join(box.dir, ".locks", id));
		const held = names();
		clock.move(day);
		const refused = await bg(["complete", id, "done"]);
		expect([refused.code, names()]).toEqual([111, held]);
		release();
		const { completed } = (await bg(["complete", id, "done"])).json();
		expect(completed).toBe(true);
		expect(offsetOf(box.record(id).completed_at)).toBe(day);
		open(box);
	},
);

concurrentTest(
	"archived tasks are found whatever the clock was, in the folder of their ids' day",
	async () => {
		const env = { BG_KEEP: "1" };
		const { box, clock, bg, script } = await sandboxWithClock({ env });
		const offsets = new Map<string, number>();
		for (const offset of [0, day, -day, day]) {
			clock.move(offset);
			const id = await script(`echo "said at ${offset}"`);
			await bg(["wait", id]);
			expect(offsetOf(box.record(id).completed_at)).toBe(offset);
			// Its supervisor archives what ended before.
			await until(() => box.alive().length === 0, "its supervisor's exit");
			for (const before of offsets.keys())
				expect(existsSync(archivedRecord({ dir: box.dir }, before))).toBe(true);
			offsets.set(id, offset);
		}
		for (const [id, offset] of offsets) {
			const at = new Date(Date.now() + offset).toISOString();
			expect(dayOfId(id)).toBe(at.slice(0, 10));
			const { status } = (await bg(["status", id])).json();
			expect(status).toBe("completed");
			expect((await bg(["output", id])).stdout).toBe(`said at ${offset}\n`);
		}
	},
);

concurrentTest("a notice is told once while the clock is moved", async () => {
	const env = { BG_SESSION_ID: parent };
	const { box, clock, bg, script } = await sandboxWithClock({ env });
	const hear = async () => {
		const input = JSON.stringify(toolUse(parent));
		return noticeIn(await bg(["hook"], { input })) ?? "";
	};
	const isDue = () => existsSync(join(box.dir, ".due", parent));
	const told: string[] = [];
	for (const [before, after] of [
		[0, day],
		[day, -hour],
		[-hour, 0],
	] as const) {
		clock.move(before);
		const id = await script("true");
		await until(isDue, "its notice");
		expect(offsetOf(box.record(id).completed_at)).toBe(before);
		clock.move(after);
		const notice = await hear();
		expect(notice).toContain(id);
		for (const other of told) expect(notice).not.toContain(other);
		told.push(id);
		expect([isDue(), await hear()]).toEqual([false, ""]);
	}
});
