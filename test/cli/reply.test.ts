/** What an answer counts for: an end that its session saw is not told again, and no other is. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { program, sandbox } from "../tools/harness.ts";
import { addEnd, noticeIn, parent, send, toolUse } from "../tools/hooks.ts";

const mine = { env: { BG_SESSION_ID: parent } };

const calls = [
	"wait",
	"wait --text",
	"status",
	"status --text",
	"output",
	"output --text",
	"output --raw",
	"output --follow",
	"output --raw --follow",
	"cancel",
];

test.each(calls)("what %s prints is collected", async (call) => {
	const box = sandbox();
	const id = addEnd(box, parent);
	await Bun.write(join(box.dir, `${id}.out`), "words\n");
	const { stdout } = await box.bg([...call.split(" "), id], mine);
	expect(stdout).not.toBe("");
	expect((await send(box, toolUse(parent))).stdout).toBe("");
});

test.each(calls)(
	"what %s prints is told where nobody read it",
	async (call) => {
		const box = sandbox();
		const id = addEnd(box, parent);
		await Bun.write(join(box.dir, `${id}.out`), "words\n");
		// A pipe whose only reader is gone before anything is written.
		const unread = 'mkfifo p && exec 3<>p 4>p 3>&- && exec "$@" >&4 4>&-';
		const argv = ["sh", "-c", unread, "sh", ...program];
		const { stderr } = await box.bg([...call.split(" "), id], {
			...mine,
			argv,
		});
		expect(stderr).toBe("");
		expect(noticeIn(await send(box, toolUse(parent)))).toContain(id);
	},
);
