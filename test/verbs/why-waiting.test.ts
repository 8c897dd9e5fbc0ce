/** Why a queued task waits: `status`, `list` and `watch` say the same. */
import { expect, test } from "bun:test";
import { readProcess } from "../../lib/process/proc.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";
import { openPty } from "../tools/pty.ts";
import {
	block,
	entries,
	isEmpty,
	isOver,
	isReady,
	one,
	run,
} from "../tools/queue.ts";

/** Why a task waits, by status and by list, in JSON and as text; they have to agree. */
async function whyWaits(box: Sandbox, id: string): Promise<string> {
	const why = (await box.bg(["status", id])).json().waits_for;
	const { tasks } = (await box.bg(["list"])).json();
	const full = (await box.bg(["list", "--full"])).json().tasks;
	const find = (all: { id: string; waits_for?: string }[]) =>
		all.find((each) => each.id === id)?.waits_for;
	expect([find(tasks), find(full)]).toEqual([why, why]);
	const text = (await box.bg(["status", id, "--text"])).stdout;
	const row = (await box.bg(["list", "--text"])).stdout
		.split("\n")
		.find((line) => line.startsWith(id));
	for (const shown of [text, row]) expect(shown).toContain(`${why}`);
	return why;
}

concurrentTest("a task says its place in the line, by priority", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const deeper = { ...one, BG_DEPTH: "1" };
	const inner = await block(box, deeper);
	const ids: string[] = [];
	for (const priority of [0, 5, 0])
		ids.push(
			await run(box, ["true"], {
				flags: ["--priority", `${priority}`],
				env: one,
			}),
		);
	const below = await run(box, ["true"], { env: deeper });
	await isReady(box, 4);
	const [a = "", b = "", c = ""] = ids;
	const at = (place: string) =>
		`queued: ${place}, for a place (1 of 1 running)`;
	expect(await whyWaits(box, a)).toBe(at("2nd"));
	expect(await whyWaits(box, b)).toBe(at("1st"));
	expect(await whyWaits(box, c)).toBe(at("3rd"));
	expect(await whyWaits(box, below)).toBe(
		"queued: 1st, for a place (1 of 1 running at depth 2)",
	);
	const running = (await box.bg(["status", blocker.id])).json();
	expect(running).not.toHaveProperty("waits_for");
	blocker.open();
	inner.open();
	expect((await box.bg(["wait", ...ids, below])).code).toBe(0);
	const over = (await box.bg(["status", a])).json();
	expect(over).not.toHaveProperty("waits_for");
	await isEmpty(box);
});

concurrentTest(
	"a task says which others it comes after, as long as they are not over",
	async () => {
		const box = sandbox();
		const [first, second] = [await block(box, {}), await block(box, {})];
		const after = ["--after", `${first.id},${second.id}`];
		const id = await run(box, ["true"], { flags: after });
		const last = await run(box, ["true"], { flags: ["--after", id] });
		expect(await whyWaits(box, id)).toBe(
			`queued: after ${first.id} (running) and 1 more`,
		);
		expect(await whyWaits(box, last)).toBe(`queued: after ${id} (queued)`);
		first.open();
		await isOver(box, first.id);
		expect(await whyWaits(box, id)).toBe(
			`queued: after ${second.id} (running)`,
		);
		second.open();
		expect((await box.bg(["wait"])).code).toBe(0);
		await isEmpty(box);
	},
);

concurrentTest("a task says when its next attempt comes", async () => {
	const box = sandbox();
	const id = await run(box, ["false"], { flags: ["--retries", "6"] });
	const [seconds, attempt] = await until(async () => {
		const { attempt, waits_for } = (await box.bg(["status", id])).json();
		const [, seconds] = /^queued: next try in (\d+)s$/.exec(waits_for) ?? [];
		return seconds && [Number(seconds), attempt];
	}, "a pause before another attempt");
	expect(seconds).toBeGreaterThanOrEqual(1);
	expect(seconds).toBeLessThanOrEqual(2 ** (attempt - 2));
	await box.bg(["cancel", id]);
	await isEmpty(box);
});

concurrentTest(
	"a task says that its process is stopped, if only that keeps it waiting",
	async () => {
		const box = sandbox();
		const blocker = await block(box);
		const id = await run(box, ["true"], { env: one });
		const { pid = 0 } = box.record(id).supervisor ?? {};
		process.kill(pid, "SIGSTOP");
		await until(() => readProcess(pid)?.paused, "its stop");
		blocker.open();
		await isOver(box, blocker.id);
		const why = `queued: its process ${pid} is stopped (kill -CONT ${pid})`;
		expect(await whyWaits(box, id)).toBe(why);
		process.kill(pid, "SIGCONT");
		expect(await isOver(box, id)).toMatchObject({ status: "completed" });
		await isEmpty(box);
	},
);

concurrentTest("a paused task says that alone", async () => {
	const box = sandbox();
	const blocker = await block(box);
	const id = await run(box, ["true"], { env: one });
	const next = await run(box, ["true"], { env: one });
	await box.bg(["pause", id]);
	await isReady(box);
	expect(await whyWaits(box, id)).toBe("paused");
	const row = (await box.bg(["list", "--text"])).stdout
		.split("\n")
		.find((line) => line.startsWith(id));
	expect(row?.match(/paused/g)).toHaveLength(1);
	expect(await whyWaits(box, next)).toContain("1st, for a place");
	await box.bg(["cancel", id]);
	blocker.open();
	await isOver(box, next);
	await isEmpty(box);
});

concurrentTest(
	"a paused queue is said by launch, run, list, status, wait and watch",
	async () => {
		const box = sandbox();
		const warning =
			"bg: the queue is paused: queued tasks do not start (bg unpause --queue)\n";
		await box.bg(["pause", "--queue"]);
		const why = "queued: the queue is paused";
		const first = await box.bg(["run", "d", "--", "true"]);
		expect(first.json().waits_for).toBe(why);
		expect(first.stderr).toBe("");
		const text = await box.bg(["run", "--text", "d", "--", "true"]);
		expect(text.stderr).toBe(warning);
		const quiet = await box.bg(["run", "-q", "d", "--", "true"]);
		expect(quiet.stderr).toBe("");
		const line = `${JSON.stringify({ description: "d", command: ["true"] })}\n`;
		const input = line.repeat(2);
		const batch = await box.bg(["launch", "--batch", "-"], { input });
		const { tasks } = batch.json();
		expect(tasks).toMatchObject([{ waits_for: why }, { waits_for: why }]);
		const named = await box.bg(["launch", "--batch", "-", "--text"], { input });
		expect(named.stderr).toBe(warning);
		expect(await whyWaits(box, first.json().taskId)).toBe(why);
		expect((await box.bg(["list"])).json()).toMatchObject({
			queued: 7,
			queue: { paused: true },
			limits: { running: 8 },
		});
		const table = (await box.bg(["list", "--text"])).stdout;
		expect(table).toEndWith("\nthe queue is paused · limits: running 8\n");
		const waited = await box.bg(["wait", "--timeout", "2500s", "--any"], {
			env: { BG_SESSION_ID: "another" },
		});
		expect(waited).toMatchObject({ code: 0, stderr: "" });
		const timed = await box.bg(["wait", "--timeout", "1.2s"]);
		expect([timed.code, timed.stderr]).toEqual([124, warning]);
		const pty = openPty(box, ["watch"], { columns: 120 });
		await pty.untilScreen(
			/^bg watch {2}queue paused · 0 of 8 running, 7 queued/,
		);
		await pty.untilScreen(/· queued .* the queue is pa/);
		await box.bg(["limit", "running", "3"]);
		await pty.untilScreen(/ 0 of 3 running/);
		await box.bg(["unpause", "--queue"]);
		await pty.untilScreen(/^bg watch {2}0 of 3 running, 7 completed/);
		pty.type("q");
		await pty.ended;
		const after = (await box.bg(["list"])).json();
		expect(after).toMatchObject({ completed: 7, queue: { paused: false } });
		await isEmpty(box);
	},
);

test("list reads the queue once, however many tasks wait, and each says its place", async () => {
	const box = sandbox();
	const blocker = await block(box);
	await box.bg(["limit", "running", "1"]);
	const line = `${JSON.stringify({ description: "d", command: ["true"] })}\n`;
	await box.bg(["launch", "--batch", "-"], { input: line.repeat(113) });
	await isReady(box, 113);
	expect(entries(box, "queue").length).toBeGreaterThanOrEqual(113);
	const { tasks } = (
		await box.bg(["list", "--status", "queued", "--limit", "0"])
	).json();
	const places = tasks.map(
		({ waits_for }: { waits_for: string }) =>
			/queued: (\w+), for a place \(1 of 1 running\)/.exec(waits_for)?.[1],
	);
	const oldest = places.toReversed();
	expect(oldest.slice(0, 4)).toEqual(["1st", "2nd", "3rd", "4th"]);
	expect(oldest.slice(10, 13)).toEqual(["11th", "12th", "13th"]);
	expect(oldest.slice(20, 23)).toEqual(["21st", "22nd", "23rd"]);
	expect(oldest.slice(110)).toEqual(["111th", "112th", "113th"]);
	await box.bg(["limit", "running", "0"]);
	blocker.open();
	expect((await box.bg(["wait"])).code).toBe(0);
	await isEmpty(box);
});
