/** What tasks may do to others: at most what a task of their own autonomy could do. */
import { expect, test } from "bun:test";
import { sandbox, standIn } from "../tools/harness.ts";
import { block, isEmpty, one, run } from "../tools/queue.ts";

const levels = ["low", "medium", "high"] as const;

test("inside a task, a change of another needs the autonomy of that one; a command: medium", async () => {
	const box = sandbox();
	const env = { BG_DROID: standIn };
	const launch = async (autonomy: string, more = {}) => {
		const words = ["launch", "-q", "d", "SAY[hi]", "--autonomy", autonomy];
		const all = { ...env, ...more };
		return (await box.bg(words, { env: all })).stdout.trim();
	};
	const ended = new Map<string, string>();
	for (const level of levels) ended.set(await launch(level), level);
	ended.set(await box.run(["true"]), "medium");
	expect((await box.bg(["wait", ...ended.keys()])).code).toBe(0);
	const blocker = await block(box);
	const queued = new Map<string, string>();
	for (const level of levels) queued.set(await launch(level, one), level);
	queued.set(await run(box, ["true"], { env: one }), "medium");

	const inside = [...queued].slice(0, levels.length);
	const call = async (from: string, words: string[]) => {
		const { code, error } = await box.bg(words, {
			env: { ...env, ...one, BG_TASK_ID: from, BG_DEPTH: "1" },
		});
		return { code, error };
	};
	const rank = (level: string) =>
		levels.indexOf(level as (typeof levels)[number]);
	const expectAllowed = async (
		[from, own]: [string, string],
		[id, needed]: [string, string],
		words: string[],
	) => {
		const { code, error } = await call(from, words);
		const isAllowed = rank(own) >= rank(needed);
		expect([own, needed, words, code]).toEqual([
			own,
			needed,
			words,
			isAllowed ? 0 : 111,
		]);
		if (!isAllowed)
			expect(error).toContain(
				`${words[0]} of ${id} needs autonomy ${needed}, but the task running this command has ${own}`,
			);
	};
	// The interesting pairs only: each is a process, in each form.
	const isTold = (own: string, needed: string) =>
		own === "low" || rank(needed) >= rank(own);
	for (const from of inside) {
		const near = ([, needed]: [string, string]) => isTold(from[1], needed);
		for (const to of [...queued].filter(near))
			await expectAllowed(from, to, ["edit", to[0], "--priority", "1"]);
		for (const to of [...ended].filter(near).slice(-2))
			await expectAllowed(from, to, ["retry", to[0]]);
	}
	const [to = ["", ""]] = [...ended].slice(1);
	for (const from of inside.slice(0, 2))
		await expectAllowed(from, to, ["resume", to[0], "--fork", "p"]);
	// A command that was launched outside of tasks has no autonomy, and no bounds.
	const [high = ""] = [...queued.keys()].slice(2);
	const edit = ["edit", high, "--priority", "2"];
	expect((await call(blocker.id, edit)).code).toBe(0);

	const [low = "", medium = ""] = queued.keys();
	const onEnd = ["--on-end", "true"];
	const line = JSON.stringify({
		description: "d",
		prompt: "p",
		on_end: "true",
	});
	const refused = [
		await call(low, ["launch", "d", "SAY[hi]", ...onEnd]),
		await box.bg(["launch", "--batch", "-"], {
			env: { ...env, BG_TASK_ID: low, BG_DEPTH: "1" },
			input: line,
		}),
	];
	for (const { code, error } of refused) {
		expect(error).toContain("--on-end needs autonomy medium");
		expect(code).not.toBe(0);
	}
	const allowed = await call(medium, ["launch", "d", "SAY[hi]", ...onEnd]);
	expect([allowed.code, allowed.error]).toEqual([0, ""]);
	blocker.open();
	expect((await box.bg(["wait"])).code).toBe(0);
	await isEmpty(box);
});
