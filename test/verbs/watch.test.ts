import { expect, test } from "bun:test";
import { sandbox } from "../tools/harness.ts";
import { endsOf, openPty } from "../tools/pty.ts";

test("watch shows tasks live; keys select one, show its output and cancel it", async () => {
	const box = sandbox();
	const command = ["sh", "-c", "echo a word of it; exec sleep 600"];
	const id = await box.run(command);
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/1 running[\s\S]*› [0-9a-f]{4,} +▶ running/);
	const other = await box.run(["true"]);
	await pty.untilScreen(/1 running, 1 completed/);
	await pty.untilScreen(/› [0-9a-f]{4,} +▶ running/);
	pty.type("\r");
	await pty.untilScreen(new RegExp(`^${id} [\\s\\S]*a word of it`));
	pty.type("q");
	await pty.untilScreen(/^bg watch/);
	pty.type("c");
	await pty.untilScreen(/cancel with everything it started/);
	pty.type("y");
	await pty.untilScreen(/1 completed, 1 cancelled[\s\S]* is cancelled$/);
	expect(box.record(id).status).toBe("cancelled");
	expect(box.record(other).status).toBe("completed");
	expect(pty.isTaken()).toBe(true);
	pty.type("q");
	expect(await pty.ended).toBe(0);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
});

test("a signal ends watch as it ends everything, and the terminal is given back", async () => {
	const box = sandbox();
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/no task yet/);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([true, false]);
	pty.kill("SIGTERM");
	expect(endsOf("SIGTERM")).toContain(await pty.ended);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
});

test("where there is no terminal watch says so", async () => {
	const { code, stderr } = await sandbox().bg(["watch"]);
	expect(code).toBe(2);
	expect(stderr).toContain("bg watch needs a terminal (");
});
