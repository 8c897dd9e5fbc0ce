/** What others may have put into a store, or into the way of one: refused, and nothing reached through it. */
import { expect, test } from "bun:test";
import {
	chmodSync,
	existsSync,
	mkdirSync,
	readFileSync,
	renameSync,
	rmSync,
	symlinkSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { identifySelf } from "../../lib/process/identity.ts";
import { createOnEndMark } from "../../lib/spawn/command.ts";
import { setQueuePaused } from "../../lib/spawn/queue.ts";
import { openStore } from "../../lib/store/directory.ts";
import { openOutput } from "../../lib/store/output-files.ts";
import { folders, outputFile, recordFile } from "../../lib/store/paths.ts";
import { createTask, updateTask } from "../../lib/store/records.ts";
import {
	expectNotice,
	markSessionDue,
} from "../../lib/store/sessions/notices.ts";
import {
	indexSession,
	listSessionTasks,
} from "../../lib/store/sessions/session-index.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import {
	type Answer,
	executable,
	program,
	type Sandbox,
	sandbox,
	snapshot,
} from "../tools/harness.ts";
import {
	addEnd,
	addTask,
	child,
	expectHarmless,
	faults,
	other,
	parent,
	payload,
	send,
	sessionEnd,
	sessionStart,
	stopOf,
	taskCall,
	toolUse,
} from "../tools/hooks.ts";
import { giveAway, unprivileged } from "../tools/namespaces.ts";

/** A folder beside the store, which nobody is to reach through it. */
function canary(box: Sandbox): string {
	const dir = join(box.home, "canary");
	mkdirSync(dir);
	writeFileSync(join(dir, "file"), "mine");
	return dir;
}

/** One line that says what is wrong, and where. */
function expectRefused({ code, error }: Answer, ...parts: string[]): void {
	expect({ code, error }).toEqual({
		code: 111,
		error: expect.stringMatching(/^bg: [^\n]+\n$/),
	});
	for (const part of parts) expect(error).toContain(part);
}

/** How a part of the store may be somebody else's, and what is said of it. */
const wrongs = [
	[
		"a link",
		"is a link",
		(path: string, canary: string) => {
			rmSync(path, { recursive: true, force: true });
			symlinkSync(canary, path);
		},
	],
	[
		"writable by others",
		"can be written by others",
		(path: string) => chmodSync(path, 0o777),
	],
	["another user's", "belongs to another user", giveAway],
] as const;

test.each(wrongs)(
	"a folder of the store that is %s is refused by name, to read and to write",
	async (_, words, make) => {
		const box = sandbox();
		const beside = canary(box);
		const before = snapshot(beside);
		addTask(box, { parent_session_id: parent });
		for (const name of Object.values(folders)) {
			const path = join(box.dir, name);
			renameSync(path, `${path}.kept`);
			mkdirSync(path, { mode: 0o700 });
			const argv = [...(make(path, beside) ?? []), ...program];
			expectRefused(await box.bg(["list"], { argv }), words, path);
			rmSync(path, { recursive: true });
			renameSync(`${path}.kept`, path);
		}
		const path = join(box.dir, folders.notices);
		rmSync(path, { recursive: true });
		mkdirSync(path, { mode: 0o700 });
		const argv = [...(make(path, beside) ?? []), ...program];
		const run = await box.bg(["run", "d", "--", "true"], { argv });
		expectRefused(run, words, path);
		expectHarmless(await send(box, sessionStart(parent), { argv }));
		expect(faults(box)).toEqual([expect.stringContaining(words)]);
		expect(snapshot(beside)).toEqual(before);
	},
);

test.each(wrongs)(
	"a record that is %s is told as such, and neither believed nor changed",
	async (_, words, make) => {
		const box = sandbox();
		const beside = canary(box);
		const good = addTask(box);
		const id = addTask(box);
		const path = join(box.dir, `${id}.json`);
		const record = join(beside, "file");
		renameSync(path, record);
		writeFileSync(path, readFileSync(record));
		const before = snapshot(beside);
		const argv = [...(make(path, record) ?? []), ...program];
		const list = (await box.bg(["list"], { argv })).json();
		expect(list).toMatchObject({
			tasks: [{ id: good }],
			unreadable: [{ taskId: id, problem: expect.stringContaining(words) }],
		});
		for (const verb of ["status", "output", "pause"])
			expectRefused(await box.bg([verb, id], { argv }), words, path);
		expectRefused(await box.bg(["complete", id, "x"], { argv }), words, path);
		expectRefused(await box.bg(["cancel", id], { argv }), words, path);
		for (const verb of ["prune", "cleanup"])
			expect((await box.bg([verb, "--text"], { argv })).code).toBe(0);
		expect(snapshot(beside)).toEqual(before);
		expect(existsSync(path)).toBe(true);
	},
);

test.each(wrongs)(
	"an output that is %s is neither read nor written",
	async (_, words, make) => {
		const box = sandbox();
		const beside = canary(box);
		const id = addTask(box);
		const path = join(box.dir, `${id}.out`);
		writeFileSync(path, "secret", { mode: 0o600 });
		const before = snapshot(beside);
		const argv = [...(make(path, join(beside, "file")) ?? []), ...program];
		for (const args of [
			["output", id],
			["output", "--raw", id],
		]) {
			const answer = await box.bg(args, { argv });
			expectRefused(answer, words, path);
			expect(answer.stdout).not.toMatch(/mine|secret/);
		}
		if (argv.length === program.length)
			expect(() => openOutput({ dir: box.dir }, id)).toThrow(words);
		expect(snapshot(beside)).toEqual(before);
	},
);

test("nothing is made or read behind a link within the folders either", () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const beside = canary(box);
	const id = createTaskId();
	const task: Task = { id, kind: "droid", description: "", status: "running" };
	createTask(store, task);
	writeFileSync(join(beside, createTaskId()), "");
	const before = snapshot(beside);
	const acts: Record<string, [to: string, act: () => unknown][]> = {
		".sessions/s1": [
			[beside, () => indexSession(store, "s1", id)],
			[beside, () => listSessionTasks(store, "s1")],
		],
		[`.sessions/s2/${id}`]: [
			[join(beside, "new"), () => indexSession(store, "s2", id)],
		],
		".notices/s3": [[beside, () => expectNotice(store, "s3", id)]],
		".due/s4": [[join(beside, "new"), () => markSessionDue(store, "s4")]],
		".queue/paused": [[join(beside, "new"), () => setQueuePaused(store, true)]],
		[`.on-end/${id}`]: [
			[join(beside, "new"), () => createOnEndMark(store, id)],
		],
	};
	for (const [name, cases] of Object.entries(acts))
		for (const [to, act] of cases) {
			const path = join(box.dir, name);
			mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
			symlinkSync(to, path);
			expect(act).toThrow(`${path} is a link`);
			rmSync(path);
		}
	symlinkSync(beside, join(box.dir, ".locks", id));
	expect(() => updateTask(store, id, () => undefined)).toThrow(
		"unable to lock",
	);
	expect(snapshot(beside)).toEqual(before);
});

test("a fault is not noted behind a link, nor in a folder that is not ours", async () => {
	const box = sandbox();
	addTask(box);
	const file = join(canary(box), "file");
	const log = join(box.dir, ".hook.log");
	symlinkSync(file, log);
	expectHarmless(await send(box, stopOf("../x")));
	expect(readFileSync(file, "utf8")).toBe("mine");
	rmSync(log);
	chmodSync(box.dir, 0o777);
	expectHarmless(await send(box, stopOf("../x")));
	chmodSync(box.dir, 0o700);
	expect(faults(box)).toEqual([]);
	const argv = [...giveAway(box.dir), ...program];
	const before = snapshot(box.dir);
	expectHarmless(await send(box, stopOf("../x"), { argv }));
	expect(snapshot(box.dir)).toEqual(before);
});

test("a folder of other things is not closed to others by a slip of BG_DIR", async () => {
	const box = sandbox();
	const dir = join(box.home, "project");
	mkdirSync(join(dir, "src"), { recursive: true });
	chmodSync(dir, 0o755);
	const before = snapshot(dir);
	const env = { BG_DIR: dir };
	const run = ["run", "d", "--", "true"];
	expectRefused(await box.bg(run, { env }), `${dir} holds other files (src)`);
	expectHarmless(await send(box, taskCall(parent, child), { env }));
	const after = snapshot(dir);
	expect(after[""]?.split(" ")[0]).toBe(before[""]?.split(" ")[0]);
	expect(Object.keys(after)).toEqual(["", ".hook.log", "src"]);
});

// --- root and the stores of others ---

const gone = { ...identifySelf(), start: "999999999999" };

/** Looks, and whether they come to an answer. */
const looks = (ids: readonly string[]) => [
	["list"],
	["list", "--all", "--full"],
	["list", "--format", "md"],
	["wait"],
	["prune", "--dry-run"],
	["prune", "--dry-run", "--ttl", "1s"],
	["cleanup", "--dry-run", "--delete", "--older-than", "0s"],
	["output", "--json", ...ids],
	...ids.flatMap((id) => [
		["status", id],
		["output", "--raw", id],
	]),
];

const deeds = (id: string) => [
	["run", "d", "--", "true"],
	["launch", "d", "p"],
	["prune"],
	["cleanup"],
	["cancel", id],
	["complete", id, "x"],
	["pause", id],
	["pause", "--queue"],
	["retry", id],
	["resume", id, "p"],
];

const events = [
	sessionStart(parent),
	toolUse(parent),
	stopOf(parent),
	payload("UserPromptSubmit", parent),
	payload("Stop", parent),
	sessionEnd(parent),
	taskCall(parent, child),
];

test("root looks at another user's store and leaves nothing of its own in it", async () => {
	const box = sandbox();
	const droid = executable(box.home, "droid", "#!/bin/sh\n");
	const env = { BG_SESSION_ID: parent, BG_STOP: "wait", BG_DROID: droid };
	const ended = addEnd(box, parent, "done");
	const fields = {
		kind: "droid" as const,
		command: ["droid"],
		supervisor: gone,
	};
	const lost = addTask(box, { ...fields, on_end: ["touch", "canary"] });
	const orphan = addTask(box, { ...fields, process: identifySelf() });
	for (const id of [lost, orphan])
		writeFileSync(
			join(box.dir, `${id}.out`),
			'{"type":"message","role":"assistant","text":"words"}\n',
			{ mode: 0o600 },
		);
	if (unprivileged.length === 0) {
		// Who is not root cannot look: the system's own folders are as good as another user's.
		const answer = await box.bg(["list"], { env: { BG_DIR: "/etc" } });
		expectRefused(answer, "/etc belongs to another user (uid 0)");
		return;
	}
	Bun.spawnSync(["chown", "-R", "65534:65534", join(box.dir, "..")]);
	const before = snapshot(box.dir);
	for (const args of looks([ended, lost, orphan])) {
		const { code, error } = await box.bg(args, { env });
		const answered = args[0] === "wait" ? [0, 1] : [0];
		expect({ args, error, ok: answered.includes(code ?? -1) }).toEqual({
			args,
			error: "",
			ok: true,
		});
	}
	const { tasks } = (await box.bg(["list"], { env })).json();
	expect(tasks).toMatchObject([
		{ id: orphan, status: "running", progress: { lastMessage: "words" } },
		{ id: lost, status: "error", reason: "lost" },
		{ id: ended, status: "completed" },
	]);
	for (const args of deeds(lost))
		expectRefused(await box.bg(args, { env }), "belongs to another user");
	for (const event of events) expectHarmless(await send(box, event, { env }));
	expect(snapshot(box.dir)).toEqual(before);
	expect(existsSync(join(box.home, "canary"))).toBe(false);
	// Its owner goes on as if nobody had looked.
	const argv = [...unprivileged, ...program];
	const status = await box.bg(["status", lost], { argv });
	expect(status.json()).toMatchObject({ status: "error", reason: "lost" });
	expect(box.record(lost).reason).toBe("lost");
});

// --- records by a newer bg ---

test("a record by a newer bg is shown and never rewritten", async () => {
	const box = sandbox();
	const at = new Date(Date.now() - 1e9).toISOString();
	const add = (fields: object) => {
		const id = addTask(box, {
			kind: "droid",
			parent_session_id: parent,
			queued_at: at,
			supervisor: gone,
			on_end: ["touch", join(box.home, "canary")],
			...fields,
		} as Partial<Task>);
		const path = join(box.dir, `${id}.json`);
		const record = JSON.parse(readFileSync(path, "utf8"));
		// What this one knows under another type, and what it has never heard of.
		const news = { schema: 2, via: "pigeon", tags: { a: 1 }, model: 7, x: [1] };
		writeFileSync(path, JSON.stringify({ ...record, ...news }));
		writeFileSync(join(box.dir, `${id}.out`), "words\n", { mode: 0o600 });
		return id;
	};
	const [lost, orphan, queued, ended] = [
		add({ droid_session_id: other }),
		add({ process: identifySelf() }),
		add({ status: "queued" }),
		add({ status: "completed", completed_at: at }),
	];
	const ids = [lost, orphan, queued, ended].map(String);
	const before = ids.map((id) => readFileSync(join(box.dir, `${id}.json`)));
	const env = { BG_SESSION_ID: parent };
	for (const args of looks(ids).filter(([verb]) => verb !== "wait"))
		expect(await box.bg(args, { env })).toMatchObject({ code: 0, stderr: "" });
	const { tasks } = (await box.bg(["list", "--full"])).json();
	expect(tasks.map(({ id }: Task) => id)).toEqual(ids.toReversed());
	expect(tasks[0]).toMatchObject({ schema: 2, x: [1], status: "completed" });
	expect((await box.bg(["output", lost])).stdout).toBe("words\n");
	for (const args of [
		["complete", lost, "x"],
		["pause", orphan],
	])
		expectRefused(await box.bg(args), "was written by a newer bg (schema 2)");
	const cancel = (await box.bg(["cancel", lost, orphan, queued])).json();
	for (const { cancelled, note } of cancel.tasks)
		expect({ cancelled, note }).toMatchObject({ cancelled: false });
	for (const args of [["prune"], ["prune", "--ttl", "1s"], ["cleanup"]])
		expect(await box.bg(args)).toMatchObject({ code: 0 });
	const old = ["cleanup", "--delete", "--older-than", "0s"];
	expect((await box.bg(old)).json()).toMatchObject({
		deleted: [],
		archived: [],
	});
	for (const event of [...events, stopOf(other), sessionEnd(other)])
		expectHarmless(await send(box, event));
	const inside = { env: { BG_TASK_ID: lost } };
	expectHarmless(await send(box, sessionStart(child), inside));
	const after = ids.map((id) => readFileSync(join(box.dir, `${id}.json`)));
	expect(after).toEqual(before);
	expect(existsSync(join(box.home, "canary"))).toBe(false);
	expect(box.alive()).toEqual([]);
});

test("a record by a newer bg that cannot be read is reported as such and stays", async () => {
	const box = sandbox();
	const id = addTask(box);
	const path = recordFile({ dir: box.dir }, id);
	const text = JSON.stringify({ schema: 3, id, status: "postponed" });
	writeFileSync(path, text);
	const list = (await box.bg(["list"])).json();
	expect(list.unreadable).toMatchObject([
		{ taskId: id, problem: "it was written by a newer bg (schema 3)" },
	]);
	expectRefused(await box.bg(["status", id]), "newer bg (schema 3)");
	const fallback: Task = {
		id,
		kind: "command",
		description: "",
		status: "running",
	};
	const store = openStore({ dir: box.dir, write: true });
	const end = () =>
		updateTask(store, id, (task) => ({ ...task, tags: [] }), { fallback });
	expect(end).toThrow("newer bg (schema 3)");
	expect(readFileSync(path, "utf8")).toBe(text);
	expect(existsSync(outputFile(store, id))).toBe(false);
});
