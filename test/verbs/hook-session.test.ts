import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readFileSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { sandbox } from "../tools/harness.ts";

import {
	addEnd,
	addTask,
	child,
	expectHarmless,
	faults,
	noticeIn,
	other,
	parent,
	send,
	sessionStart,
	toolUse,
} from "../tools/hooks.ts";

test("SessionStart exports its session to every later command, once", async () => {
	const box = sandbox();
	const path = join(box.home, "env.sh");
	writeFileSync(path, "export A=1");
	const env = { CLAUDE_ENV_FILE: path };
	for (let n = 0; n < 2; n++)
		expect((await send(box, sessionStart(parent), { env })).stdout).toBe("");
	expect(readFileSync(path, "utf8")).toBe(
		`export A=1\nexport BG_SESSION_ID=${parent}\n`,
	);
	// The path comes only from the environment, and only SessionStart uses it.
	const payloadPath = join(box.home, "payload.sh");
	await send(box, sessionStart(parent, { CLAUDE_ENV_FILE: payloadPath }));
	await send(box, toolUse(other), { env });
	expect(existsSync(payloadPath)).toBe(false);
	expect(readFileSync(path, "utf8")).not.toContain(other);
	expect(existsSync(box.dir)).toBe(false);
});

const envFiles: [string, (path: string) => unknown][] = [
	[
		"a link",
		(path) => {
			writeFileSync(`${path}.target`, "mine\n");
			symlinkSync(`${path}.target`, path);
		},
	],
	["a FIFO", (path) => Bun.spawnSync(["mkfifo", path])],
	["a folder", (path) => mkdirSync(path)],
];

test.each(envFiles)(
	"a CLAUDE_ENV_FILE that is %s is left alone",
	async (_, make) => {
		const box = sandbox();
		const path = join(box.home, "env.sh");
		make(path);
		addTask(box);
		const env = { CLAUDE_ENV_FILE: path };
		expectHarmless(await send(box, sessionStart(parent), { env }));
		expect(faults(box)).toHaveLength(1);
		if (existsSync(`${path}.target`))
			expect(readFileSync(`${path}.target`, "utf8")).toBe("mine\n");
	},
);

test.each(envFiles)(
	"SessionStart does everything else if CLAUDE_ENV_FILE is %s",
	async (_, make) => {
		const box = sandbox();
		const path = join(box.home, "env.sh");
		make(path);
		const id = addTask(box, { parent_session_id: other });
		const told = addEnd(box, parent);
		const env = { CLAUDE_ENV_FILE: path, BG_TASK_ID: id };
		const answer = await send(box, sessionStart(parent), { env });
		expect(box.record(id).droid_session_id).toBe(parent);
		expect(noticeIn(answer, "SessionStart")).toContain(told);
	},
);

test("inside a task, SessionStart records the session of the task, but not a subagent's", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const env = { BG_TASK_ID: id };
	await send(box, sessionStart(child, { calling_session_id: parent }), { env });
	expect(box.record(id).droid_session_id).toBeUndefined();
	await send(box, sessionStart(parent), { env });
	expect(box.record(id).droid_session_id).toBe(parent);
	await send(box, sessionStart(child, { calling_session_id: parent }), { env });
	expect(box.record(id).droid_session_id).toBe(parent);
	const bad = { BG_TASK_ID: "../../etc/passwd" };
	expect((await send(box, sessionStart(other), { env: bad })).code).toBe(0);
});
