import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Answer, root, sandbox } from "../tools/harness.ts";

test("complete says what came out and does not end the process", async () => {
	const box = sandbox();
	const untilGo = "until test -e go; do sleep 0.2; done; exit 7";
	const id = await box.run(["sh", "-c", untilGo]);
	await box.untilTask(id, ({ process }) => process, "its process");
	const answer = await box.bg(["complete", id, "all done"]);
	expect(answer.json()).toEqual({
		id,
		taskId: id,
		status: "completed",
		completed: true,
	});
	const { tasks } = (await box.bg(["list"])).json();
	expect(tasks).toMatchObject([{ status: "completed", note: "process alive" }]);
	writeFileSync(join(box.home, "go"), "");
	// What the process did in the end is added beside it.
	const end = await box.untilTask(
		id,
		(task) => task.exit_code === 7,
		"the exit",
	);
	expect(end).toMatchObject({
		status: "completed",
		reason: "manual",
		result: "all done",
	});
});

test("complete with an error ends the task as error", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "60"]);
	await box.untilTask(id, ({ process }) => process, "its process");
	await box.bg(["complete", id, "half", "it broke"]);
	expect(box.record(id)).toMatchObject({ status: "error", error: "it broke" });
	const cancel = await box.bg(["cancel", id]);
	expect(cancel.json().tasks).toMatchObject([
		{ cancelled: true, status: "error" },
	]);
});

test("the first final state wins, whoever writes it under whatever runtime", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	await box.untilTask(id, ({ process }) => process, "its process");
	const bundle = join(root, "dist", "bg.mjs");
	const isLocked = ({ error }: Answer) => error.includes("unable to lock");
	const runtimes = [
		["bun", bundle],
		["node", bundle],
		["deno", "run", "-A", bundle],
		[join(root, "dist", "bg")],
	];
	const answers = await Promise.all(
		Array.from({ length: 24 }, async (_, n) => {
			const argv = runtimes[n % runtimes.length] ?? [];
			const call = () => box.bg(["complete", id, `writer ${n}`], { argv });
			let answer = await call();
			// It waits 2 s for the others, which may not be enough.
			for (let tries = 1; tries < 10 && isLocked(answer); tries++)
				answer = await call();
			const { json, code } = answer;
			expect(code).toBe(json().completed ? 0 : 1);
			return { n, ...json() };
		}),
	);
	const winners = answers.filter(({ completed }) => completed);
	expect(winners).toHaveLength(1);
	expect(box.record(id)).toMatchObject({
		status: "completed",
		result: `writer ${winners[0]?.n}`,
	});
	await box.bg(["cancel", id]);
	expect(box.record(id).result).toBe(`writer ${winners[0]?.n}`);
});
