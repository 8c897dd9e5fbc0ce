import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Answer, root, sandbox } from "./harness.ts";
import { addEnd, noticeIn, parent, send, toolUse } from "./hooks.ts";

test.each(["status", "output", "wait"])(
	"a session is told of an end, wherever its own %s of it died",
	async (verb) => {
		const box = sandbox();
		const log = join(box.home, "crashes");
		let answer: Answer;
		let step = 1;
		do {
			const id = addEnd(box, parent);
			answer = await box.bg([verb, id, "--json"], {
				argv: ["bun", join(root, "test", "chaos-crash.mjs")],
				env: {
					BG_SESSION_ID: parent,
					CHAOS_PROGRAM: join(root, "bg.ts"),
					CHAOS_CRASH: `verb:${step++}`,
					CHAOS_LOG: log,
				},
			});
			const notice = noticeIn(await send(box, toolUse(parent)));
			if (!answer.stdout.endsWith("\n"))
				expect(notice ?? "nothing").toContain(id);
		} while (answer.code !== 0);
		// It did die, after each of its steps but the last.
		expect(existsSync(log)).toBe(true);
		const deaths = readFileSync(log, "utf8").trim().split("\n");
		expect(deaths).toHaveLength(step - 2);
	},
);
