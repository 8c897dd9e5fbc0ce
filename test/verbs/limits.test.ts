import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { sandbox } from "../tools/harness.ts";
import { endOf, outputOf, script, treeOf } from "../tools/scripts.ts";

test.each([
	["timeout", ["0s", "", "0", "1x", "-1s", "1.5x", "1h30m", "9999999999d"]],
	["retries", ["-1", "101", "x", "1.5", ""]],
	["max-output", ["0", "-1", "1T", "x", ""]],
])("--%s refuses what makes no sense: %j", async (flag, values) => {
	const box = sandbox();
	for (const value of values) {
		const words = ["run", `--${flag}=${value}`, "d", "--", "true"];
		const { code, error } = await box.bg(words);
		expect([value, code]).toEqual([value, 2]);
		expect(error).toStartWith(`bg: --${flag} ${value}: it takes a `);
	}
	expect((await box.bg(["list"])).json().total).toBe(0);
});

describe("--max-output", () => {
	const line = (size: string) =>
		`\nbg: cut here: the task wrote more than ${size}\n`;

	test("ends a task that writes more, and keeps what fits and a line that says so", async () => {
		const box = sandbox();
		const id = await script(box, ["--max-output", "1M"], "yes & yes");
		expect(await endOf(box, id)).toMatchObject({
			status: "error",
			reason: "output-limit",
			error: "wrote more than 1M",
		});
		expect(treeOf(id)).toEqual([]);
		const written = outputOf(box, id);
		expect(written.endsWith(line("1M"))).toBe(true);
		expect(written.length).toBe(1024 * 1024 + line("1M").length);
	});

	test("ends a task as well that reads what is written into what it writes", async () => {
		const box = sandbox();
		const first = await script(box, [], "head -c 100000 /dev/zero");
		await endOf(box, first);
		const id = await script(
			box,
			["--max-output", "2M"],
			'while :; do cat "$BG_DIR"/*.out; done',
		);
		expect(await endOf(box, id)).toMatchObject({ reason: "output-limit" });
		expect(treeOf(id)).toEqual([]);
		expect(statSync(join(box.dir, `${id}.out`)).size).toBe(
			2 * 1024 * 1024 + line("2M").length,
		);
	});
});
