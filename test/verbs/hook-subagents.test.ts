import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { sandbox } from "../tools/harness.ts";

import {
	addTask,
	child,
	faults,
	listed,
	nativeTask,
	nested,
	other,
	parent,
	payload,
	send,
	sessionEnd,
	sessionStart,
	stopOf,
	taskCall,
	transcript,
} from "../tools/hooks.ts";

test("a native subagent is a task, and ends with its own session", async () => {
	const box = sandbox();
	await send(box, taskCall(parent, child));
	expect(await listed(box)).toMatchObject([
		{ description: "sub task", status: "running", note: "droid runs it" },
	]);
	const id = nativeTask(box);
	expect((await box.bg(["status", id])).json()).toMatchObject({
		kind: "native",
		agent: "worker",
		prompt: "say hello to the parent",
		parent_session_id: parent,
		droid_session_id: child,
	});
	const cancel = await box.bg(["cancel", id]);
	expect(cancel.code).toBe(1);
	expect(cancel.stdout).toContain("droid runs it");
	const timedOut = await box.bg(["wait", id, "--timeout", "0.1s"]);
	expect(timedOut.code).toBe(124);
	// Neither the parent's end of turn nor a stranger's end is its end.
	await send(box, payload("Stop", child));
	await send(box, sessionEnd(other, transcript(box, nested("not mine"))));
	await send(box, sessionEnd(parent, transcript(box, nested("the parent"))));
	expect(box.record(id).status).toBe("running");
	await send(box, sessionEnd(child, transcript(box, nested("Hello."), "")));
	const waited = await box.bg(["wait", id]);
	expect(waited.json().tasks).toEqual([
		{ id, taskId: id, status: "completed", result: "Hello." },
	]);
	expect((await box.bg(["output", id, "--json"])).json()).toMatchObject({
		tasks: [{ status: "completed" }],
	});
	expect(faults(box)).toEqual([]);
});

test("output shows the result of a native subagent", async () => {
	const box = sandbox();
	await send(box, taskCall(parent, child));
	const id = nativeTask(box);
	await send(box, sessionEnd(child, transcript(box, nested("Hello."))));
	const { stdout } = await box.bg(["output", id]);
	expect(stdout).toContain("Hello.");
});

test("a native subagent ends by a SubagentStop with its name", async () => {
	const box = sandbox();
	await send(box, taskCall(parent, child));
	const id = nativeTask(box);
	const result = { task_result: "Hello from the scripted model." };
	await send(box, stopOf(parent, { task_name: "another", ...result }));
	await send(box, stopOf(other, { task_name: "sub task", ...result }));
	expect(box.record(id).status).toBe("running");
	await send(box, stopOf(parent, { task_name: "sub task", ...result }));
	expect(box.record(id)).toMatchObject({
		status: "completed",
		result: result.task_result,
	});
	// The later end of the session changes nothing.
	await send(box, sessionEnd(child, transcript(box, nested("later"))));
	expect(box.record(id).result).toBe(result.task_result);
});

test("two native subagents with the same name each end with their own session", async () => {
	const box = sandbox();
	await send(box, taskCall(parent, child));
	const first = nativeTask(box);
	await send(box, taskCall(parent, other));
	await send(
		box,
		stopOf(parent, { task_name: "sub task", task_result: "whose?" }),
	);
	const running = (await listed(box)).map(({ status }) => status);
	expect(running).toEqual(["running", "running"]);
	await send(box, sessionEnd(other, transcript(box, nested("second"))));
	expect(box.record(first).status).toBe("running");
	await send(box, sessionEnd(child, transcript(box, nested("first"))));
	expect(box.record(first).result).toBe("first");
	const ends = (await listed(box)).map(({ status }) => status);
	expect(ends).toEqual(["completed", "completed"]);
});

test("the end of a session is kept if it arrives before its record", async () => {
	const box = sandbox();
	await send(box, sessionStart(child, { calling_session_id: parent }));
	await send(box, sessionEnd(child, transcript(box, nested("quick"))));
	await send(box, taskCall(parent, child));
	expect(box.record(nativeTask(box))).toMatchObject({
		status: "completed",
		result: "quick",
	});
});

test("inside a bg task, too, the end of a session is kept if it arrives before its record", async () => {
	const box = sandbox();
	const own = addTask(box, { parent_session_id: other });
	const env = { BG_TASK_ID: own };
	await send(box, sessionStart(parent), { env });
	await send(box, sessionStart(child, { calling_session_id: parent }), { env });
	await send(box, sessionEnd(child, transcript(box, nested("quick"))), { env });
	await send(box, taskCall(parent, child), { env });
	expect(box.record(own)).toMatchObject({
		status: "running",
		droid_session_id: parent,
	});
	expect(box.record(nativeTask(box))).toMatchObject({
		status: "completed",
		result: "quick",
		parent_task_id: own,
	});
});

test("hooks that report the same subagent make one record", async () => {
	const box = sandbox();
	addTask(box);
	await Promise.all(
		Array.from({ length: 6 }, () => send(box, taskCall(parent, child))),
	);
	nativeTask(box);
});

test("a Task call that ran in the foreground makes no record and no store", async () => {
	const box = sandbox();
	const call = { ...taskCall(parent, child), tool_response: "Hello." };
	expect((await send(box, call)).stdout).toBe("");
	expect(existsSync(box.dir)).toBe(false);
});
