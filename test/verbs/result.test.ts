/** `bg result`: the final answer alone, whole. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { sandbox, standIn } from "../tools/harness.ts";
import { addEnd, addTask, parent, send, toolUse } from "../tools/hooks.ts";

test("result prints the answer alone, and nothing else", async () => {
	const box = sandbox();
	box.env.BG_DROID = standIn;
	const words = "First line.\n\n- a list ünï 😀";
	const launch = await box.bg(["launch", "-q", "d", `SAY[${words}]`]);
	const id = launch.stdout.trim();
	const command = await box.run(["sh", "-c", "echo one; echo two"]);
	await box.bg(["wait", id, command]);
	const answer = await box.bg(["result", id]);
	expect(answer).toMatchObject({ code: 0, stdout: `${words}\n`, stderr: "" });
	const both = await box.bg(["result", command, id]);
	expect(both.stdout).toBe(
		`== ${command} ==\none\ntwo\n== ${id} ==\n${words}\n`,
	);
	expect((await box.bg(["result", id, "--json"])).json()).toEqual({
		tasks: [{ id, taskId: id, status: "completed", result: words }],
	});
});

test("an answer of 60 KiB is whole, and one past 64 KiB names the command for the rest", async () => {
	const box = sandbox();
	const line = (text: string) =>
		`${JSON.stringify({ type: "completion", finalText: text })}\n`;
	const add = (text: string, more: object = {}) => {
		const kept = Buffer.from(text)
			.subarray(0, 16 * 1024)
			.toString();
		const id = addTask(box, {
			kind: "droid",
			status: "completed",
			result: kept.replace(/\uFFFD+$/, ""),
			...more,
		});
		writeFileSync(join(box.dir, `${id}.out`), line(text), { mode: 0o600 });
		return id;
	};
	const whole = "é123456789".repeat(5500);
	const first = await box.bg(["result", add(whole)]);
	expect(first.stdout === `${whole}\n`).toBe(true);
	const long = "é123456789\n".repeat(12_000);
	const id = add(long);
	let text = "";
	let call = `result ${id}`;
	for (let parts = 0; call && parts < 9; parts++) {
		const { stdout } = await box.bg(call.split(" "));
		const [, part = "", next = ""] =
			/^([\s\S]*?)(?:\[… cut: \S+ (.*) shows more\]\n)?$/.exec(stdout) ?? [];
		expect(Buffer.byteLength(part)).toBeLessThanOrEqual(64 * 1024 + 1);
		text += part;
		call = next;
	}
	expect(text === long).toBe(true);
	const { tasks } = (await box.bg(["result", id, "--json"])).json();
	expect(tasks[0].truncated).toBe(true);
	expect(tasks[0].more).toContain(`result ${id} --since `);
	// What was recorded by hand is the answer, whatever the stream says.
	const byHand = add(long, { result: "no: ".repeat(4096), reason: "manual" });
	expect((await box.bg(["result", byHand])).stdout).toStartWith("no: no: ");
});

test("the answer of a command that wrote more than its record keeps is its last 64 KiB", async () => {
	const box = sandbox();
	const script =
		"i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
	const id = await box.run(["sh", "-c", script]);
	await box.bg(["wait", id]);
	const { stdout } = await box.bg(["result", id]);
	expect(stdout).toMatch(
		new RegExp(`^\\[… cut: \\S+ output ${id} --raw shows more\\]\n`),
	);
	expect(stdout).toEndWith("line 19998\nline 19999\n");
	expect(stdout.length).toBeGreaterThan(64 * 1024);
});

test("result of a task that failed or still runs says so on stderr, and exits 1", async () => {
	const box = sandbox();
	const bad = await box.run(["sh", "-c", "echo why; exit 3"]);
	const live = await box.run(["sleep", "600"]);
	await box.untilTask(live, ({ process }) => process, "its start");
	await box.bg(["wait", bad]);
	const failed = await box.bg(["result", bad]);
	expect([failed.code, failed.stdout]).toEqual([1, "why\n"]);
	expect(failed.stderr).toBe(`bg: ${bad} ended as error: exited 3\n`);
	const running = await box.bg(["result", live]);
	expect([running.code, running.stdout]).toEqual([1, ""]);
	expect(running.stderr).toMatch(
		new RegExp(
			`^bg: ${live} is running: no result yet \\(\\S+ wait ${live}\\)\n$`,
		),
	);
	const { tasks } = (await box.bg(["result", "--json", bad, live])).json();
	expect(tasks).toEqual([
		{ id: bad, taskId: bad, status: "error", error: "exited 3", result: "why" },
		{ id: live, taskId: live, status: "running" },
	]);
	const missing = await box.bg(["result", "bg_12345678"]);
	expect([missing.code, missing.stdout]).toEqual([3, ""]);
	expect(missing.stderr).toStartWith('bg: no task "bg_12345678"');
	await box.bg(["cancel", live]);
});

test("what result printed is collected", async () => {
	const box = sandbox();
	const id = addEnd(box, parent, "fine");
	const mine = { env: { BG_SESSION_ID: parent } };
	expect((await box.bg(["result", id], mine)).stdout).toBe("fine\n");
	expect((await send(box, toolUse(parent))).stdout).toBe("");
	expect((await box.bg(["wait"], mine)).json().tasks).toEqual([]);
});
