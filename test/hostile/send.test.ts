/** Hooks and senders that are killed right after each of their steps on disk. */
import { expect } from "bun:test";
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageFolder } from "../../lib/store/paths.ts";
import {
	addMessage,
	listMessages,
	type MessageKind,
} from "../../lib/store/sessions/messages.ts";
import {
	expectNote,
	markSessionDue,
} from "../../lib/store/sessions/notices.ts";
import { concurrentTest } from "../tools/concurrent.ts";
import { failing } from "../tools/faults.ts";
import {
	type Answer,
	root,
	type Sandbox,
	sandbox,
	standIn,
	until,
} from "../tools/harness.ts";
import {
	addTask,
	faults,
	send as hook,
	parent,
	payload,
	toolUse,
} from "../tools/hooks.ts";

const argv = ["bun", join(root, "test", "chaos", "crash.mjs")];

function prepare(): Sandbox {
	const box = sandbox();
	mkdirSync(join(box.home, ".factory"));
	const hooks = [{ hooks: [{ type: "command", command: "/x/bg hook" }] }];
	const text = JSON.stringify({ PostToolUse: hooks });
	writeFileSync(join(box.home, ".factory", "hooks.json"), text);
	return box;
}

/** A call that dies after a step; one of a task if `id` is given. */
const dying = (box: Sandbox, step: number, id?: string) => ({
	argv,
	env: {
		...(id && { BG_TASK_ID: id }),
		CHAOS_PROGRAM: join(root, "bg.ts"),
		CHAOS_CRASH: `verb:${step}`,
		CHAOS_LOG: join(box.home, "crashes"),
	},
});

/** Calls with a growing step until a call survives. @returns how many died. */
async function killAtEachStep(
	play: (step: number) => Promise<Answer>,
): Promise<number> {
	for (let step = 1; ; step++)
		if ((await play(step)).code === 0) return step - 1;
}

/** Adds messages as a sender does that is not killed. */
function add(box: Sandbox, id: string, kind: MessageKind, ...texts: string[]) {
	for (const text of texts)
		addMessage(box, id, kind, { from: { by: "person" }, text });
}

/** The messages and notes that a hook told, by their last words. */
const toldIn = ({ stdout }: Answer): string[] =>
	[...stdout.matchAll(/(?:> |: \\")(words \d)/g)].map(
		([, words = ""]) => words,
	);

const isDue = (box: Sandbox, session: string) =>
	existsSync(join(box.dir, ".due", session));

const stop = (session: string) =>
	payload("Stop", session, { stop_hook_active: false });

const droid = (box: Sandbox, session: string) =>
	addTask(box, {
		kind: "droid",
		droid_session_id: session,
		parent_session_id: parent,
		cwd: box.home,
	});

concurrentTest.each([
	["PostToolUse", toolUse],
	["Stop", stop],
] as const)(
	"each message is told, in order, if a %s hook is killed after any of its steps",
	async (_, event) => {
		const box = prepare();
		const deaths = await killAtEachStep(async (step) => {
			const session = `session-${step}`;
			const id = droid(box, session);
			add(box, id, "msg", "words 1", "words 2");
			markSessionDue(box, session);
			const answer = await hook(box, event(session), dying(box, step, id));
			const inTask = { env: { BG_TASK_ID: id } };
			const next = await hook(box, event(session), inTask);
			const [before, after] = [toldIn(answer), toldIn(next)];
			const both = ["words 1", "words 2"];
			expect([[], both]).toContainEqual(before);
			// The first one may have settled some of them before it was killed.
			expect([both, both.slice(1), []]).toContainEqual(after);
			if (!before.length) expect(after).toEqual(both);
			if (answer.code === 0) expect(after).toEqual([]);
			expect(listMessages(box, id).map(({ state }) => state)).toEqual([
				"told",
				"told",
			]);
			if (event === toolUse) expect(isDue(box, session)).toBe(false);
			return answer;
		});
		expect(deaths).toBeGreaterThan(4);
		expect(faults(box)).toEqual([]);
	},
);

concurrentTest(
	"each note is told, in order, if a hook is killed after any of its steps",
	async () => {
		const box = prepare();
		const deaths = await killAtEachStep(async (step) => {
			const session = `parent-${step}`;
			const id = addTask(box, { parent_session_id: session });
			add(box, id, "note", "words 1", "words 2");
			expectNote(box, session, id);
			const answer = await hook(box, toolUse(session), dying(box, step));
			const next = await hook(box, toolUse(session));
			if (!toldIn(answer).length)
				expect(toldIn(next)).toEqual(["words 1", "words 2"]);
			if (answer.code === 0) expect(toldIn(next)).toEqual([]);
			expect(listMessages(box, id).map(({ state }) => state)).toEqual([
				"told",
				"told",
			]);
			expect(isDue(box, session)).toBe(false);
			return answer;
		});
		expect(deaths).toBeGreaterThan(4);
		expect(faults(box)).toEqual([]);
	},
);

concurrentTest(
	"a message whose sender is killed after any of its steps is whole or not there",
	async () => {
		const box = prepare();
		const deaths = await killAtEachStep(async (step) => {
			const session = `session-${step}`;
			const id = droid(box, session);
			const call = ["send", id, "words 1"];
			const answer = await box.bg(call, dying(box, step));
			if (answer.stdout) expect(isDue(box, session)).toBe(true);
			// The next message brings the mark that may be missing.
			add(box, id, "msg", "words 2");
			markSessionDue(box, session);
			const env = { BG_TASK_ID: id };
			const told = toldIn(await hook(box, toolUse(session), { env }));
			expect([["words 1", "words 2"], ["words 2"]]).toContainEqual(told);
			if (answer.stdout) expect(told).toHaveLength(2);
			return answer;
		});
		expect(deaths).toBeGreaterThan(6);
		expect(faults(box)).toEqual([]);
	},
);

concurrentTest(
	"a note is told if its sender answered, after whichever step that is killed",
	async () => {
		const box = prepare();
		const deaths = await killAtEachStep(async (step) => {
			const session = `parent-${step}`;
			const id = addTask(box, { parent_session_id: session });
			const call = ["send", "parent", "words 1"];
			const answer = await box.bg(call, dying(box, step, id));
			const told = toldIn(await hook(box, toolUse(session)));
			if (answer.stdout) expect(told).toEqual(["words 1"]);
			// What was written is told, also if its sender died before it answered.
			expect(told).toHaveLength(listMessages(box, id).length);
			expect(isDue(box, session)).toBe(false);
			return answer;
		});
		expect(deaths).toBeGreaterThan(6);
		expect(faults(box)).toEqual([]);
	},
);

concurrentTest(
	"what its sender could not announce is withdrawn, so the next try sends it once",
	async () => {
		const box = prepare();
		const id = droid(box, "session-1");
		const full = (path: string, more = {}) => ({
			argv: [
				...failing({ calls: "open,openat", path, error: "ENOSPC" }),
				...["bun", join(root, "bg.ts")],
			],
			...more,
		});
		const inTask = { env: { BG_TASK_ID: id } };
		const due = join(box.dir, ".due");
		const entry = join(box.dir, ".notices", parent, `${id}.note`);
		const calls: [string[], { argv: string[] }][] = [
			[["send", id, "words 1"], full(join(due, "session-1"))],
			[["send", "parent", "words 1"], full(entry, inTask)],
			[["send", "parent", "words 1"], full(join(due, parent), inTask)],
		];
		for (const [call, options] of calls) {
			const { code, error } = await box.bg(call, options);
			expect([call, code, error]).toEqual([
				call,
				111,
				expect.stringContaining("ENOSPC"),
			]);
			expect(listMessages(box, id)).toEqual([]);
		}
		await box.bg(["send", id, "words 1"]);
		await box.bg(["send", "parent", "words 2"], inTask);
		const told = [
			toldIn(await hook(box, toolUse("session-1"), inTask)),
			toldIn(await hook(box, toolUse(parent))),
		];
		expect(told).toEqual([["words 1"], ["words 2"]]);
		expect(isDue(box, parent)).toBe(false);
	},
);

concurrentTest(
	"an --on-end runs, although the messages of its task cannot be ended",
	async () => {
		const box = prepare();
		const [go, made] = [join(box.home, "go"), join(box.home, "made")];
		const wait = `RUN[until [ -e ${go} ]; do sleep 0.2; done]`;
		const call = ["launch", "-q", "d", wait, "--on-end", `touch ${made}`];
		const { stdout } = await box.bg(call, { env: { BG_DROID: standIn } });
		const id = stdout.trim();
		await box.untilTask(id, (task) => task.pid, "its process");
		const messages = messageFolder(box, id);
		writeFileSync(messages, "not a folder");
		writeFileSync(go, "");
		await until(() => existsSync(made), "the command at the end");
		rmSync(messages);
	},
);
