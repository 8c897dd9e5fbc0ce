import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runtimeFlags } from "../../lib/process/executables.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { program, type Sandbox, sandbox, until } from "../tools/harness.ts";
import { endsOf, linesOf, openPty, type PtyOptions } from "../tools/pty.ts";

/** Writes the record of a task; a finished one by default. */
function put(box: Sandbox, fields: Partial<Task> = {}): string {
	const id = createTaskId();
	mkdirSync(box.dir, { recursive: true, mode: 0o700 });
	const description =
		"テスト 👨‍👩‍👧 of everything there is, and then some more of it";
	const at = "2026-01-01T00:00:00Z";
	const record = {
		...{ schema: 1, id, status: "completed", exit_code: 0, description },
		...{ result: "日本語 ".repeat(40), started_at: at, completed_at: at },
		...fields,
	};
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	return id;
}

/** What a verb shows in a terminal, once it is done. */
async function shown(box: Sandbox, args: string[], options: PtyOptions = {}) {
	const pty = openPty(box, args, options);
	const code = await pty.ended;
	return { code, text: pty.text(), lines: linesOf(pty.text().trimEnd()) };
}

/** Erases a line of progress. */
const erased = "\r\u001b[K";

test.each([40, 80, 200])(
	"a list and a card fit %p columns",
	async (columns) => {
		const box = sandbox();
		const id = put(box);
		put(box, { status: "error", error: "exited 3 ".repeat(30) });
		const list = await shown(box, ["list"], { columns });
		expect(list.lines[0]).toMatch(/^ID .* TASK/);
		expect(list.lines.slice(-2)).toEqual(["", "1 completed, 1 error"]);
		const card = await shown(box, ["status", id], { columns });
		expect(card.lines[0]).toStartWith("✔ completed  テスト");
		expect(card.lines.length).toBeGreaterThan(3);
		for (const line of [...list.lines, ...card.lines])
			expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
	},
);

test("a terminal shows the shortest id that can be typed; a pipe gets the whole id", async () => {
	const box = sandbox();
	const whole = put(box);
	const { lines } = await shown(box, ["list"]);
	const short = lines.at(1)?.split(" ")[0] ?? "";
	expect(short.length).toBeLessThan(whole.length);
	expect((await box.bg(["status", short])).json().id).toBe(whole);
	expect((await box.bg(["list", "--text"])).stdout).toStartWith(whole);
});

test("bg alone shows the tasks that fit the screen and a hint; in a pipe, its help", async () => {
	const box = sandbox();
	for (let n = 0; n < 30; n++) put(box);
	const { code, lines } = await shown(box, [], { rows: 12 });
	expect(code).toBe(0);
	expect(lines.length).toBeLessThan(12);
	expect(lines.slice(-2)).toEqual([
		expect.stringMatching(/^showing \d of 30 · 30 completed$/),
		"bg watch shows them live, bg --help lists the verbs",
	]);
	expect((await box.bg([])).stdout).toContain("usage: bg <verb>");
});

test("in a pipe there is no escape sequence and no progress", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", "printf '\\033[31mred\\033[m'"]);
	for (const args of [
		["wait", id],
		["wait", "--text", id],
		["list"],
		["list", "--text"],
		["status", id],
		["status", "--text", id],
		["prune", "--text"],
		["cleanup", "--text"],
		[],
	]) {
		const { stdout, stderr } = await box.bg(args, { env: { TERM: "xterm" } });
		expect(stdout).not.toContain("\u001b");
		expect(stderr).toBe("");
	}
});

test("colours are left out with NO_COLOR and in a dumb terminal", async () => {
	const box = sandbox();
	const id = put(box);
	for (const args of [["list"], ["status", id], []]) {
		expect((await shown(box, args)).text).toContain("\u001b[32m✔ completed");
		const plain: Record<string, string>[] = [
			{ NO_COLOR: "1" },
			{ TERM: "dumb" },
		];
		for (const env of plain)
			expect((await shown(box, args, { env })).text).not.toContain("\u001b");
	}
	const watch = openPty(box, ["watch"], { env: { NO_COLOR: "1" } });
	await watch.untilScreen(/› [0-9a-f]{4,} /);
	expect(watch.text()).not.toMatch(/\[[\d;]*m/);
	watch.type("q");
	expect(await watch.ended).toBe(0);
});

test.each(Object.entries(runtimeFlags))(
	"%s adds nothing of its own to what a terminal gets",
	async (runtime, flags) => {
		const box = sandbox();
		const script = join(box.home, "script.mjs");
		writeFileSync(script, 'import "node:fs";\nconsole.log("a word");\n');
		const argv = [runtime, ...flags, script];
		const { text } = await shown(box, [], { argv, env: { TERM: "dumb" } });
		expect(text).toBe("a word\r\n");
	},
);

test("in a dumb terminal watch is refused, and wait is silent", async () => {
	const box = sandbox();
	const env = { TERM: "dumb" };
	const watch = await shown(box, ["watch"], { env });
	expect(watch.code).toBe(2);
	expect(watch.text).toContain("TERM is dumb");
	const id = await box.run(["true"]);
	const wait = await shown(box, ["wait", id], { env });
	expect(wait.text).not.toContain("\u001b");
	expect(wait.text).not.toContain("waiting");
});

test("watch fits the terminal, also after a change of its size", async () => {
	const box = sandbox();
	for (let n = 0; n < 30; n++) put(box);
	const pty = openPty(box, ["watch"]);
	const expectToFill = (columns: number, rows: number) => {
		expect(pty.screen().length).toBe(rows);
		for (const line of pty.screen())
			expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
	};
	await pty.untilScreen(/showing 21 of 30$/);
	expectToFill(80, 24);
	pty.resize(40, 10);
	await pty.untilScreen(/showing 7 of 30$/);
	expectToFill(40, 10);
	// A pane comes beside the list.
	pty.resize(200, 50);
	await pty.untilScreen(/ │ [\s\S]*showing 30 of 30$/);
	expectToFill(200, 50);
	pty.type("q");
	expect(await pty.ended).toBe(0);
});

test("of 200 tasks with wide characters watch shows as many as fit, without colours with NO_COLOR", async () => {
	const box = sandbox();
	for (let n = 0; n < 200; n++) put(box);
	const pty = openPty(box, ["watch"], { env: { NO_COLOR: "1" } });
	await pty.untilScreen(/showing 21 of 200$/);
	pty.type("G");
	await pty.untilScreen(/\n› [^\n]*テスト 👨‍👩‍👧[^\n]*\n\? keys/);
	for (const line of pty.screen())
		expect(Bun.stringWidth(line)).toBeLessThanOrEqual(80);
	pty.type("q");
	expect(await pty.ended).toBe(0);
	// Modes are reset by one sequence; no text has a colour or an attribute.
	expect(pty.text().replace("\u001b[m", "")).not.toMatch(/\[[\d;]*m/);
});

test("an unchanged frame is not drawn", async () => {
	const box = sandbox();
	for (let n = 0; n < 3; n++) put(box);
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/› [0-9a-f]{4,} /);
	const frames = () => pty.text().split("\u001b[?2026h").length;
	const before = frames();
	pty.type("x");
	pty.type("x");
	pty.type("j");
	await pty.untilScreen(/TIME.*\n {2}[0-9a-f]{4,} .*\n› [0-9a-f]{4,} /);
	expect(frames()).toBe(before + 1);
	pty.type("q");
	expect(await pty.ended).toBe(0);
});

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
	"watch gives the terminal back at %s",
	async (signal) => {
		const pty = openPty(sandbox(), ["watch"]);
		await pty.untilScreen(/no task yet/);
		expect([pty.isTaken(), pty.isCooked()]).toEqual([true, false]);
		pty.kill(signal);
		expect(endsOf(signal)).toContain(await pty.ended);
		expect([pty.isTaken(), pty.isCooked()]).toEqual([false, true]);
	},
);

test("watch restores the terminal at Ctrl-C and on an error, which it prints", async () => {
	const box = sandbox();
	put(box);
	const stopped = openPty(box, ["watch"]);
	await stopped.untilScreen(/› [0-9a-f]{4,} /);
	stopped.type("\u0003");
	expect(await stopped.ended).toBe(0);
	expect([stopped.isTaken(), stopped.isCooked()]).toEqual([false, true]);
	const faulty = openPty(box, ["watch"]);
	await faulty.untilScreen(/› [0-9a-f]{4,} /);
	rmSync(box.dir, { recursive: true });
	writeFileSync(box.dir, "");
	expect(await faulty.ended).toBe(111);
	await faulty.untilText(/\[\?1049l[\s\S]*bg: .*ENOTDIR/);
	expect([faulty.isTaken(), faulty.isCooked()]).toEqual([false, true]);
});

test("Ctrl-Z restores the terminal until the shell continues the job", async () => {
	const box = sandbox();
	put(box);
	const argv = ["bash", "--norc", "--noprofile", "-i"];
	const pty = openPty(box, [], { argv });
	pty.type(`${program.join(" ")} watch\r`);
	await pty.untilScreen(/› [0-9a-f]{4,} /);
	expect(pty.isTaken()).toBe(true);
	pty.type("\u001a");
	await pty.untilText(/\[\?1049l[\s\S]*Stopped/);
	expect(pty.isTaken()).toBe(false);
	pty.type("fg\r");
	await until(() => pty.isTaken(), "the screen taken again");
	put(box, { status: "error" });
	await pty.untilScreen(/1 completed, 1 error/);
	pty.type("q");
	await until(() => !pty.isTaken(), "the screen given back");
	pty.type("exit\r");
	expect(await pty.ended).toBe(0);
});

test("watch ends with its terminal", async () => {
	const box = sandbox();
	const pty = openPty(box, ["watch"]);
	await pty.untilScreen(/no task yet/);
	pty.close();
	await pty.ended;
	expect(box.alive()).toEqual([]);
});

test("wait shows what it waits for, and clears the line at the end", async () => {
	const box = sandbox();
	const fifo = join(box.home, "go");
	expect(Bun.spawnSync(["mkfifo", fifo]).exitCode).toBe(0);
	const id = await box.run(["sh", "-c", `cat ${fifo}`]);
	const pty = openPty(box, ["wait", id]);
	await pty.untilText(/\r1 left · 0 done · \d+s · a test/);
	writeFileSync(fifo, "done\n");
	expect(await pty.ended).toBe(0);
	const [, after = ""] = pty.text().split(erased);
	expect(linesOf(after)).toEqual([
		expect.stringMatching(/^bg_\w+ {2}✔ completed .* a test$/),
		"    done",
		"",
	]);
});

test("wait clears its line at Ctrl-C and ends by the signal", async () => {
	const box = sandbox();
	const long = "a long description ".repeat(9);
	const { stdout } = await box.bg(["run", "-q", long, "--", "sleep", "600"]);
	const id = stdout.trim();
	const pty = openPty(box, ["wait", id]);
	await pty.untilText(/1 left · 0 done/);
	pty.type("\u0003");
	expect(endsOf("SIGINT")).toContain(await pty.ended);
	expect(pty.text()).toEndWith(erased);
	// The terminal shows ^C after the line, which would stay if that wrapped.
	const drawn = Bun.stripANSI(pty.text()).split("\r");
	const [line = ""] = drawn.filter((each) => each.includes(" left · "));
	expect(`${line.replace("^C", "")}^C`).toHaveLength(79);
	expect((await box.bg(["cancel", id])).code).toBe(0);
});

test("a launch that waits shows its progress; Ctrl-C ends the wait, says so and leaves the task", async () => {
	const box = sandbox();
	const pty = openPty(box, ["run", "--wait", "d", "--", "sleep", "600"]);
	await pty.untilText(/1 left · 0 done · \d+s · d/);
	pty.type("\u0003");
	expect(endsOf("SIGINT")).toContain(await pty.ended);
	const [id = ""] = /bg_\w+/.exec(pty.text()) ?? [];
	await box.untilTask(id, ({ process }) => process, "its process");
	const said = pty.text().split(erased).at(-1) ?? "";
	expect(said).toStartWith(`bg: stopped waiting; ${id} goes on (bg wait `);
	expect(box.record(id).status).toBe("running");
	await box.bg(["cancel", id]);
});

test("prune and cleanup show their progress, and clear the line at the end", async () => {
	const box = sandbox();
	for (let n = 0; n < 3; n++) put(box);
	put(box, {
		status: "running",
		completed_at: undefined,
		exit_code: undefined,
	});
	const prune = await shown(box, ["prune"]);
	expect(prune.text).toMatch(/^\rchecking bg_/);
	expect(prune.text.split(erased).at(-1)).toMatch(/^bg_\w+ {2}ended: timeout/);
	const cleanup = await shown(box, ["cleanup"]);
	expect(cleanup.text).toMatch(/^\rcleaning up: 0 of 4/);
	expect(cleanup.text.split(erased).at(-1)).toMatch(/^4 archived/);
});
