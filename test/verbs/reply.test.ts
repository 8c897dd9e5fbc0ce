/** Answers that cannot be printed: a launch that was made is never told as not made. */
import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { listTaskIds } from "../../lib/store/records.ts";
import { failing } from "../tools/faults.ts";
import { program, sandbox, standIn } from "../tools/harness.ts";

/** Redirects the output of a call. */
const to = (redirections: string) => ({
	argv: ["sh", "-c", `exec "$@" ${redirections}`, "sh", ...program],
});

const oneLine = expect.stringMatching(
	/^bg: unable to print the answer: [^\n]+\n$/,
);

test("an answer that cannot be printed is one line on stderr and exit code 111", async () => {
	const box = sandbox();
	const id = await box.run(["echo", "hi"]);
	await box.bg(["wait", id]);
	const calls = [
		["--version"],
		["--help"],
		["list"],
		["list", "--text"],
		["status", id, "--text"],
		["output", id],
		["output", id, "--raw"],
		["wait", id],
		["wait", id, "--text"],
		["cancel", id],
		["prune"],
	];
	for (const call of calls) {
		const answer = await box.bg(call, to(">/dev/full"));
		expect([call, answer.code, answer.error]).toEqual([call, 111, oneLine]);
	}
	const silent = await box.bg(["list"], to(">/dev/full 2>/dev/full"));
	expect(silent.code).toBe(111);
	const fault = await box.bg(["status", "bg_00000000"], to(">/dev/full"));
	expect(fault.error).toMatch(/^bg: no task "bg_00000000"[^\n]*\n$/);
	expect(fault.code).toBe(3);
});

test("a launch whose answer cannot be printed names its tasks, which run", async () => {
	const box = sandbox();
	box.env.BG_DROID = standIn;
	const batch = join(box.home, "batch");
	const line = JSON.stringify({ description: "d", command: ["true"] });
	writeFileSync(batch, `${line}\n${line}\n`);
	const calls = [
		["run", "d", "--", "true"],
		["run", "-q", "d", "--", "true"],
		["launch", "d", "SAY[hi]"],
		["resume", "@last", "SAY[hi]"],
		["retry", "@last", "--text"],
		["launch", "--batch", batch],
		["launch", "--batch", batch, "-q"],
	];
	const known = new Set<string>();
	for (const call of calls) {
		const { code, error } = await box.bg(call, to(">/dev/full"));
		const ids = listTaskIds(box).filter((id) => !known.has(id));
		for (const id of ids) known.add(id);
		expect(ids).toHaveLength(call.includes("--batch") ? 2 : 1);
		expect([call, code, error.trim().split("\n").at(-1)]).toEqual([
			call,
			111,
			expect.stringContaining(
				`bg: launched ${ids.join(" ")}, but unable to print the answer: `,
			),
		]);
		expect(error).not.toContain("    at ");
		await box.bg(["wait", ...ids]);
		for (const id of ids) expect(box.record(id).exit_code).toBeNumber();
	}
});

test("a launch that was answered with another task names that one", async () => {
	const box = sandbox();
	const run = ["run", "--unique", "key", "d", "--", "sleep", "600"];
	const { taskId } = (await box.bg(run)).json();
	const { code, error } = await box.bg(run, to(">/dev/full"));
	expect([code, error]).toEqual([
		111,
		expect.stringContaining(`bg: ${taskId} existed already, but unable to`),
	]);
	await box.bg(["cancel", taskId]);
});

test("an answer that a failing device does not take is told in one line", async () => {
	const box = sandbox();
	const answer = join(box.home, "answer");
	const call = ["sh", "-c", 'exec "$@" >"$0"', answer, ...program];
	const fault = { calls: "write", path: answer, error: "EIO" };
	const { code, error } = await box.bg(["list"], {
		argv: [...failing(fault), ...call],
	});
	expect([code, error]).toEqual([111, oneLine]);
	expect(readFileSync(answer, "utf8")).toBe("");
});

test("--json and --text together launch nothing", async () => {
	const box = sandbox();
	const call = ["run", "--json", "--text", "d", "--", "true"];
	expect((await box.bg(call)).code).toBe(2);
	expect(listTaskIds(box)).toEqual([]);
});
