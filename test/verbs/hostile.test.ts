/** What each runtime has to hold by itself: links that are not followed, owners, JSON without a bottom. */
import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readFileSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { program, sandbox, snapshot } from "../tools/harness.ts";
import {
	addTask,
	expectHarmless,
	faults,
	send,
	stopOf,
} from "../tools/hooks.ts";
import { giveAway } from "../tools/namespaces.ts";

test("a link in the store is refused by name, and nothing reached through it", async () => {
	const box = sandbox();
	const id = addTask(box);
	const beside = join(box.home, "canary");
	mkdirSync(beside);
	writeFileSync(join(beside, "file"), "mine", { mode: 0o600 });
	const before = snapshot(beside);
	const cases: [name: string, to: string, args: string[]][] = [
		[`${id}.out`, "file", ["output", id]],
		[`${id}.json`, "file", ["status", id]],
		[".queue/paused", "new", ["pause", "--queue"]],
		[".locks", "", ["list"]],
	];
	for (const [name, to, args] of cases) {
		const path = join(box.dir, name);
		rmSync(path, { recursive: true, force: true });
		symlinkSync(join(beside, to), path);
		const { code, error } = await box.bg(args);
		expect({ code, error }).toMatchObject({ code: 111 });
		expect(error).toContain(`${path} is a link`);
		rmSync(path);
	}
	symlinkSync(join(beside, "file"), join(box.dir, ".hook.log"));
	expectHarmless(await send(box, stopOf("../x")));
	expect(snapshot(beside)).toEqual(before);
});

test("a record that is another user's is told, and so is one nested too deep; the others are shown", async () => {
	const box = sandbox();
	const [theirs, deep, good] = [addTask(box), addTask(box), addTask(box)];
	const nested = "[".repeat(100_000) + "]".repeat(100_000);
	const path = join(box.dir, `${deep}.json`);
	const text = readFileSync(path, "utf8");
	writeFileSync(path, text.replace("{", `{"more":${nested},`));
	const given = giveAway(join(box.dir, `${theirs}.json`));
	const list = await box.bg(["list", "--full"], {
		argv: [...given, ...program],
	});
	expect(list.json()).toMatchObject({
		tasks: [{ id: good }],
		unreadable: [
			{ taskId: deep },
			{ taskId: theirs, problem: expect.stringContaining("another user") },
		],
	});
});

test("a store that is another user's is left without a trace, by root as well", async () => {
	const box = sandbox();
	addTask(box, { status: "completed" });
	const argv = [...giveAway(box.dir), ...program];
	const before = snapshot(box.dir);
	const list = await box.bg(["list"], { argv });
	expect([0, 111]).toContain(list.code ?? -1);
	const run = await box.bg(["run", "d", "--", "true"], { argv });
	expect(run.error).toContain("belongs to another user");
	expectHarmless(await send(box, stopOf("../x"), { argv }));
	expect(snapshot(box.dir)).toEqual(before);
	expect(existsSync(join(box.dir, ".hook.log"))).toBe(false);
	expect(faults(box)).toEqual([]);
});
