import { expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Answer, root, sandbox } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	noticeIn,
	parent,
	readNotices,
	send,
	toolUse,
} from "../tools/hooks.ts";

const crash = ["bun", join(root, "test", "chaos", "crash.mjs")];

test("a launch that is taken back halfway leaves no record without its notice", async () => {
	const box = sandbox();
	const script = join(box.home, "withdraw.ts");
	let answer: Answer;
	let step = 1;
	do {
		const fields = { parent_session_id: parent };
		const ids = [addTask(box, fields), addTask(box, fields)];
		writeFileSync(
			script,
			`import { removeUnlaunchedTasks } from ${JSON.stringify(join(root, "lib/prune/garbage.ts"))};
			removeUnlaunchedTasks({ dir: process.env.BG_DIR }, ${JSON.stringify(ids)});`,
		);
		answer = await box.bg([], {
			argv: crash,
			env: {
				CHAOS_PROGRAM: script,
				CHAOS_CRASH: `verb:${step++}`,
				CHAOS_LOG: join(box.home, "crashes"),
			},
		});
		const left = ids.filter((id) => existsSync(join(box.dir, `${id}.json`)));
		expect(readNotices(box, parent).awaited).toEqual(
			expect.arrayContaining(left),
		);
	} while (answer.code !== 0);
	expect(step).toBeGreaterThan(4);
});

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
				argv: crash,
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
