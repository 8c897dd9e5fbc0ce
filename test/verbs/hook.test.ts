import { expect, test } from "bun:test";
import {
	closeSync,
	existsSync,
	mkdirSync,
	openSync,
	truncateSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { join } from "node:path";
import { sandbox, standIn } from "../tools/harness.ts";

import {
	addTask,
	faults,
	flat,
	nested,
	other,
	parent,
	send,
	sessionStart,
	stopOf,
	transcript,
} from "../tools/hooks.ts";

test.each([
	["session_id", { session_id: "ses_0123456789ab" }, "ses_0123456789ab"],
	["droid_session_id", { droid_session_id: other }, other],
] as const)(
	"SubagentStop finds its task by %s and completes it with the last message",
	async (_, fields, session) => {
		const box = sandbox();
		const id = addTask(box, { session_id: "ses_ba9876543210", ...fields });
		// A session is indexed at its start.
		await send(box, sessionStart(session), { env: { BG_TASK_ID: id } });
		const said = transcript(box, nested("not this"));
		const answer = await send(
			box,
			stopOf(session, { ...said, last_assistant_message: "all well" }),
		);
		expect(answer.json()).toEqual({
			id,
			taskId: id,
			status: "completed",
			completed: true,
			suppressOutput: true,
		});
		expect(box.record(id)).toMatchObject({
			status: "completed",
			reason: "hook",
			result: "all well",
		});
		expect(faults(box)).toEqual([]);
	},
);

test("a droid is also found by the session that only its stream names", async () => {
	const box = sandbox();
	const launched = await box.bg(["launch", "d", "RUN[sleep 60]"], {
		env: { BG_DROID: standIn },
	});
	const { taskId } = launched.json();
	const { droid_session_id = "" } = await box.untilTask(
		taskId,
		(task) => task.droid_session_id,
		"its session",
	);
	await send(
		box,
		stopOf(droid_session_id, { last_assistant_message: "early" }),
	);
	expect(box.record(taskId)).toMatchObject({
		status: "completed",
		result: "early",
	});
	await box.bg(["cancel", taskId]);
});

test.each([
	["role inside message", [nested("first"), nested("last"), ""]],
	["role on top", [flat("first"), flat("last"), ""]],
	["an incomplete last line", [nested("last"), nested("torn").slice(0, -7)]],
	["other lines after it", [flat("last"), '{"type":"agent_turn_outcome"}']],
] as const)("SubagentStop reads the transcript: %s", async (_, lines) => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	await send(box, stopOf("ses_0123456789ab", transcript(box, ...lines)));
	expect(box.record(id)).toMatchObject({ status: "completed", result: "last" });
});

test("a transcript of 200 MB is read from its end", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const path = join(box.home, "long.jsonl");
	const size = 200 * 1024 * 1024;
	writeFileSync(path, "");
	truncateSync(path, size);
	const fd = openSync(path, "r+");
	writeSync(fd, `\n${nested("the end")}\n`, size);
	closeSync(fd);
	await send(box, stopOf("ses_0123456789ab", { transcript_path: path }));
	expect(box.record(id).result).toBe("the end");
});

test("hook-complete needs no event, and answers as the old script did", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const input = JSON.stringify({
		session_id: "ses_0123456789ab",
		last_assistant_message: "words",
	});
	const first = await box.bg(["hook-complete"], { input });
	expect(first.code).toBe(0);
	expect(first.json()).toEqual({
		id,
		taskId: id,
		status: "completed",
		completed: true,
		suppressOutput: true,
	});
	const again = await box.bg(["hook-complete"], { input });
	expect(again.code).toBe(0);
	expect(again.json()).toEqual({
		error: expect.stringContaining("ses_0123456789ab"),
		suppressOutput: true,
	});
	expect(box.record(id).result).toBe("words");
});

test("without a store hook-complete answers an error and creates none", async () => {
	const box = sandbox();
	for (const input of ['{"session_id":"x"}', "", "[]"]) {
		const answer = await box.bg(["hook-complete"], { input });
		expect(answer.code).toBe(0);
		expect(answer.json()).toEqual({
			error: expect.any(String),
			suppressOutput: true,
		});
	}
	expect(existsSync(box.dir)).toBe(false);
});

test("hook-complete finds the tasks of an old folder", async () => {
	const box = sandbox();
	mkdirSync(box.dir, { mode: 0o755 });
	const id = "bg_19f0c2a4";
	writeFileSync(
		join(box.dir, `${id}.json`),
		JSON.stringify({ id, session_id: "ses_0123456789ab", status: "running" }),
	);
	const input = JSON.stringify(
		stopOf("ses_0123456789ab", { last_assistant_message: "old" }),
	);
	const answer = await box.bg(["hook-complete"], { input });
	expect(answer.json()).toMatchObject({ id, taskId: id, completed: true });
});

test.each([
	["task_name", { task_name: "sub task", task_result: "its words" }],
	["agent_id", { agent_id: "a1", last_assistant_message: "its words" }],
] as const)(
	"a payload with %s never completes the parent",
	async (_, fields) => {
		const box = sandbox();
		const id = addTask(box, {
			description: "sub task",
			session_id: parent,
			droid_session_id: parent,
		});
		for (const verb of ["hook", "hook-complete"])
			await box.bg([verb], { input: JSON.stringify(stopOf(parent, fields)) });
		expect(box.record(id).status).toBe("running");
	},
);
