import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	isAlive,
	program,
	type Sandbox,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";

const toLines = (lines: readonly object[]) =>
	lines.map((line) => `${JSON.stringify(line)}\n`).join("");

const command = (name: string, script: string, more: object = {}) => ({
	name,
	description: name,
	command: ["sh", "-c", script],
	...more,
});

/** Launches a batch from standard input. */
const launch = (box: Sandbox, lines: readonly object[], args: string[] = []) =>
	box.bg(["launch", "--batch", "-", ...args], {
		input: toLines(lines),
		env: { BG_DROID: standIn },
	});

// biome-ignore lint/suspicious/noExplicitAny: what an answer holds is what a test is about
const answersIn = (stdout: string): any[] =>
	stdout
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));

/** The files of a store in folders that stand for tasks, and its records. */
function filesOf(box: Sandbox): string[] {
	if (!existsSync(box.dir)) return [];
	return readdirSync(box.dir, { recursive: true, withFileTypes: true })
		.filter((each) => each.isFile())
		.map((each) => join(each.parentPath, each.name).slice(box.dir.length + 1))
		.filter((name) =>
			/^(bg_.*\.json$|\.(queue|slots|sessions|notices|due|prompts|on-end)\/[^.])/.test(
				name,
			),
		);
}

describe("a batch", () => {
	test("starts each line after those it names, earlier or later ones, and after ids", async () => {
		const box = sandbox();
		const go = join(box.home, "go");
		const id = await box.run([
			"sh",
			"-c",
			`until test -e ${go}; do sleep 0.05; done; echo id >>log`,
		]);
		const answer = await launch(box, [
			command("c", "echo c >>log", { after: ["a", "b"] }),
			command("a", "echo a >>log", { after: id }),
			{ name: "d", description: "d", prompt: "SAY[x]", after: `c, ${id}` },
			command("f", "exit 7", { after: [] }),
			command("b", "echo b >>log", { after: ["a", id] }),
			command("e", "cat log >copy", { after_any: ["d", "f"] }),
		]);
		expect(answer).toMatchObject({ code: 0 });
		const answers = answersIn(answer.stdout);
		expect(answers.map(({ name }) => name)).toEqual([..."cadfbe"]);
		expect(answers[0]).toEqual({
			taskId: expect.stringMatching(/^bg_/),
			sessionId: expect.stringMatching(/^ses_/),
			description: "c",
			status: "queued",
			name: "c",
		});
		writeFileSync(go, "");
		await box.bg(["wait"]);
		const tasks = answers.map(({ taskId }) => box.record(taskId));
		expect(tasks.map(({ status }) => status)).toEqual(
			answers.map(({ name }) => (name === "f" ? "error" : "completed")),
		);
		expect(readFileSync(join(box.home, "copy"), "utf8")).toBe("id\na\nb\nc\n");
		expect(new Set(tasks.map(({ supervisor }) => supervisor?.pid)).size).toBe(
			1,
		);
	});

	test("comes from a file as well, and answers ids in order with -q", async () => {
		const box = sandbox();
		const file = join(box.home, "batch.jsonl");
		writeFileSync(
			file,
			`\n${toLines([command("a", "echo $X"), command("b", "pwd", { cwd: "/" })])}\n`,
		);
		const { stdout } = await box.bg(["launch", "-q", "--batch", file], {
			env: { X: "x" },
		});
		const ids = stdout.trim().split("\n");
		await box.bg(["wait", ...ids]);
		expect(ids.map((id) => box.record(id).result)).toEqual(["x", "/"]);
		const missing = await box.bg(["launch", "--batch", "/none/such"]);
		expect(missing).toMatchObject({ code: 2 });
		expect(missing.stderr).toContain("--batch /none/such: ");
	});

	/** What a batch is answered that shall not be launched. */
	async function refuse(lines: readonly (string | object)[]): Promise<string> {
		const box = sandbox();
		const text = lines.map((line) =>
			typeof line === "string" ? line : JSON.stringify(line),
		);
		const input = text.join("\n");
		const answer = await box.bg(["launch", "--batch", "-"], { input });
		// What was launched all the same shall not outlive the test.
		if (answer.code === 0) await box.bg(["cancel", "--all"]);
		const { code, stderr } = answer;
		expect({ code, files: filesOf(box) }).toEqual({ code: 2, files: [] });
		expect(box.alive()).toEqual([]);
		expect(stderr.trim().split("\n")).toHaveLength(1);
		return stderr;
	}

	const fine = { description: "fine", command: ["true"] };
	const faults: [string | object, string][] = [
		["{bad", "it is no JSON"],
		["7", ""],
		[{ ...fine, foo: 1 }, "there is no key foo"],
		[{ command: ["true"] }, "description"],
		[{ description: "d" }, "the prompt is empty"],
		[{ ...fine, command: "true" }, "command"],
		[{ ...fine, prompt: "p" }, "prompt is for a droid"],
		[{ ...fine, model: "m" }, "model is for a droid"],
		[{ ...fine, timeout: "soon" }, "--timeout soon"],
		[{ ...fine, name: "bg_1" }, "name"],
		[{ ...fine, name: "a", after: "a" }, "it would wait for itself: a → a"],
		[{ ...fine, after: "bg_12" }, "--after"],
		[{ ...fine, after: ["nobody"] }, "--after"],
	];

	test.each(faults)("with the line %j launches nothing", async (line, why) => {
		const answer = await refuse([fine, "", line, fine]);
		expect(answer).toContain(`: line 3: ${why}`);
	});

	test("with faults in many lines launches nothing, and tells them all", async () => {
		const lines = faults.slice(0, 10).map(([line]) => line);
		const answer = await refuse([fine, ...lines]);
		const told = [...answer.matchAll(/line (\d+): /g)].map(([, n]) =>
			Number(n),
		);
		const numbers = lines.map((_, index) => index + 2);
		expect(told.sort((a, b) => a - b)).toEqual(numbers);
	});

	test("with a name twice or a cycle launches nothing", async () => {
		const named = (name: string, more: object = {}) => ({
			...fine,
			name,
			...more,
		});
		expect(await refuse([named("a"), fine, named("a")])).toContain(
			"line 3: line 1 is named a",
		);
		const cycle = await refuse([
			named("a", { after: "c" }),
			named("b", { after_any: ["a"] }),
			named("c", { after: ["b"] }),
		]);
		for (const words of ["line 1: ", "a → c → b → a"])
			expect(cycle).toContain(words);
	});

	test("with a task that would wait for itself by a shared key launches nothing", async () => {
		await refuse([
			{ ...fine, name: "a", unique: "k", after: "b" },
			{ ...fine, name: "b", unique: "k" },
		]);
	});

	test("that is empty launches nothing", async () => {
		expect(await refuse(["", " "])).toContain("the batch is empty");
	});

	test.each([1, 25, 150, 299])(
		"whose launcher is killed with -9 at record %d is there as a whole or not at all",
		async (moment) => {
			const box = sandbox();
			const total = 300;
			const lines = Array.from({ length: total }, (_, index) => ({
				description: `${index}`,
				command: ["true"],
				...(index === 0 && { on_end: "true" }),
			}));
			const launcher = Bun.spawn([...program, "launch", "--batch", "-"], {
				cwd: box.home,
				env: { ...box.env, BG_SESSION_ID: "outer" },
				stdin: Buffer.from(toLines(lines)),
				stdout: "ignore",
			});
			const ids = () =>
				filesOf(box).flatMap((name) => /^(bg_.*)\.json$/.exec(name)?.[1] ?? []);
			await until(
				() => launcher.exitCode !== null || ids().length >= moment,
				`${moment} records`,
			);
			launcher.kill("SIGKILL");
			await launcher.exited;
			await until(() => box.alive().length === 0, "its supervisor gone");
			if (ids().length === 0) expect(filesOf(box)).toEqual([]);
			else {
				const ends = ids().map((id) => box.record(id).status);
				expect(ends).toEqual(Array(total).fill("completed"));
			}
			const waiting = filesOf(box).filter((name) =>
				/^\.(queue|slots|on-end)\//.test(name),
			);
			expect(waiting).toEqual([]);
		},
	);
});

describe("--unique", () => {
	const unique = (box: Sandbox, key: string, command: string[], env = {}) =>
		box.bg(["run", `--unique=${key}`, "d", "--", ...command], { env });

	test("answers with the task that is running or queued, and makes a new one once it is over", async () => {
		const box = sandbox();
		const env = { BG_MAX_RUNNING: "1" };
		const first = (await unique(box, "a", ["sleep", "60"], env)).json();
		await box.untilTask(first.taskId, ({ process }) => process, "its process");
		const queued = (await unique(box, "b", ["true"], env)).json();
		expect(first).not.toHaveProperty("existing");
		expect((await unique(box, "a", ["true"], env)).json()).toEqual({
			taskId: first.taskId,
			sessionId: first.sessionId,
			description: "d",
			status: "running",
			existing: true,
		});
		expect((await unique(box, "b", ["true"], env)).json()).toMatchObject({
			taskId: queued.taskId,
			status: "queued",
			existing: true,
		});
		await box.bg(["cancel", first.taskId]);
		await box.bg(["wait"]);
		const next = (await unique(box, "a", ["true"])).json();
		expect(next.taskId).not.toBe(first.taskId);
		expect(next).not.toHaveProperty("existing");
		await box.bg(["wait"]);
	});

	test("makes one task where ten launch at the same moment", async () => {
		const box = sandbox();
		const answers = await Promise.all(
			Array.from({ length: 10 }, () => unique(box, "k", ["sleep", "60"])),
		);
		const all = answers.map(({ json }) => json());
		expect(new Set(all.map(({ taskId }) => taskId)).size).toBe(1);
		expect(all.filter(({ existing }) => existing)).toHaveLength(9);
		expect((await box.bg(["list"])).json().total).toBe(1);
		await box.bg(["cancel", all[0].taskId]);
	});

	test("makes a new one where supervisor and process were killed with -9", async () => {
		const box = sandbox();
		const { taskId } = (await unique(box, "k", ["sleep", "60"])).json();
		const task = await box.untilTask(taskId, ({ pid }) => pid, "its process");
		for (const pid of [task.supervisor?.pid ?? 0, task.pid ?? 0]) {
			process.kill(pid, "SIGKILL");
			await until(() => !isAlive(pid), "its death");
		}
		const next = (await unique(box, "k", ["true"])).json();
		expect(next.taskId).not.toBe(taskId);
		expect(next).not.toHaveProperty("existing");
		await box.bg(["wait"]);
	});

	test("takes any text as a key", async () => {
		const box = sandbox();
		const keys = ["../../x", "/", "日本 😀 'x' $(y)", "-x", "k".repeat(200)];
		for (const key of keys) {
			const { taskId } = (await unique(box, key, ["sleep", "60"])).json();
			const again = (await unique(box, key, ["true"])).json();
			expect(again).toMatchObject({ taskId, existing: true });
			expect(box.record(taskId)).toMatchObject({ unique_key: key });
		}
		expect((await box.bg(["list"])).json().total).toBe(keys.length);
		await box.bg(["cancel", "--all"]);
	});

	test("refuses an empty key, a long one, and control characters", async () => {
		const box = sandbox();
		const keys = ["", " ", "k".repeat(201), "a\nb", "\u0007", "a\u0085"];
		for (const key of keys) {
			const { code, stderr } = await unique(box, key, ["true"]);
			expect([key, code]).toEqual([key, 2]);
			expect(stderr).toStartWith("bg: --unique takes a key");
		}
		expect(filesOf(box)).toEqual([]);
	});

	test("in a batch: two lines with a key make one task, and who names the second waits for it", async () => {
		const box = sandbox();
		const before = (await unique(box, "old", ["sleep", "60"])).json();
		const answer = await launch(box, [
			command("a", "sleep 0.3; echo a >>log", { unique: "k" }),
			command("b", "echo b >>log", { unique: "k" }),
			command("c", "echo c >>log", { after: "b" }),
			command("x", "true", { unique: "old" }),
			command("y", "echo y >>log", { after_any: "x" }),
		]);
		const [a, b, c, x, y] = answersIn(answer.stdout);
		expect(b).toMatchObject({ taskId: a.taskId, existing: true, name: "b" });
		expect(x).toMatchObject({ taskId: before.taskId, existing: true });
		expect(box.record(c.taskId).after).toEqual([a.taskId]);
		expect(box.record(y.taskId).after).toEqual([before.taskId]);
		await box.bg(["wait", c.taskId]);
		expect(box.record(y.taskId).status).toBe("queued");
		await box.bg(["cancel", before.taskId]);
		await box.bg(["wait"]);
		expect(readFileSync(join(box.home, "log"), "utf8")).toBe("a\nc\ny\n");
		expect((await box.bg(["list"])).json().total).toBe(4);
	});
});

test("a key that a task above has cannot be waited for inside of it", async () => {
	const box = sandbox();
	const lines = [
		{ name: "a", description: "x", command: ["true"], unique: "above" },
		{ description: "x", command: ["true"], after: "a" },
	];
	const batch = join(box.home, "batch.jsonl");
	writeFileSync(batch, lines.map((line) => JSON.stringify(line)).join("\n"));
	const script = `${program.join(" ")} launch --batch ${batch} 2>said`;
	const words = ["run", "-q", "--unique", "above", "x", "--"];
	const id = (await box.bg([...words, "sh", "-c", script])).stdout.trim();
	await box.bg(["wait", id]);
	expect(readFileSync(join(box.home, "said"), "utf8")).toContain(
		`after ${id}: this command runs inside that task`,
	);
	expect((await box.bg(["list"])).json().total).toBe(1);
});
