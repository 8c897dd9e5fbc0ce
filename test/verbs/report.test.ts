import { expect, test } from "bun:test";
import { sandbox } from "../tools/harness.ts";
import { addEnd, other, parent, send, toolUse } from "../tools/hooks.ts";

test("report is of this session's tasks, unless all or another one's are asked for", async () => {
	const box = sandbox();
	const mine = addEnd(box, parent, "done <b>");
	const others = addEnd(box, other, "fine");
	const env = { BG_SESSION_ID: parent };
	const { stdout, code } = await box.bg(["report"], { env });
	expect(code).toBe(0);
	expect(stdout).toStartWith(
		"## Background Tasks\n\n| Task ID | Droid | Status | Result |\n",
	);
	expect(stdout).toContain(`| ${mine} | `);
	expect(stdout).toContain("`done 'b'`");
	expect(stdout).not.toContain(others);
	for (const args of [["--all"], ["--session", other]])
		expect((await box.bg(["report", ...args], { env })).stdout).toContain(
			others,
		);
	const unset = await box.bg(["report", "--session", ""], { env });
	expect(unset.code).toBe(2);
	expect(unset.error).toContain("--session is empty");
	const list = await box.bg(["list", "--format", "md", "--session", parent]);
	expect(list.stdout).toBe(stdout);
});

test("of an end that a session saw in its report no hook tells it", async () => {
	const box = sandbox();
	addEnd(box, parent, "fine");
	await box.bg(["report"]);
	await box.bg(["report"], { env: { BG_SESSION_ID: parent } });
	expect((await send(box, toolUse(parent))).stdout).toBe("");
	addEnd(box, parent, "again");
	await box.bg(["report"]);
	expect((await send(box, toolUse(parent))).stdout).toContain("again");
});
