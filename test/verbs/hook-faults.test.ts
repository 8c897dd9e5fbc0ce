import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	statSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hookEvents } from "../../lib/hook/events.ts";
import type { Task } from "../../lib/task/schema.ts";
import { program, type Sandbox, sandbox, until } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	child,
	expectHarmless,
	faults,
	lock,
	nativeTask,
	nested,
	noticeIn,
	other,
	parent,
	payload,
	send,
	sessionEnd,
	sessionStart,
	stopOf,
	taskCall,
	toolUse,
	transcript,
} from "../tools/hooks.ts";
import { handOver, setFolderModes, smallDisk } from "../tools/namespaces.ts";

const deep = "[".repeat(100_000) + "]".repeat(100_000);

/** Inputs, and whether they are faults. */
const inputs: Record<string, [input: string, isFault: boolean]> = {
	"an empty stdin": ["", true],
	"only white space": [" \n", true],
	"incomplete JSON": ['{"session_id":"x","hook_event_na', true],
	"20 MB of JSON": [
		JSON.stringify(toolUse(parent, { tool_response: "x".repeat(2e7) })),
		true,
	],
	"deep nesting": [
		`{"hook_event_name":"SubagentStop","session_id":"${other}","tool_input":${deep}}`,
		false,
	],
	"unclosed nesting": [`{"a":${"[".repeat(100_000)}`, true],
	"an array": ["[1,2]", true],
	"a string": ['"SessionStart"', true],
	null: ["null", true],
	"two objects": ["{}{}", true],
	"wrong types": [
		'{"hook_event_name":"SessionEnd","session_id":{},"transcript_path":7}',
		true,
	],
	"an event that is not a string": ['{"hook_event_name":["Stop"]}', false],
	"no session": ['{"hook_event_name":"SessionEnd"}', false],
	"a session that is a path": [
		JSON.stringify(stopOf("../../etc/passwd")),
		true,
	],
	"a caller that is a path": [
		JSON.stringify(sessionStart(parent, { calling_session_id: "../x" })),
		true,
	],
	"invalid UTF-8": ['{"hook_event_name":"Stop","x":"\udc80"}', false],
};

test.each(Object.entries(inputs))(
	"a hook survives %s",
	async (_, [input, isFault]) => {
		const box = sandbox();
		const id = addTask(box, { session_id: "ses_0123456789ab" });
		expectHarmless(await box.bg(["hook"], { input }));
		expect(faults(box)).toHaveLength(isFault ? 1 : 0);
		expectHarmless(await box.bg(["hook-complete"], { input }));
		expect(box.record(id).status).toBe("running");
	},
);

test.each([
	["a folder", (path: string) => mkdirSync(path)],
	["a FIFO", (path: string) => Bun.spawnSync(["mkfifo", path])],
	["a device", (path: string) => symlinkSync("/dev/zero", path)],
	["a link to itself", (path: string) => symlinkSync(path, path)],
	["not there", () => {}],
	["empty", (path: string) => writeFileSync(path, "")],
	["not text", (path: string) => writeFileSync(path, Buffer.alloc(9999, 0xff))],
])("a transcript that is %s counts as empty", async (_, make) => {
	const box = sandbox();
	const path = join(box.home, "transcript.jsonl");
	make(path);
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const stop = stopOf("ses_0123456789ab", { transcript_path: path });
	expectHarmless(await send(box, stop));
	expect(box.record(id)).toMatchObject({ status: "completed", result: "" });
});

const events = Object.keys(hookEvents).map((event) =>
	payload(event, parent, { tool_name: "Execute", stop_hook_active: false }),
);

test("events with nothing to record create no store", async () => {
	const box = sandbox();
	for (const event of events)
		expect(await send(box, event)).toMatchObject({ code: 0, stdout: "" });
	expectHarmless(await box.bg(["hook"], { input: "{" }));
	expect(existsSync(box.dir)).toBe(false);
});

test.each([
	["a file", (dir: string) => writeFileSync(dir, "mine")],
	["open to others", (dir: string) => mkdirSync(dir)],
	["below a file", (dir: string) => writeFileSync(join(dir, ".."), "")],
	["a link to nowhere", (dir: string) => symlinkSync("/nowhere/x", dir)],
])(
	"a store that is %s makes no hook fail and is left as it is",
	async (what, make) => {
		const box = sandbox();
		const dir = join(box.home, "x", "store");
		if (what !== "below a file") mkdirSync(join(dir, ".."));
		make(dir);
		if (what === "open to others") Bun.spawnSync(["chmod", "777", dir]);
		const env = { BG_DIR: dir, BG_STOP: "wait" };
		for (const event of [...events, taskCall(parent, child)])
			expectHarmless(await send(box, event, { env }));
		if (what === "a file") expect(readFileSync(dir, "utf8")).toBe("mine");
		if (what === "open to others")
			expect(readdirSync(dir).filter((name) => name !== ".hook.log")).toEqual(
				[],
			);
	},
);

/** Runs a hook with a stdin that stays open after the text. Returns how long it took, in ms. */
async function callOpen(box: Sandbox, text: string): Promise<number> {
	const hook = Bun.spawn([...program, "hook"], {
		cwd: box.home,
		env: box.env,
		stdin: "pipe",
		stdout: "pipe",
		stderr: "pipe",
	});
	const start = performance.now();
	hook.stdin.write(text);
	hook.stdin.flush();
	const stdout = await new Response(hook.stdout).text();
	const stderr = await new Response(hook.stderr).text();
	await hook.exited;
	const spent = performance.now() - start;
	await Promise.resolve(hook.stdin.end()).catch(() => {});
	const json = () => JSON.parse(stdout);
	expectHarmless({ code: hook.exitCode, stdout, stderr, error: stderr, json });
	return spent;
}

const openStop = JSON.stringify(
	stopOf("ses_0123456789ab", { last_assistant_message: "words" }),
);

test("a hook does not wait for its stdin to close", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	for (const text of [openStop.slice(0, -20), ""])
		await until(
			async () => (await callOpen(box, text)) < 3000,
			"a hook that does not wait",
		);
	expect(box.record(id).status).toBe("running");
	await callOpen(box, openStop);
	expect(box.record(id)).toMatchObject({ result: "words" });
});

test.each([
	["incomplete JSON", openStop.slice(0, -20)],
	["nothing", ""],
])("%s on a stdin that stays open is one line in the log", async (_, text) => {
	const box = sandbox();
	addTask(box);
	await callOpen(box, text);
	expect(faults(box)).toHaveLength(1);
});

test("the next hook records the end of a native subagent that was locked", async () => {
	const box = sandbox();
	await send(box, sessionStart(child, { calling_session_id: parent }));
	await send(box, taskCall(parent, child));
	const id = nativeTask(box);
	const unlock = lock(box, id);
	await send(box, sessionEnd(child, transcript(box, nested("Hello."))));
	unlock();
	await send(box, payload("Stop", parent, { stop_hook_active: false }));
	expect(box.record(id)).toMatchObject({ status: "completed" });
});

test("hook-complete does not complete a task that is being stopped", async () => {
	const box = sandbox();
	const stop = {
		reason: "cancel",
		at: "2026-01-01T00:00:00Z",
		by: "bg cancel",
	};
	const id = addTask(box, {
		session_id: "ses_0123456789ab",
		stop: stop as Task["stop"],
	});
	const answer = await box.bg(["hook-complete"], { input: openStop });
	expect(box.record(id).status).toBe("running");
	expect(answer.json().completed).not.toBe(true);
});

test("a hook gives up a lock that stays held, and the next hook records the end", async () => {
	const box = sandbox();
	const id = addTask(box, {
		session_id: "ses_0123456789ab",
		parent_session_id: parent,
	});
	const stop = stopOf("ses_0123456789ab", { last_assistant_message: "words" });
	const told = addEnd(box, parent);
	const unlock = lock(box, id);
	expectHarmless(await send(box, stop));
	expect(faults(box)).toHaveLength(1);
	expect(faults(box)[0]).toContain(`held by process ${process.pid}`);
	expect(box.record(id).status).toBe("running");
	// A notice needs no lock.
	expect(noticeIn(await send(box, toolUse(parent)))).toContain(told);
	unlock();
	expect((await send(box, stop)).json()).toMatchObject({ completed: true });
	expect(noticeIn(await send(box, toolUse(parent)))).toContain(id);
});

test("the log of faults is private and has one line for each fault", async () => {
	const box = sandbox();
	addTask(box);
	for (let n = 0; n < 3; n++) await send(box, stopOf("../../etc/passwd"));
	expect(faults(box)).toHaveLength(3);
	expect(statSync(join(box.dir, ".hook.log")).mode & 0o777).toBe(0o600);
});

test("a SubagentStop with an empty result leaves the end to the subagent's session", async () => {
	const box = sandbox();
	const hook = (payload: object) =>
		box.bg(["hook"], { input: JSON.stringify(payload) });
	await hook({
		hook_event_name: "PostToolUse",
		session_id: "par-1",
		tool_name: "Task",
		tool_input: { subagent_type: "worker", description: "d", prompt: "p" },
		tool_response: "Task launched in background.\ntask_id: sub-1\n",
	});
	await hook({
		hook_event_name: "SubagentStop",
		session_id: "par-1",
		task_name: "d",
		task_result: "",
	});
	expect((await box.bg(["list"])).json()).toMatchObject({ running: 1 });
	const transcript = join(box.home, "t.jsonl");
	const content = [{ type: "text", text: "true words" }];
	const line = { type: "message", message: { role: "assistant", content } };
	await Bun.write(transcript, `${JSON.stringify(line)}\n`);
	await hook({
		hook_event_name: "SessionEnd",
		session_id: "sub-1",
		transcript_path: transcript,
	});
	const [task] = (await box.bg(["list", "--full"])).json().tasks;
	expect(task).toMatchObject({ status: "completed", result: "true words" });
});

test("on a full disk no hook fails, and nothing is lost", async () => {
	const box = sandbox();
	const disk = await smallDisk(box);
	const argv = [...disk.argv, ...program];
	const fields = { session_id: "ses_0123456789ab", parent_session_id: parent };
	const id = addTask(disk, fields);
	const stop = stopOf("ses_0123456789ab", {
		last_assistant_message: "words ".repeat(2000),
	});
	disk.fill();
	for (const event of [stop, ...events, taskCall(parent, child)])
		expectHarmless(await send(box, event, { argv }));
	const record = () =>
		JSON.parse(readFileSync(join(disk.dir, `${id}.json`), "utf8"));
	expect(record()).toMatchObject({ status: "running" });
	disk.free();
	expect((await send(box, stop, { argv })).json().completed).toBe(true);
	expect(record()).toMatchObject({ status: "completed" });
	const notice = noticeIn(await send(box, toolUse(parent), { argv }));
	expect(notice).toContain(id);
});

test("with a read-only store no hook fails, and nothing is lost", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const told = addEnd(box, parent);
	const argv = [...handOver(box), ...program];
	const stop = stopOf("ses_0123456789ab");
	await setFolderModes(box, "500");
	for (const event of [stop, ...events, taskCall(parent, child)])
		expectHarmless(await send(box, event, { argv }));
	expect(box.record(id).status).toBe("running");
	await setFolderModes(box, "700");
	expect((await send(box, stop, { argv })).json().completed).toBe(true);
	expect(noticeIn(await send(box, toolUse(parent), { argv }))).toContain(told);
});

test("a transcript without read permission counts as empty", async () => {
	const box = sandbox();
	const id = addTask(box, { session_id: "ses_0123456789ab" });
	const fields = transcript(box, nested("secret"));
	Bun.spawnSync(["chmod", "000", String(fields.transcript_path)]);
	const argv = [...handOver(box), ...program];
	expectHarmless(await send(box, stopOf("ses_0123456789ab", fields), { argv }));
	expect(box.record(id)).toMatchObject({ status: "completed", result: "" });
});
