import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { openStore } from "../../lib/store/directory.ts";
import { markNoticeDue } from "../../lib/store/ends.ts";
import { dueMark, type Store } from "../../lib/store/paths.ts";
import {
	claimNotices,
	collectNotices,
	expectNotice,
	forwardNotices,
	removeClaimedNotices,
} from "../../lib/store/sessions/notices.ts";

import { writeSessionNote } from "../../lib/store/sessions/session-index.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import { tracing } from "../tools/faults.ts";
import { program, root, type Sandbox, sandbox } from "../tools/harness.ts";
import {
	child,
	noticeIn,
	parent,
	payload,
	readNotices,
	send,
	sessionEnd,
	sessionStart,
	toolUse,
} from "../tools/hooks.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

const folder = (store: Store, session: string) =>
	join(store.dir, ".notices", session);

/** Entries of a session without records, in the order of their ids. */
function fill(
	store: Store,
	session: string,
	count: number,
	state: "" | ".due",
): string[] {
	mkdirSync(folder(store, session), { mode: 0o700 });
	const ids = Array.from({ length: count }, () => createTaskId());
	for (const id of ids)
		writeFileSync(join(folder(store, session), `${id}${state}`), "");
	if (state) writeFileSync(dueMark(store, session), "");
	return ids;
}

const idsIn = (text = "") => [
	...new Set<string>(text.match(/bg_[0-9a-f]+/g) ?? []),
];

/** Calls a hook; returns its notice, and the names of the files it asked the system for. */
async function trace(
	box: Sandbox,
	event: Record<string, unknown>,
): Promise<{ notice: string; calls: string[] }> {
	const log = join(box.home, "calls");
	const argv = [...tracing("file", log), ...program];
	const answer = await send(box, event, { argv });
	const notice = noticeIn(answer, String(event.hook_event_name)) ?? "";
	const calls = readFileSync(log, "utf8").split("\n");
	return { notice, calls: calls.filter((line) => line.includes(box.dir)) };
}

test("of 20,000 notices a hook tells those that one notice can name, the next hook the next", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const ids = fill(store, parent, 20_000, ".due");
	for (const [event, left] of [
		[sessionStart(parent), 19_950],
		[toolUse(parent), 19_900],
	] as const) {
		const { notice, calls } = await trace(box, event);
		expect(idsIn(notice).sort()).toEqual(ids.splice(0, 50));
		expect(notice).toContain(`${left} more`);
		expect(notice).toContain(`list --session ${parent}`);
		expect(notice.length).toBeLessThanOrEqual(2000);
		expect(calls.length).toBeLessThan(500);
		expect(existsSync(dueMark(store, parent))).toBe(true);
	}
	expect(readNotices(store, parent).due).toEqual(ids);
});

test("of 2,000 awaited ends a hook reads 200 records, the next hook the next", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const ids = fill(store, parent, 2000, "");
	const seen = new Set<string>();
	for (const event of [sessionStart(parent), payload("Stop", parent)]) {
		const { calls } = await trace(box, event);
		const read = calls.filter((line) => line.includes(".json"));
		const readIds = new Set(read.map((line) => idsIn(line)[0] ?? ""));
		expect(readIds.size).toBe(200);
		for (const id of readIds) seen.add(id);
		// A record that is missing is looked for in the folder, the archive, the folder.
		expect(calls.length).toBeLessThan(900);
	}
	expect([...seen]).toEqual(ids.slice(0, 400));
});

test("hooks come to every awaited end in turn, and begin again", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const ids = fill(store, parent, 450, "");
	const repaired = [ids[0], ids[449]].map((id = "") => {
		const at = new Date().toISOString();
		const task = { id, kind: "command", description: "", queued_at: at };
		return { id, text: JSON.stringify({ ...task, status: "completed" }) };
	});
	const stop = () => send(box, payload("Stop", parent));
	await stop();
	for (const { id, text } of repaired)
		writeFileSync(join(box.dir, `${id}.json`), text, { mode: 0o600 });
	for (let hooks = 0; hooks < 3; hooks++) await stop();
	const told = noticeIn(await send(box, toolUse(parent)));
	for (const { id } of repaired) expect(told).toContain(id);
});

test("of an ended session's 2,500 notices its end moves 1,000, its caller's hooks the others", () => {
	const store = open();
	const ids = fill(store, "child", 2500, ".due");
	const awaited = createTaskId();
	expectNotice(store, "child", awaited);
	writeSessionNote(store, "child", "caller", "parent");
	forwardNotices(store, "child", "parent");
	expect(readNotices(store, "parent").due).toHaveLength(1000);
	markNoticeDue(store, "child", awaited);
	const told: string[] = [];
	while (existsSync(dueMark(store, "parent"))) {
		const notices = collectNotices(store, "parent");
		const claims = claimNotices(store, "parent", {
			notices,
			most: 400,
		});
		told.push(...claims.map(({ id }) => id));
		removeClaimedNotices(store, "parent", claims);
	}
	expect(told.sort()).toEqual([...ids, awaited].sort());
	expect(readdirSync(folder(store, "parent"))).toEqual([]);
	expect(existsSync(folder(store, "child"))).toBe(false);
});

test("what a session was handed over in part goes on to its own caller", () => {
	const store = open();
	const ids = fill(store, "child", 1500, "");
	writeSessionNote(store, "child", "caller", "parent");
	forwardNotices(store, "child", "parent");
	writeSessionNote(store, "parent", "caller", "grand");
	forwardNotices(store, "parent", "grand");
	expect(existsSync(folder(store, "parent"))).toBe(false);
	const isMarked = () => existsSync(dueMark(store, "grand"));
	expect(isMarked()).toBe(false);
	// Of an entry that was not moved yet the heir has the mark, and keeps it.
	markNoticeDue(store, "child", ids.at(-1) ?? "");
	expect(isMarked()).toBe(true);
	removeClaimedNotices(store, "grand", []);
	expect(isMarked()).toBe(true);
	for (const id of ids) markNoticeDue(store, "child", id);
	collectNotices(store, "grand");
	expect(readNotices(store, "grand").due).toEqual(ids);
});

/** Calls a hook that dies by SIGKILL after so many steps on disk. */
const sendCrash = (box: Sandbox, event: unknown, step: number) =>
	send(box, event, {
		argv: ["bun", join(root, "test", "chaos", "crash.mjs")],
		env: {
			CHAOS_PROGRAM: join(root, "bg.ts"),
			CHAOS_CRASH: `verb:${step}`,
			CHAOS_LOG: join(box.home, "crashes"),
		},
	});

/** What the hooks of a session tell until there is nothing left to tell. */
async function tellAll(box: Sandbox, session: string): Promise<string[]> {
	const told: string[] = [];
	for (;;) {
		const notice = noticeIn(await send(box, toolUse(session)));
		if (notice === undefined) return told;
		told.push(...idsIn(notice));
	}
}

test.each([1, 30, 50, 52, 75, 100])(
	"a hook that is killed at step %d of telling 50 of 60 ends loses none",
	async (step) => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		const ids = fill(store, parent, 60, ".due");
		const killed = await sendCrash(box, toolUse(parent), step);
		expect(killed.code).toBeNull();
		const told = await tellAll(box, parent);
		expect(new Set(told).size).toBe(told.length);
		const all = new Set([...idsIn(killed.stdout), ...told]);
		expect([...all].sort()).toEqual(ids);
	},
);

test.each([5, 9, 12, 40, 73])(
	"a session's end that is killed at step %d of handing 60 notices over loses none",
	async (step) => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		writeSessionNote(store, child, "caller", parent);
		const ids = fill(store, child, 60, ".due");
		const killed = await sendCrash(box, sessionEnd(child), step);
		expect(killed.code).toBeNull();
		const heir = existsSync(folder(store, parent)) ? parent : child;
		await send(box, payload("Stop", heir));
		expect((await tellAll(box, heir)).sort()).toEqual(ids);
	},
);
