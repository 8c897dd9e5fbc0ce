import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { openStore } from "../../lib/store/directory.ts";
import { findNewest } from "../../lib/store/sessions/session-index.ts";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	child,
	endTask,
	faults,
	nativeTask,
	nested,
	noticeIn,
	other,
	parent,
	payload,
	readNotices,
	send,
	sessionEnd,
	sessionStart,
	stopOf,
	taskCall,
	toolUse,
	transcript,
} from "../tools/hooks.ts";

/** The new ids of the session `parent`. */
const second = "11111111-d63d-4cfd-b5bf-8ec4ad278e06";
const third = "22222222-d63d-4cfd-b5bf-8ec4ad278e06";

const compaction = (session: string, previous: string) =>
	sessionStart(session, { source: "compact", previous_session_id: previous });

const fork = (session: string, previous: string) =>
	sessionStart(session, { source: "resume", previous_session_id: previous });

const load = (session: string) => sessionStart(session, { source: "resume" });

/** The ids that a hook tells its session of. */
async function told(box: Sandbox, input: { hook_event_name: string }) {
	const notice = noticeIn(await send(box, input), input.hook_event_name);
	return [...(notice ?? "").matchAll(/^- (bg_\w+) "/gm)]
		.map(([, id = ""]) => id)
		.sort();
}

const due = (box: Sandbox) => readdirSync(join(box.dir, ".due"));

const markDir = (box: Sandbox, session: string) =>
	join(box.dir, ".notices", session);

const byTask = (session: string) => ({ parent_session_id: session });

test("a compacted session gets the notices of its old id, whenever a task ends", async () => {
	const box = sandbox();
	const before = addEnd(box, parent);
	const between = addTask(box, byTask(parent));
	const after = addTask(box, byTask(parent));
	expect(await told(box, compaction(second, parent))).toEqual([before]);
	endTask(box, between);
	expect(due(box)).toEqual([second]);
	await send(box, sessionEnd(parent));
	endTask(box, after);
	expect(await told(box, toolUse(parent))).toEqual([]);
	expect(await told(box, toolUse(second))).toEqual([between, after].sort());
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(due(box)).toEqual([]);
	expect(existsSync(markDir(box, parent))).toBe(false);
	expect(faults(box)).toEqual([]);
});

test("a session that was compacted twice gets the notices of both old ids", async () => {
	const box = sandbox();
	const first = addTask(box, byTask(parent));
	await send(box, compaction(second, parent));
	const later = addTask(box, byTask(second));
	await send(box, compaction(third, second));
	endTask(box, first);
	endTask(box, later);
	expect(due(box)).toEqual([third]);
	expect(await told(box, toolUse(third))).toEqual([first, later].sort());
	expect(due(box)).toEqual([]);
});

test("a task that a shell with the old id launches belongs to the session", async () => {
	const box = sandbox();
	await send(box, compaction(second, parent));
	await send(box, compaction(third, second));
	const id = await box.run(["true"], { env: { BG_SESSION_ID: parent } });
	await until(() => due(box).includes(third), "its notice");
	expect(due(box)).toEqual([third]);
	expect(await told(box, toolUse(third))).toEqual([id]);
	const seen = await box.run(["true"], { env: { BG_SESSION_ID: parent } });
	await box.bg(["wait", seen], { env: { BG_SESSION_ID: second } });
	expect(await told(box, toolUse(third))).toEqual([]);
	expect(readNotices(box, third)).toEqual({ due: [], awaited: [] });
});

/** The first lines of transcripts, as droid 0.215.0 writes them. */
const head = (session: string, fields: object) =>
	JSON.stringify({
		...{ type: "session_start", id: session, title: "New Session" },
		...{ parent: parent, version: 2, cwd: "/home/dev/project" },
		...fields,
	});
const summary =
	'{"type":"compaction_state","id":"8574faf9","timestamp":"2026-11-26T11:37:41.404Z","summaryText":"Hello."}';

test.each([
	["is a compaction", [head(second, {}), summary], true],
	[
		"is a fork",
		[head(second, { forkedAtMessageId: "57f50894" }), nested("hi")],
		false,
	],
	[
		"is a fork of a compacted session",
		[head(second, { forkedAtMessageId: null }), summary],
		false,
	],
	["is of another session", [head(second, { parent: other }), summary], false],
	["has no summary", [head(second, {}), nested("hi")], false],
	["is no JSON", ["{", summary], false],
	["is empty", [], false],
])(
	"a resumed session whose transcript %s is told apart",
	async (_, lines, isCompaction) => {
		const box = sandbox();
		const id = addEnd(box, parent);
		const start = { ...fork(second, parent), ...transcript(box, ...lines) };
		expect(await told(box, start)).toEqual([id]);
		// What a resumed session was told is settled by its next event.
		expect(await told(box, toolUse(second))).toEqual([]);
		expect(due(box)).toEqual(isCompaction ? [] : [parent]);
		expect(await told(box, toolUse(parent))).toEqual(isCompaction ? [] : [id]);
		expect(faults(box)).toEqual([]);
	},
);

test("a fork that names another origin each time is told once", async () => {
	const box = sandbox();
	const ids = [addEnd(box, parent), addEnd(box, other)].sort();
	const all: string[] = [];
	for (const previous of [parent, other, parent, other])
		all.push(...(await told(box, fork(second, previous))));
	expect(all.sort()).toEqual(ids);
});

test("a notice that the client drops because it compacts the session is told again", async () => {
	const box = sandbox();
	const start = (session: string) => ({
		...fork(session, parent),
		...transcript(box, head(session, {}), summary),
	});
	const seen = addEnd(box, parent);
	expect(await told(box, load(parent))).toEqual([seen]);
	expect(await told(box, toolUse(parent))).toEqual([]);
	// Before a compaction the client reads the session again.
	const ids = [addEnd(box, parent), addEnd(box, parent)].sort();
	expect(await told(box, load(parent))).toEqual(ids);
	expect(await told(box, load(parent))).toEqual([]);
	expect(await told(box, start(second))).toEqual(ids);
	await send(box, sessionEnd(parent));
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(due(box)).toEqual([]);
	// A session that is started and left has seen nothing.
	const late = addEnd(box, second);
	expect(await told(box, load(second))).toEqual([late]);
	await send(box, sessionEnd(second));
	expect(await told(box, load(second))).toEqual([late]);
	await send(box, payload("Stop", second));
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(due(box)).toEqual([]);
	expect(faults(box)).toEqual([]);
});

test("a notice that the client keeps when it compacts the session is not repeated", async () => {
	const box = sandbox();
	const id = addEnd(box, parent);
	expect(await told(box, load(parent))).toEqual([id]);
	const untold = addEnd(box, parent);
	expect(await told(box, compaction(second, parent))).toEqual([untold]);
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(due(box)).toEqual([]);
});

test("both sides of a fork are told of every task launched before it, once", async () => {
	const box = sandbox();
	const seen = addEnd(box, parent);
	expect(await told(box, toolUse(parent))).toEqual([seen]);
	const before = addEnd(box, parent);
	const after = addTask(box, byTask(parent));
	expect(await told(box, fork(second, parent))).toEqual([before]);
	endTask(box, after);
	const own = [addEnd(box, parent), addEnd(box, second)];
	expect(due(box).sort()).toEqual([parent, second].sort());
	// A fork that is loaded again says again what it is a fork of.
	expect(await told(box, fork(second, parent))).toEqual(
		[after, own[1] as string].sort(),
	);
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(await told(box, toolUse(parent))).toEqual(
		[before, after, own[0] as string].sort(),
	);
	expect(due(box)).toEqual([]);
	expect(faults(box)).toEqual([]);
});

test("a fork of a compacted session and one of a fork are told", async () => {
	const box = sandbox();
	const id = addTask(box, byTask(parent));
	await send(box, compaction(second, parent));
	await send(box, fork(third, parent));
	await send(box, fork(other, third));
	await send(box, compaction(child, other));
	endTask(box, id);
	for (const session of [second, third, child])
		expect([session, await told(box, toolUse(session))]).toEqual([
			session,
			[id],
		]);
	expect(due(box)).toEqual([]);
});

test("a session that is loaded again after its compaction is told as well", async () => {
	const box = sandbox();
	const id = addTask(box, byTask(parent));
	await send(box, compaction(second, parent));
	await send(box, load(parent));
	const own = addTask(box, byTask(parent));
	endTask(box, id);
	endTask(box, own);
	expect(await told(box, toolUse(second))).toEqual([id]);
	expect(await told(box, toolUse(parent))).toEqual([id, own].sort());
	const ids = (await box.bg(["list", "--session", second])).json().tasks;
	expect(ids.map((task: { id: string }) => task.id)).toEqual([id]);
});

test("the end of an old id ends no subagent, and its notices stay with the session", async () => {
	const box = sandbox();
	// The session is a subagent itself: without the compaction its caller gets its notices.
	await send(box, sessionStart(parent, { calling_session_id: other }));
	await send(box, taskCall(other, parent));
	const subagent = nativeTask(box);
	const id = addTask(box, byTask(parent));
	await send(box, compaction(second, parent));
	await send(box, sessionEnd(parent));
	expect(box.record(subagent).status).toBe("running");
	endTask(box, id);
	expect(due(box)).toEqual([second]);
	await send(box, sessionEnd(second));
	expect(box.record(subagent).status).toBe("completed");
	expect(await told(box, toolUse(other))).toEqual([id]);
});

test("a subagent that the old id started ends under the new one", async () => {
	const box = sandbox();
	await send(box, taskCall(parent, child));
	await send(box, compaction(second, parent));
	const end = { task_name: "sub task", task_result: "all done" };
	await send(box, stopOf(second, end));
	expect(box.record(nativeTask(box))).toMatchObject({
		status: "completed",
		result: "all done",
	});
});

test("an ended subagent's notices go to the new id of its caller", async () => {
	const box = sandbox();
	await send(box, sessionStart(child, { calling_session_id: parent }));
	const ids = [addEnd(box, child), addTask(box, byTask(child))];
	await send(box, compaction(second, parent));
	await send(box, sessionEnd(child));
	endTask(box, ids[1] as string);
	expect(due(box)).toContain(second);
	expect(await told(box, toolUse(second))).toEqual(ids.sort());
	expect(await told(box, toolUse(parent))).toEqual([]);
});

test.each(["old", "new"])(
	"list, report, wait, cancel and Stop know all tasks of a session by its %s id",
	async (spelling) => {
		const box = sandbox();
		const session = spelling === "old" ? parent : third;
		const env = { BG_SESSION_ID: session };
		const owned: string[] = [];
		const launch = async (key: string) =>
			owned.push(
				await box.run(["sleep", "60"], { env: { BG_SESSION_ID: key } }),
			);
		await launch(parent);
		await send(box, compaction(second, parent));
		await launch(second);
		await send(box, compaction(third, second));
		await launch(third);
		await launch(parent);
		const stranger = await box.run(["sleep", "60"], byEnv(other));
		const { tasks } = (await box.bg(["list", "--session", session])).json();
		expect(tasks.map(({ id }: { id: string }) => id).sort()).toEqual(
			owned.toSorted(),
		);
		const report = (await box.bg(["report"], { env })).stdout;
		for (const id of owned) expect(report).toContain(id);
		expect(report).not.toContain(stranger);
		const stop = payload("Stop", session, { stop_hook_active: false });
		const stopEnv = { BG_STOP: "wait" };
		const { reason } = (await send(box, stop, { env: stopEnv })).json();
		for (const id of owned) expect(reason).toContain(id);
		const waiting = box.bg(["wait"], { env });
		const cancelled = await box.bg(["cancel", "--session", session]);
		expect(cancelled.json().tasks).toHaveLength(owned.length);
		// Some may have ended before it began to wait.
		for (const { taskId } of (await waiting).json().tasks)
			expect(owned).toContain(taskId);
		expect(box.record(stranger).status).toBe("running");
		await box.bg(["cancel", stranger]);
	},
);

const byEnv = (session: string) => ({ env: { BG_SESSION_ID: session } });

test("a waiting bg follows its session to a new id", async () => {
	const box = sandbox();
	const gate = join(box.home, "gate");
	const wait = ["sh", "-c", 'until [ -e "$0" ]; do sleep 0.2; done', gate];
	const first = await box.run(wait, byEnv(parent));
	const waiting = box.bg(["wait"], byEnv(parent));
	await send(box, compaction(second, parent));
	const later = await box.run(wait, byEnv(second));
	// The waiter has seen the later task once a poll has passed.
	await Bun.sleep(1500);
	writeFileSync(gate, "");
	const ids = (await waiting)
		.json()
		.tasks.map(({ taskId }: { taskId: string }) => taskId);
	expect(ids.sort()).toEqual([first, later].sort());
});

test("a fork owns the tasks launched before it, and its origin none of the fork's", async () => {
	const box = sandbox();
	const at = (ms: number) => ({
		queued_at: new Date(Date.now() + ms).toISOString(),
	});
	const before = addTask(box, { ...byTask(parent), ...at(-1000) });
	await send(box, fork(second, parent));
	const after = addTask(box, { ...byTask(parent), ...at(60_000) });
	const own = addTask(box, byTask(second));
	const list = async (session: string) =>
		(await box.bg(["list", "--session", session]))
			.json()
			.tasks.map(({ id }: { id: string }) => id)
			.sort();
	expect(await list(parent)).toEqual([before, after].sort());
	expect(await list(second)).toEqual([before, own].sort());
});

test("BG_SESSION_ID follows a session to its new id, and back", async () => {
	const box = sandbox();
	const path = join(box.home, "env.sh");
	writeFileSync(path, "");
	const env = { CLAUDE_ENV_FILE: path };
	addTask(box);
	for (const start of [
		sessionStart(parent),
		compaction(second, parent),
		load(parent),
	])
		await send(box, start, { env });
	expect(readFileSync(path, "utf8")).toBe(
		[parent, second, parent]
			.map((id) => `export BG_SESSION_ID=${id}\n`)
			.join(""),
	);
});

test.each([
	"../../etc/passwd",
	"a/b",
	"",
	"main",
	parent,
	"x".repeat(200),
	7,
	{},
])("a hostile previous session %p changes nothing else", async (previous) => {
	const box = sandbox();
	const id = addEnd(box, parent);
	const start = sessionStart(parent, {
		source: "compact",
		previous_session_id: previous,
	});
	expect(await told(box, start)).toEqual([id]);
	expect(faults(box)).toEqual([]);
	expect(due(box)).toEqual([]);
	expect(readdirSync(join(box.dir, ".sessions"))).toEqual([".whole"]);
});

test("sessions that continue each other in a circle are told once", async () => {
	const box = sandbox();
	const ids = [addTask(box, byTask(parent))];
	await send(box, compaction(second, parent));
	ids.push(addTask(box, byTask(second)));
	await send(box, compaction(parent, second));
	ids.push(addTask(box, byTask(parent)));
	for (const id of ids) endTask(box, id);
	const all = [
		...(await told(box, toolUse(second))),
		...(await told(box, toolUse(parent))),
	];
	expect(all.sort()).toEqual(ids.sort());
	expect(due(box)).toEqual([]);
	const { tasks } = (await box.bg(["list", "--session", second])).json();
	expect(tasks).toHaveLength(3);
});

test("links that form a circle or are no links keep nobody from working", async () => {
	const box = sandbox();
	addTask(box);
	const store = openStore({ dir: box.dir, write: true });
	await send(box, compaction(second, parent));
	const link = (session: string, name: string, text: string) =>
		writeFileSync(join(box.dir, ".sessions", session, name), text);
	link(second, ".next", parent);
	link(parent, ".previous", second);
	const id = await box.run(["true"], byEnv(parent));
	await box.bg(["wait", id], byEnv(other));
	const all = [
		...(await told(box, load(parent))),
		...(await told(box, load(second))),
	];
	expect(new Set(all)).toEqual(new Set([id]));
	for (const text of ["../../x", "", "a b c", "\0", parent]) {
		link(parent, ".next", text);
		link(parent, ".previous", text);
		expect(findNewest(store, parent)).toBe(parent);
		const { tasks } = (await box.bg(["list", "--session", parent])).json();
		expect(tasks).toHaveLength(1);
	}
});

test("a mark that a writer left under an old id is swept", async () => {
	const box = sandbox();
	addTask(box);
	await send(box, compaction(second, parent));
	writeFileSync(join(box.dir, ".due", parent), "");
	sweepStore(openStore({ dir: box.dir, write: true }));
	expect(due(box)).toEqual([second]);
	expect(await told(box, toolUse(second))).toEqual([]);
	expect(due(box)).toEqual([]);
});
