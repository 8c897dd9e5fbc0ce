import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { identifyMachine } from "../../lib/process/machine.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import {
	linesOf,
	type Sandbox,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import {
	aWhile,
	block,
	isEmpty,
	isOver,
	isReady,
	isRunning,
	one,
	run,
} from "../tools/queue.ts";

/** Sets a limit and returns the answer. */
async function limit(box: Sandbox, ...words: string[]) {
	const answer = await box.bg(["limit", ...words]);
	expect([answer.code, answer.error]).toEqual([0, ""]);
	return answer.json();
}

const runningOf = (box: Sandbox, ids: readonly string[]) =>
	ids.filter((id) => box.record(id).status === "running");

describe("limit", () => {
	test("shows what is in force and what is in use, and what was set before", async () => {
		const box = sandbox();
		const usual = {
			limits: { running: 8, per_droid: 0, droid: {}, model: {} },
			set: { droid: {}, model: {} },
			queue: { paused: false },
		};
		const machine = identifyMachine().machine;
		const empty = { machine, depth: 1, running: 0, queued: 0, here: true };
		expect(await limit(box)).toMatchObject({ ...usual, in_use: [empty] });
		expect(existsSync(box.dir)).toBe(false);
		const blocker = await block(box, {});
		const deeper = await block(box, { BG_DEPTH: "1" });
		expect(await limit(box, "running", "1")).toMatchObject({
			changed: { limit: "running", before: "default", now: 1 },
			limits: { running: 1 },
			set: { running: 1 },
		});
		const next = await run(box, ["true"]);
		const shown = await limit(box, "running", "0");
		expect(shown.changed).toEqual({ limit: "running", before: 1, now: 0 });
		await isOver(box, next);
		expect((await limit(box)).in_use).toMatchObject([
			{ depth: 1, running: 1, queued: 0, here: true },
			{ depth: 2, running: 1, queued: 0, here: true },
		]);
		await limit(box, "droid", "reviewer", "2");
		await limit(box, "model", "opus", "3");
		const unset = await limit(box, "running", "default");
		expect(unset.changed).toEqual({
			limit: "running",
			before: 0,
			now: "default",
		});
		expect(unset).toMatchObject({
			limits: { running: 8, droid: { reviewer: 2 }, model: { opus: 3 } },
			set: { droid: { reviewer: 2 }, model: { opus: 3 } },
		});
		expect((await box.bg(["limit", "--text"])).stdout.split("\n")).toEqual([
			"running         at most 8       BG_MAX_RUNNING of each launch, here",
			"droid reviewer  at most 2       set",
			"model opus      at most 3       set",
			"depth 1         1 of 8 running  0 queued",
			"depth 2         1 of 8 running  0 queued",
			"",
		]);
		const last = await limit(box, "droid", "reviewer", "default");
		expect(last.changed.before).toBe(2);
		await limit(box, "model", "opus", "default");
		expect(existsSync(join(box.dir, ".limits"))).toBe(false);
		blocker.open();
		deeper.open();
		await isEmpty(box);
	});

	test("shows the places of other machines with their machine", async () => {
		const box = sandbox();
		await isOver(box, await run(box, ["true"]));
		const id = createTaskId();
		const { boot } = identifyMachine();
		const far = { machine: "far:1", boot, pid: 1, start: "1" };
		const task = { id, status: "running", process: far, supervisor: far };
		writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(task));
		const slot = ["ready", "999", "1", id, "far%3A1", ""].join();
		writeFileSync(join(box.dir, ".slots", slot), "");
		expect((await limit(box)).in_use).toMatchObject([
			{ here: true, running: 0 },
			{ here: false, machine: "far:1", running: 1 },
		]);
		const { stdout } = await box.bg(["limit", "--text"]);
		expect(stdout).toContain("depth 1 on far  1 of 8 running");
	});

	test.each([
		[["speed", "3"], 'there is no limit "speed"'],
		[["runing", "3"], "did you mean running?"],
		[["running"], "bg limit running takes a number"],
		[["running", "3", "4"], "bg limit running takes a number"],
		[["running", "-3"], "bg limit has no flag -3"],
		[["running", "1.5"], 'bg limit running "1.5": it takes a number'],
		[["running", ""], 'bg limit running "": it takes a number'],
		[["running", "1234567"], "it takes a number"],
		[["running", "none"], "default to unset it"],
		[["droid", "1"], "bg limit droid takes a name and a number"],
		[["droid", "a/b", "1"], '"a/b" is not a droid name'],
		[["droid", "constructor", "1"], "cannot be limited"],
		[["model", "", "1"], "the name of the model is empty"],
		[["model", "a\nb", "1"], "is not a model name"],
		[["model", "opus", "x"], 'bg limit model "x": it takes a number'],
	])("refuses %j and sets nothing", async (words, says) => {
		const box = sandbox();
		const { code, error } = await box.bg(["limit", ...words]);
		expect(error).toContain(says);
		expect(code).toBe(2);
		expect(existsSync(join(box.dir, ".limits"))).toBe(false);
	});

	test("is refused inside a task, as is a pause of the queue; both can be read there", async () => {
		const box = sandbox();
		const env = { BG_TASK_ID: createTaskId() };
		for (const words of [
			["limit", "running", "1"],
			["pause", "--queue"],
			["unpause", "--queue"],
		]) {
			const { code, error } = await box.bg(words, { env });
			expect([...words, code]).toEqual([...words, 111]);
			expect(error).toContain("is refused inside a task");
		}
		const { limits, queue } = (await box.bg(["limit"], { env })).json();
		expect([limits.running, queue.paused]).toEqual([8, false]);
	});

	test("of two that set limits at once none is lost", async () => {
		const box = sandbox();
		const names = Array.from({ length: 8 }, (_, n) => `d${n}`);
		await Promise.all(
			names.map((name, n) => limit(box, "droid", name, `${n}`)),
		);
		const { set } = await limit(box);
		expect(set.droid).toEqual(
			Object.fromEntries(names.map((name, n) => [name, n])),
		);
	});

	test("a file of limits that is broken is named, and nothing is lost by it", async () => {
		const box = sandbox();
		mkdirSync(box.dir, { mode: 0o700 });
		const path = join(box.dir, ".limits");
		writeFileSync(path, "{", { mode: 0o600 });
		for (const words of [["limit"], ["limit", "running", "1"]]) {
			const { code, error } = await box.bg(words);
			expect(code).toBe(111);
			expect(error).toContain(`the limits in ${path} cannot be read`);
		}
		const list = await box.bg(["list"]);
		expect(list.code).toBe(0);
		expect(list.json().limits.error).toContain("cannot be read");
		const { checks } = (await box.bg(["doctor"])).json();
		expect(checks).toContainEqual(
			expect.objectContaining({ check: "limits", ok: false }),
		);
	});
});

concurrentTest(
	"a raised limit starts those that wait at once, in their order; a lowered one stops nothing",
	async () => {
		const box = sandbox();
		const gate = join(box.home, "gate");
		const log = join(box.home, "log");
		const blocker = await block(box);
		const ids: string[] = [];
		const script = `echo "$BG_TASK_ID" >>${log}; until test -e ${gate}; do sleep 0.2; done`;
		for (const priority of [0, 5, 0, -1, 5]) {
			const flags = ["--priority", `${priority}`];
			ids.push(await run(box, ["sh", "-c", script], { flags, env: one }));
		}
		await isReady(box, ids.length);
		await limit(box, "running", "3");
		const first = [ids[1], ids[4]].map(String);
		await until(() => runningOf(box, ids).length === 2, "two more tasks");
		expect(runningOf(box, ids)).toEqual(first);
		await limit(box, "running", "1");
		blocker.open();
		await isOver(box, blocker.id);
		await aWhile();
		expect(runningOf(box, ids)).toEqual(first);
		writeFileSync(gate, "");
		expect((await box.bg(["wait", ...ids])).code).toBe(0);
		const order = [1, 4, 0, 2, 3].map((n) => `${ids[n]}`);
		const [a, b, ...later] = linesOf(log);
		expect([[a, b].sort(), later]).toEqual([first, order.slice(2)]);
		// At most one at once: each began after the end of the one before it.
		for (const [at, id] of order.slice(3).entries())
			expect(
				`${box.record(id).started_at}` >=
					`${box.record(order[at + 2] ?? "").completed_at}`,
			).toBe(true);
		await isEmpty(box);
	},
);

concurrentTest(
	"without a setting each launch brings its limits, and with one its own do not count",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const held = await run(box, ["true"], { env: one });
		const free = await run(box, ["true"], { env: { BG_MAX_RUNNING: "2" } });
		await isOver(box, free);
		expect(box.record(held).status).toBe("queued");
		await limit(box, "running", "1");
		const late = await run(box, ["true"], { env: { BG_MAX_RUNNING: "2" } });
		await aWhile();
		expect(box.record(late).status).toBe("queued");
		await limit(box, "running", "default");
		await isOver(box, late);
		expect(box.record(held).status).toBe("queued");
		blocker.open();
		await isOver(box, held);
		await isEmpty(box);
	},
);

concurrentTest.each(["droid", "model", "model of its definition"])(
	"a limit on a %s holds its tasks, says so, and leaves the others alone",
	async (what) => {
		const box = sandbox();
		const env = { BG_DROID: standIn };
		const gate = join(box.home, "gate");
		const droids = join(box.home, ".factory", "droids");
		mkdirSync(droids, { recursive: true });
		for (const [name, model] of [
			["hephaestus", "opus"],
			["explorer", "inherit"],
		])
			writeFileSync(
				join(droids, `${name}.md`),
				`---\nmodel: ${what === "model of its definition" ? model : "inherit"}\n---\nYou work.\n`,
			);
		const held = `RUN[until test -e ${gate}; do sleep 0.2; done]`;
		const launch = async (prompt: string, isLimited: boolean) => {
			const droid = isLimited || what === "model" ? "hephaestus" : "explorer";
			const model = ["main", "medium", isLimited ? "opus" : "haiku"];
			const words = ["launch", "-q", "d", prompt, droid];
			if (what === "model") words.push(...model);
			const answer = await box.bg(words, { env });
			expect(answer.error).toBe("");
			return answer.stdout.trim();
		};
		const [kind, name] =
			what === "droid" ? ["droid", "hephaestus"] : ["model", "opus"];
		await limit(box, `${kind}`, `${name}`, "1");
		const first = await launch(held, true);
		await isRunning(box, first);
		const second = await launch("SAY[hi]", true);
		const third = await launch("SAY[hi]", true);
		const other = await launch("SAY[hi]", false);
		const command = await run(box, ["true"], { env });
		expect((await box.bg(["wait", other, command])).code).toBe(0);
		expect(box.record(second).status).toBe("queued");
		const { tasks } = (await box.bg(["list", "--status", "queued"])).json();
		const says = (place: string) =>
			`queued: ${place}, for a place of ${kind} ${name} (1 of 1 running)`;
		expect(tasks).toMatchObject([
			{ id: third, waits_for: says("2nd") },
			{ id: second, waits_for: says("1st") },
		]);
		expect((await limit(box)).in_use).toMatchObject([
			{ [`${kind}`]: { [`${name}`]: 1 } },
		]);
		await limit(box, `${kind}`, `${name}`, "0");
		expect((await box.bg(["wait", second, third])).code).toBe(0);
		expect(box.record(first).status).toBe("running");
		writeFileSync(gate, "");
		await isOver(box, first);
		await isEmpty(box);
	},
);
