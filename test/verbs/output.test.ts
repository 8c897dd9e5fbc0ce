import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
	appendFileSync,
	closeSync,
	ftruncateSync,
	mkdirSync,
	openSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { join } from "node:path";
import { createTaskId } from "../../lib/task/ids.ts";
import { program, type Sandbox, sandbox, standIn } from "../tools/harness.ts";

/** The JSON answer for one task. */
async function outputOf(box: Sandbox, id: string, ...flags: string[]) {
	const { tasks } = (await box.bg(["output", "--json", id, ...flags])).json();
	expect(tasks).toHaveLength(1);
	return tasks[0];
}

/** A finished task that wrote this. */
function wrote(
	box: Sandbox,
	text: string | Buffer,
	fields: object = {},
): string {
	const id = createTaskId();
	mkdirSync(box.dir, { recursive: true, mode: 0o700 });
	const record = {
		schema: 1,
		id,
		kind: "command",
		status: "completed",
		...fields,
	};
	writeFileSync(join(box.dir, `${id}.json`), JSON.stringify(record));
	writeFileSync(join(box.dir, `${id}.out`), text);
	return id;
}

test("output of a command is what it wrote", async () => {
	const box = sandbox();
	const id = wrote(box, "one\ntwo\n");
	expect((await box.bg(["output", "--json", id])).json()).toEqual({
		tasks: [
			{
				id,
				taskId: id,
				output: "one\ntwo\n",
				nextOffset: 8,
				truncated: false,
				status: "completed",
			},
		],
	});
	for (const flags of [[], ["--text"]])
		expect((await box.bg(["output", ...flags, id])).stdout).toBe("one\ntwo\n");
});

test("output of a droid reads like a conversation, not like JSON", async () => {
	const box = sandbox();
	const env = { BG_DROID: standIn };
	const answer = await box.bg(["launch", "-q", "d", "RUN[echo hi; exit 2]"], {
		env,
	});
	const id = answer.stdout.trim();
	await box.bg(["wait", id]);
	const { stdout } = await box.bg(["output", id, "--text"]);
	expect(stdout.replace(/[0-9a-f-]{36}/, "ID").replace(/[\d.]+s,/, "1s,")).toBe(
		[
			"# session ID, model custom:Example-0",
			"> RUN[echo hi; exit 2]",
			"→ Execute echo hi; exit 2",
			"  ✗ hi",
			"  ",
			"  ",
			"  [Process exited with code 2]",
			"DONE. hi",
			"",
			"",
			"[Process exited with code 2]",
			"# done (2 turns, 1s, 20 tokens in, 10 out)",
			"",
		].join("\n"),
	);
	const raw = await box.bg(["output", id, "--raw"]);
	for (const line of raw.stdout.trim().split("\n"))
		expect(JSON.parse(line)).toHaveProperty("type");
});

describe("offsets", () => {
	test("--since goes on where an earlier answer ended, line by line", async () => {
		const box = sandbox();
		const lines = Array.from({ length: 50 }, (_, n) => `line ${n} ünï\n`);
		const id = wrote(box, lines.join(""));
		let output = "";
		let next = 0;
		for (let calls = 0; calls < 30; calls++) {
			const flags = ["--since", String(next), "--max", "100"];
			const answer = await outputOf(box, id, ...flags);
			expect(answer.output).toMatch(/^(line \d+ ünï\n)*$/);
			output += answer.output;
			next = answer.nextOffset;
			if (!answer.truncated) break;
		}
		expect(output).toBe(lines.join(""));
	});

	test("a line that is not whole yet is left while the task runs", async () => {
		const box = sandbox();
		const running = { status: "running" };
		const id = wrote(box, "whole\nto", running);
		const first = await outputOf(box, id, "--since", "0");
		expect(first).toMatchObject({ output: "whole\n", nextOffset: 6 });
		appendFileSync(join(box.dir, `${id}.out`), "rn\n");
		const second = await outputOf(box, id, "--since", "6");
		expect(second).toMatchObject({ output: "torn\n", nextOffset: 11 });
		const past = await outputOf(box, id, "--since", "999");
		expect(past).toMatchObject({ output: "", nextOffset: 999 });
	});

	test("a first line that is not whole yet is left as well", async () => {
		const box = sandbox();
		const id = wrote(box, "to", { status: "running" });
		const answer = await outputOf(box, id, "--since", "0");
		expect(answer).toMatchObject({ output: "", nextOffset: 0 });
	});

	test("without --since the last 1,600 bytes are kept, marked, no character split", async () => {
		const box = sandbox();
		const id = wrote(box, "😀".repeat(10_000));
		const { output, truncated } = await outputOf(box, id);
		expect(truncated).toBe(true);
		expect(Buffer.byteLength(output)).toBe(1600);
		expect(output).toBe("😀".repeat(400));
		const { stdout } = await box.bg(["output", "--text", id]);
		expect(stdout).toStartWith("[… cut: ");
	});

	test("what is cut says how to get the rest", async () => {
		const box = sandbox();
		const id = wrote(box, "a line\n".repeat(300_000));
		const cut = (...flags: string[]) => outputOf(box, id, ...flags);
		expect((await cut()).more).toEndWith(` output ${id} --max 1M`);
		expect((await cut("--max", "2M")).more).toEndWith(` output ${id} --raw`);
		const { more, nextOffset } = await cut("--since", "0");
		expect(nextOffset).toBeGreaterThan(1000);
		expect(more).toEndWith(` output ${id} --since ${nextOffset}`);
		expect(await cut("--tail", "2")).not.toHaveProperty("more");
	});
});

test("--tail 20 of a 1 GiB output answers with the last 20 lines", async () => {
	const box = sandbox();
	const id = wrote(box, "first\n");
	const fd = openSync(join(box.dir, `${id}.out`), "r+");
	ftruncateSync(fd, 1024 ** 3);
	const last = Array.from({ length: 30 }, (_, n) => `last ${n}\n`).join("");
	writeSync(fd, `\n${last}`, 1024 ** 3);
	closeSync(fd);
	const { stdout } = await box.bg(["output", "--text", "--tail", "20", id]);
	expect(stdout).toEndWith(last.split("\n").slice(10).join("\n"));
	expect(stdout).not.toContain("last 9\n");
});

test("bytes that are no UTF-8 are no crash, and come out of --raw as they are", async () => {
	const box = sandbox();
	const bytes = Buffer.from([0xff, 0xfe, 0x41, 0x80, 0x0a, 0xc3]);
	const id = wrote(box, bytes);
	expect((await outputOf(box, id)).output).toContain("A");
	const raw = Bun.spawn([...program, "output", "--raw", id], {
		env: box.env,
		stdout: "pipe",
	});
	expect(Buffer.from(await new Response(raw.stdout).bytes())).toEqual(bytes);
});

test("control characters of a task never reach a terminal raw", async () => {
	const box = sandbox();
	const id = wrote(box, "\u001b]0;owned\u0007a\u001b[2Jb\u0090c\rd\n", {
		description: "\u001b[31mred\u0007",
		error: "\u009b1m!",
	});
	const bg = program.map((word) => `'${word}'`).join(" ");
	const calls = ["output", "output --raw", "output -f", "status", "list"].map(
		(verb) => `${bg} ${verb} ${verb === "list" ? "" : id}`,
	);
	// script(1) gives the commands a terminal.
	const { stdout, code } = await box.bg(
		["-qec", `NO_COLOR=1; export NO_COLOR; ${calls.join("; ")}`, "/dev/null"],
		{ argv: ["script"] },
	);
	expect(code).toBe(0);
	expect(stdout).toContain("ab\\x90c");
	expect(stdout.replaceAll("\r\n", "\n")).not.toMatch(/(?![\t\n])\p{Cc}/u);
});

test("an answer of 3 MB through a slow pipe arrives whole", async () => {
	const box = sandbox();
	const text = "0123456789abcde\n".repeat(200_000);
	const id = wrote(box, text);
	const hash = (data: string) => createHash("sha1").update(data).digest("hex");
	for (const args of [["--raw"], ["--text", "--max", "4M"]]) {
		const child = Bun.spawn([...program, "output", ...args, id], {
			env: box.env,
			stdout: "pipe",
		});
		let got = "";
		const decoder = new TextDecoder();
		for await (const part of child.stdout) {
			got += decoder.decode(part, { stream: true });
			if (Math.random() < 0.3) await Bun.sleep(1);
		}
		expect(hash(got)).toBe(hash(text));
		expect(await child.exited).toBe(0);
	}
});

test("a reader that goes away ends the answer, without a fault", async () => {
	const box = sandbox();
	const id = wrote(box, "line\n".repeat(200_000));
	const bg = program.map((word) => `'${word}'`).join(" ");
	const { stdout, stderr } = await box.bg(
		["-c", `${bg} output --raw ${id} | head -1; echo "\${PIPESTATUS[0]}"`],
		{ argv: ["bash"] },
	);
	expect(stdout).toBe("line\n0\n");
	expect(stderr).toBe("");
});

test("--follow shows what comes until the task is over", async () => {
	const box = sandbox();
	const script = "for n in 1 2 3; do echo $n; sleep 0.2; done; printf end";
	for (const flags of [["-f"], ["--follow", "--raw"], ["-f", "--since", "2"]]) {
		const id = await box.run(["sh", "-c", script]);
		const { stdout, code } = await box.bg(["output", ...flags, id]);
		const from = flags.includes("--since") ? "2\n3\nend" : "1\n2\n3\nend";
		expect({ out: stdout.trimEnd(), code }).toEqual({ out: from, code: 0 });
	}
});

/** Calls bg and returns how it went, what it cost and how much it wrote. */
async function measure(box: Sandbox, args: string[]) {
	const child = Bun.spawn([...program, ...args], {
		env: box.env,
		stdout: "pipe",
		stderr: "inherit",
	});
	let bytes = 0;
	const hash = createHash("sha1");
	for await (const part of child.stdout) {
		bytes += part.length;
		hash.update(part);
	}
	const code = await child.exited;
	const { cpuTime, maxRSS = 0 } = child.resourceUsage() ?? {};
	const cpuMs = Number(cpuTime?.total ?? 0) / 1000;
	return { code, bytes, hash: hash.digest("hex"), cpuMs, maxRSS };
}

test("--follow shows lines of any length to their ends, and each event of a droid", async () => {
	const box = sandbox();
	const lines = Array.from(
		{ length: 10 },
		(_, n) => `${n}${"é😀".repeat(300_000)}${n}\n`,
	);
	const text = lines.join("");
	const hash = createHash("sha1").update(text).digest("hex");
	const said = (line: string) =>
		`${JSON.stringify({ type: "message", role: "assistant", text: line.trim() })}\n`;
	const tasks = [
		wrote(box, text),
		wrote(box, lines.map(said).join(""), { kind: "droid" }),
	];
	for (const id of tasks)
		expect(
			await measure(box, ["output", "-f", "--since", "0", id]),
		).toMatchObject({ code: 0, bytes: Buffer.byteLength(text), hash });
});

test("--follow of many short lines costs as much as of few long ones, in bounded memory", async () => {
	const box = sandbox();
	const follow = (text: string) =>
		measure(box, ["output", "-f", "--since", "0", wrote(box, text)]);
	const MiB = 1024 * 1024;
	const long = await follow(`${"x".repeat(1023)}\n`.repeat(4 * 1024));
	const short = await follow("short\n".repeat((4 * MiB) / 6));
	expect(short.cpuMs).toBeLessThan(8 * long.cpuMs);
	const more = await follow("a line of text\n".repeat((48 * MiB) / 15));
	expect(more.bytes).toBe(Math.floor((48 * MiB) / 15) * 15);
	expect(more.maxRSS - long.maxRSS).toBeLessThan(160 * MiB);
});

test("--follow shows the result of a native subagent once", async () => {
	const box = sandbox();
	const id = wrote(box, "", { kind: "native", result: "said\n" });
	expect((await box.bg(["output", "-f", id])).stdout).toBe("said\n");
});

test("several outputs are told apart", async () => {
	const box = sandbox();
	const ids = [wrote(box, "a\n"), wrote(box, "b")];
	expect((await box.bg(["output", "--json", ...ids])).json()).toMatchObject({
		tasks: [
			{ id: ids[0], taskId: ids[0], output: "a\n" },
			{ id: ids[1], taskId: ids[1], output: "b" },
		],
	});
	const { stdout } = await box.bg(["output", ...ids]);
	expect(stdout).toBe(`== ${ids[0]} ==\na\n== ${ids[1]} ==\nb\n`);
});

test.each([
	[["--since", "x"], "whole number"],
	[["--max", "1T"], "64K"],
	[["--since", "1", "--tail", "2"], "cannot be combined"],
	[["--raw", "--tail", "2"], "cannot be combined"],
])("bg output %j is a usage error", async (flags, words) => {
	const box = sandbox();
	const id = wrote(box, "x");
	const answer = await box.bg(["output", id, ...flags]);
	expect(answer.code).toBe(2);
	expect(answer.error).toContain(words);
});

test("output of a task that failed and wrote nothing says how it ended", async () => {
	const box = sandbox();
	const id = await box.run(["sh", "-c", "exit 3"]);
	await box.bg(["wait", id]);
	const { code, stdout, stderr } = await box.bg(["output", id]);
	expect({ code, stdout, stderr }).toEqual({
		code: 0,
		stdout: "",
		stderr: `bg: ${id} ended as error: exited 3\n`,
	});
});
