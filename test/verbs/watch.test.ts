import { expect, test } from "bun:test";
import {
	appendFileSync,
	existsSync,
	readFileSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { failing } from "../tools/faults.ts";
import { executable, program, sandbox, until } from "../tools/harness.ts";
import { endsOf, openPty } from "../tools/pty.ts";

test("watch shows tasks live; keys select one, show its output and cancel it", async () => {
	const box = sandbox();
	const command = ["sh", "-c", "echo a word of it; exec sleep 600"];
	const id = await box.run(command);
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/1 of 8 running\n[\s\S]*› [0-9a-f]{4,} +▶ running/);
	const other = await box.run(["true"]);
	await pty.untilScreen(/1 of 8 running, 1 completed/);
	await pty.untilScreen(/› [0-9a-f]{4,} +▶ running/);
	pty.type("\r");
	await pty.untilScreen(/^[0-9a-f]{4,} ▶ running [\s\S]*\na word of it\n/);
	pty.type("q");
	await pty.untilScreen(/^bg watch/);
	pty.type("c");
	await pty.untilScreen(/cancel [0-9a-f]+ with everything it started\? y\/n/);
	pty.type("y");
	await pty.untilScreen(
		new RegExp(`1 completed, 1 cancelled[\\s\\S]*${id} +◼ cancelled`),
	);
	expect(box.record(id).status).toBe("cancelled");
	expect(box.record(other).status).toBe("completed");
	expect(pty.isTaken()).toBe(true);
	pty.type("q");
	expect(await pty.ended).toBe(0);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
});

test("keys pause a task and the queue, set the limit and retry; what a verb answers is shown", async () => {
	const box = sandbox();
	const id = await box.run(["sleep", "600"]);
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/› [0-9a-f]{4,} +▶ running/);
	pty.type("p");
	await pty.untilScreen(new RegExp(`‖ paused[\\s\\S]*${id} +running, paused`));
	pty.type("p");
	await pty.untilScreen(new RegExp(`▶ running[\\s\\S]*${id} +running `));
	pty.type("P");
	await pty.untilScreen(
		/^bg watch {2}queue paused · [\s\S]*the queue is paused/,
	);
	pty.type("P");
	await pty.untilScreen(/^bg watch {2}1 of 8 running/);
	pty.type("++");
	await pty.untilScreen(
		/^bg watch {2}1 of 10 running[\s\S]*limit running: 10 \(before: 9\)/,
	);
	pty.type("r");
	await pty.untilScreen(/can be retried after it has ended/);
	pty.type("/status:err\r");
	await pty.untilScreen(/filter: status:err .*showing 0 of 0 \(1 in all\)/);
	pty.type("\u001b");
	await pty.untilScreen(/showing 1 of 1$/);
	pty.type("q");
	expect(await pty.ended).toBe(0);
	await box.bg(["cancel", id]);
});

test("o shows the output in $PAGER, which gets all keys; then watch goes on", async () => {
	const box = sandbox();
	const shown = join(box.home, "shown");
	const typed = join(box.home, "typed");
	const pager = executable(
		box.home,
		"pager",
		`#!/bin/sh\ncat > '${shown}'\necho paging > /dev/tty\nhead -1 < /dev/tty > '${typed}'\nsleep 3\n`,
	);
	const lines = Array.from({ length: 99 }, (_, n) => `line ${n}`);
	const id = await box.run(["printf", "%s\\n", ...lines]);
	await box.bg(["wait", id]);
	const pty = openPty(box, ["watch"], { env: { PAGER: pager } });
	await pty.untilScreen(/✔ completed/);
	pty.type("o");
	await pty.untilText(/\[\?1049l[\s\S]*paging/);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
	pty.type("qcy?\r");
	await until(
		() => existsSync(typed) && readFileSync(typed, "utf8"),
		"the keys",
	);
	expect(readFileSync(typed, "utf8")).toBe("qcy?\n");
	expect(readFileSync(shown, "utf8")).toBe(`${lines.join("\n")}\n`);
	await until(() => pty.isTaken(), "the screen taken again");
	pty.type("j");
	await pty.untilScreen(/› [0-9a-f]{4,} +✔ completed[\s\S]*showing 1 of 1$/);
	pty.type("q");
	expect(await pty.ended).toBe(0);
});

test("without a pager a key is waited for; a signal meanwhile leaves the terminal as it was", async () => {
	const box = sandbox();
	const id = await box.run(["echo", "a short text"]);
	await box.bg(["wait", id]);
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/✔ completed/);
	pty.type("o");
	await pty.untilText(/a short text\s+\[press a key to return to bg watch\]/);
	pty.type("x");
	await until(() => pty.isTaken(), "the screen taken again");
	pty.type("o");
	await pty.untilText(/(press a key[\s\S]*){2}/);
	await until(() => !pty.isCooked(), "the terminal without lines");
	pty.kill("SIGTERM");
	expect(endsOf("SIGTERM")).toContain(await pty.ended);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
});

test("without a pager a key is waited for however long the text took to come", async () => {
	const box = sandbox();
	const id = await box.run(["echo", "a short text"]);
	await box.bg(["wait", id]);
	const path = join(box.dir, `${id}.out`);
	const slow = { calls: "openat", path, delay_enter: 2_700_000 };
	const argv = [...failing(slow), ...program];
	const pty = openPty(box, ["watch"], { argv });
	await pty.untilScreen(/✔ completed/);
	const typedAt = performance.now();
	pty.type("o");
	await pty.untilText(/a short text\s+\[press a key to return to bg watch\]/);
	expect(performance.now() - typedAt).toBeGreaterThan(2600);
	pty.type("x");
	await until(() => pty.isTaken(), "the screen taken again");
	pty.type("q");
	expect(await pty.ended).toBe(0);
});

test("the pane follows an output; scrolled up it stands still and says that there is more", async () => {
	const box = sandbox();
	const path = join(box.home, "lines");
	const add = (from: number, to: number) => {
		for (let n = from; n < to; n++) appendFileSync(path, `line ${n}\n`);
	};
	add(0, 50);
	const id = await box.run(["tail", "-n", "+1", "-f", path]);
	const pty = openPty(box, ["watch"], { rows: 40 });
	await pty.untilScreen(/── [0-9a-f]{4,} ▶ running [\s\S]*line 49\n/);
	pty.type("KKK");
	await pty.untilScreen(/3 more below, G follows[\s\S]*\nline 46\n\? keys/);
	const before = pty.screen().slice(-14, -1);
	add(50, 60);
	await pty.untilScreen(/13 more below, G follows/);
	expect(pty.screen().slice(-14, -1)).toEqual(before);
	pty.type("\tG");
	await pty.untilScreen(/\nline 59\n\? keys/);
	pty.type("/line 7\r");
	await pty.untilScreen(/match 1 of 1[^\n]*\nline 7\nline 8\n/);
	pty.type("qq");
	expect(await pty.ended).toBe(0);
	await box.bg(["cancel", id]);
});

test("while nothing changes, nothing is written to the terminal", async () => {
	const box = sandbox();
	const at = "2026-01-01T00:00:00Z";
	await box.bg(["list"]);
	const id = await box.run(["true"]);
	await box.bg(["wait", id]);
	const record = { ...box.record(id), started_at: at, completed_at: at };
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	const pty = openPty(box, ["watch"], { columns: 130, rows: 40 });
	await pty.untilScreen(/ago [\s\S]*\[✔ completed\]/);
	const { length } = pty.text();
	// Two polls of the tasks and ten of the output. Only time can show that they write nothing.
	await Bun.sleep(2500);
	expect(pty.text().slice(length)).toBe("");
	pty.type("q");
	expect(await pty.ended).toBe(0);
});

test("Ctrl-Z and fg, under the control of a shell: the screen is given back and taken again", async () => {
	const box = sandbox();
	const quoted = program.map((word) => `'${word}'`).join(" ");
	const script = `set -m; ${quoted} watch; echo stopped; read line; fg; echo over`;
	const pty = openPty(box, [], { argv: ["sh", "-c", script] });
	await pty.untilScreen(/no task yet/);
	pty.type("\u001a");
	await pty.untilText(/\[\?1049l[\s\S]*stopped/);
	expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
	pty.type("\n");
	await until(() => pty.isTaken(), "the screen taken again");
	await pty.untilScreen(/no task yet/);
	pty.type("q");
	await pty.untilText(/\[\?1049l[\s\S]*over/);
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
