import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { sandbox } from "../tools/harness.ts";
import { send, stopOf } from "../tools/hooks.ts";
import {
	aWhile,
	block,
	type Env,
	isEmpty,
	isOver,
	kill,
	one,
	run,
} from "../tools/queue.ts";

const unknownId = "bg_19f0c2a4b1c000000";

test("--after starts once all have completed, and not before", async () => {
	const box = sandbox();
	const [a, b] = [await block(box, {}), await block(box, {})];
	const flags = ["--after", `${a.id},${b.id}`];
	const id = await run(box, ["true"], { flags });
	a.open();
	await isOver(box, a.id);
	await aWhile();
	expect(box.record(id).status).toBe("queued");
	b.open();
	const task = await isOver(box, id);
	expect(task).toMatchObject({ status: "completed", after: [a.id, b.id] });
	const { completed_at } = await isOver(box, b.id);
	expect(`${task.started_at}` >= `${completed_at}`).toBe(true);
	await isEmpty(box);
});

test("what comes after a failure never starts, nor what comes after that", async () => {
	const box = sandbox();
	const a = await block(box, {});
	const made = join(box.home, "made");
	const touch = ["touch", made];
	const b = await run(box, touch, { flags: ["--after", a.id] });
	const c = await run(box, touch, { flags: ["--after", b] });
	kill(box.record(a.id).pid);
	expect((await box.bg(["wait", a.id, b, c])).code).toBe(1);
	const end = { status: "error", reason: "dependency" };
	expect(box.record(b)).toMatchObject(end);
	expect(box.record(b).error).toContain(a.id);
	expect(box.record(c)).toMatchObject(end);
	expect(box.record(c).error).toContain(b);
	expect(box.record(c).started_at).toBeUndefined();
	expect(existsSync(made)).toBe(false);
	// Over already: there is nothing left to wait for.
	const late = await run(box, touch, { flags: ["--after", c] });
	expect((await isOver(box, late)).error).toContain(c);
	await isEmpty(box);
});

test("--after-any starts whatever way they ended", async () => {
	const box = sandbox();
	const failed = await run(box, ["false"]);
	const done = await run(box, ["true"]);
	const blocker = await block(box, {});
	const flags = ["--after-any", [failed, done, blocker.id].join(",")];
	const id = await run(box, ["true"], { flags });
	await box.bg(["wait", failed, done]);
	expect(box.record(id).status).toBe("queued");
	await box.bg(["cancel", blocker.id]);
	expect(await isOver(box, id)).toMatchObject({ status: "completed" });
	await isEmpty(box);
});

test("an end counts once, whether complete, a hook or cancel reports it, or none", async () => {
	const box = sandbox();
	const ends = {
		complete: (id: string) => box.bg(["complete", id, "done"]),
		hook: (id: string) => send(box, stopOf(`${box.record(id).session_id}`)),
		cancel: (id: string) => box.bg(["cancel", id]),
		lost: async (id: string) => {
			const { supervisor, pid } = box.record(id);
			kill(supervisor?.pid, pid);
		},
	};
	const outcomes = Object.values(ends).map(async (end) => {
		const blocker = await block(box, {});
		const after = await run(box, ["true"], { flags: ["--after", blocker.id] });
		const any = await run(box, ["true"], {
			flags: ["--after-any", blocker.id],
		});
		await end(blocker.id);
		const tasks = await Promise.all([isOver(box, after), isOver(box, any)]);
		blocker.open();
		return tasks.map(({ status, reason }) => `${status}: ${reason}`);
	});
	const completed = "completed: exit";
	const never = "error: dependency";
	expect(await Promise.all(outcomes)).toEqual([
		[completed, completed],
		[completed, completed],
		[never, completed],
		[never, completed],
	]);
	await isEmpty(box);
});

test("a queued task may be ended by complete or a hook as well, and never runs", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const made = join(box.home, "made");
	const ids = [
		await run(box, ["touch", made], { env: one }),
		await run(box, ["touch", made], { env: one }),
	];
	const [a = "", b = ""] = ids;
	const after = await run(box, ["true"], { flags: ["--after", ids.join()] });
	await box.bg(["complete", a, "done"]);
	await send(box, stopOf(`${box.record(b).session_id}`));
	expect(await isOver(box, after)).toMatchObject({ status: "completed" });
	blocker.open();
	await isEmpty(box);
	expect(existsSync(made)).toBe(false);
});

test("--after takes tasks that are there, and neither one's own nor those above", async () => {
	const box = sandbox();
	const above = await block(box, {});
	const inside = (id: string) => ({ BG_TASK_ID: id, BG_DEPTH: "1" });
	const own = await run(box, ["true"], { env: inside(above.id) });
	const refused = async (flags: string[], env: Env = {}) => {
		const answer = await box.bg(["run", ...flags, "d", "--", "true"], { env });
		expect(answer.code).toBe(2);
		return answer.error;
	};
	for (const flag of ["--after", "--after-any"]) {
		for (const id of [unknownId, "nonsense", `${own},${unknownId}`, ""])
			expect(await refused([flag, id])).toContain(`${flag}:`);
		for (const id of [own, above.id])
			expect(await refused([flag, id], inside(own))).toContain(id);
	}
	await refused(["--after", own, "--after-any", own]);
	above.open();
	await box.bg(["wait", above.id, own]);
	expect((await box.bg(["list"])).json().total).toBe(2);
});
