import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
	answersIn,
	command,
	filesOf,
	launch,
	toLines,
} from "../tools/batch.ts";
import { program, sandbox } from "../tools/harness.ts";

describe("a batch", () => {
	test("starts each line after those it names, earlier or later ones, and after ids", async () => {
		const box = sandbox();
		const go = join(box.home, "go");
		const id = await box.run([
			"sh",
			"-c",
			`until test -e ${go}; do sleep 0.2; done; echo id >>log`,
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
		expect(answers[0].id).toBe(answers[0].taskId);
		expect(answers[0]).toEqual({
			id: expect.any(String),
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
		const lost = await box.bg([
			"launch",
			"--batch",
			file,
			"--max-output",
			"1K",
		]);
		expect(lost).toMatchObject({ code: 2 });
		expect(lost.error).toContain(
			"--max-output cannot be combined with --batch",
		);
		expect(missing.error).toContain("--batch /none/such: ");
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
		const { code, error } = answer;
		expect({ code, files: filesOf(box) }).toEqual({ code: 2, files: [] });
		expect(box.alive()).toEqual([]);
		expect(error.trim().split("\n")).toHaveLength(1);
		return error;
	}

	const fine = { description: "fine", command: ["true"] };
	const faults: [string | object, string][] = [
		["{bad", "it is not JSON"],
		["7", ""],
		[{ ...fine, foo: 1 }, "there is no key foo"],
		[{ command: ["true"] }, "description"],
		[{ description: "d" }, "the prompt is empty"],
		[{ ...fine, command: "true" }, "command"],
		[{ ...fine, prompt: "p" }, "prompt applies to droids"],
		[{ ...fine, model: "m" }, "model applies to droids"],
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
			"line 3: line 1 has the name a",
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
});

test("a key that a task above has cannot be waited for inside of it", async () => {
	const box = sandbox();
	const lines = [
		{ name: "a", description: "x", command: ["true"], unique: "above" },
		{ description: "x", command: ["true"], after: "a" },
	];
	const batch = join(box.home, "batch.jsonl");
	writeFileSync(batch, lines.map((line) => JSON.stringify(line)).join("\n"));
	const script = `${program.join(" ")} launch --batch ${batch} >said`;
	const words = ["run", "-q", "--unique", "above", "x", "--"];
	const id = (await box.bg([...words, "sh", "-c", script])).stdout.trim();
	await box.bg(["wait", id]);
	expect(readFileSync(join(box.home, "said"), "utf8")).toContain(
		`after ${id}: this command runs inside that task`,
	);
	expect((await box.bg(["list"])).json().total).toBe(1);
});
