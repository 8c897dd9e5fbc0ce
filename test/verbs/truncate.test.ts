import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Sandbox, sandbox } from "../tools/harness.ts";

const long = 'lorem \u001b[31m ipsum \u009b "`<|\n'.repeat(300);

/** A task that is over and has much to say, everywhere. */
async function talker(box: Sandbox): Promise<string> {
	const id = await box.run(["true"]);
	await box.bg(["wait", id]);
	const words = {
		description: long,
		prompt: long,
		result: long,
		error: long,
		agent: long,
		cwd: `/${"d".repeat(4000)}`,
		command: Array.from({ length: 500 }, () => "an argument"),
		tags: Array.from({ length: 100 }, (_, n) => `tag ${n}`),
		left_behind: Array.from({ length: 20 }, () => ({ pid: 2, command: long })),
		progress: { toolCalls: 1, lastTool: long, lastMessage: long },
	};
	const record = { ...box.record(id), kind: "droid", ...words };
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	writeFileSync(join(box.dir, `${id}.out`), long.repeat(200));
	return id;
}

test("no verb says more than 2,000 characters of a task by itself, and each says how to get the rest", async () => {
	const box = sandbox();
	const id = await talker(box);
	const calls = [
		["status", id],
		["output", id],
		["wait", id],
		["list"],
	].flatMap((call) => [
		[...call, "--json"],
		[...call, "--text"],
	]);
	for (const call of [...calls, ["report", "--all"]]) {
		const { stdout } = await box.bg(call);
		if (call[0] !== "list") expect(stdout).toContain(id);
		// What an answer says beside a task: its counts, its headings.
		const isAlone = ["status", "output"].includes(call[0] ?? "");
		const most = isAlone ? 2001 : 2150;
		expect([call, stdout.length <= most, stdout.length]).toEqual([
			call,
			true,
			stdout.length,
		]);
	}
	for (const verb of ["status", "wait"]) {
		const json = (await box.bg([verb, id])).json();
		const { truncated, more } = json.tasks?.[0] ?? json;
		expect(truncated).toBe(true);
		expect(more).toEndWith(` status ${id} --full`);
	}
	expect(
		(await box.bg(["output", id, "--json"])).json().tasks[0].more,
	).toEndWith(` output ${id} --max 1M`);
	const { stdout } = await box.bg(["report", "--all"]);
	expect(stdout).toContain(` result ${id} shows all`);
});

test("--full cuts nothing", async () => {
	const box = sandbox();
	const id = await talker(box);
	expect((await box.bg(["status", id, "--full"])).json()).toMatchObject({
		...box.record(id),
	});
	const { tasks } = (await box.bg(["list", "--full"])).json();
	expect(tasks[0].prompt).toBe(long);
});
