import { expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { root, sandbox } from "./harness.ts";

test("without a droid the demo launches a labelled stand-in, shows its change and leaves nothing behind", async () => {
	const box = sandbox();
	const temporary = join(box.home, "..", "tmp");
	mkdirSync(temporary);
	const { code, stdout, stderr } = await box.bg([], {
		argv: ["bun", join(root, "test", "tools", "demo.ts")],
		env: { TMPDIR: temporary, BG_DROID: "/none" },
	});
	expect([code, stderr]).toEqual([0, ""]);
	expect(stdout).toStartWith("droid: STAND-IN");
	expect(stdout).toContain("$ bg launch ");
	expect(stdout).toContain(
		"- const sum = (a, b) => a - b;\n+ const sum = (a, b) => a + b;",
	);
	expect(stdout).toMatch(/✔ completed +\S+ +test after\n +2 \+ 3 = 5/);
	expect(readdirSync(temporary)).toEqual([]);
	expect(readdirSync(box.home)).not.toContain(".factory");
});
