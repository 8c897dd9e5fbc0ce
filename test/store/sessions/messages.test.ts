import { expect, test } from "bun:test";
import {
	existsSync,
	readdirSync,
	readFileSync,
	renameSync,
	statSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../../lib/process/identity.ts";
import { archiveTasks } from "../../../lib/prune/archive.ts";
import { cleanUpTasks } from "../../../lib/prune/cleanup.ts";
import { sweepStore } from "../../../lib/prune/garbage.ts";
import { openStore } from "../../../lib/store/directory.ts";
import {
	dueMark,
	messageFolder,
	type Store,
} from "../../../lib/store/paths.ts";
import { findTask, readTask, updateTask } from "../../../lib/store/records.ts";
import {
	addMessage,
	claimMessage,
	countStop,
	countStops,
	countUndelivered,
	describeMessage,
	endMessages,
	listMessages,
	type MessageKind,
	markIfMessaged,
	maxWaiting,
	readMessage,
	releaseMessage,
	settleMessage,
	writeMessageText,
} from "../../../lib/store/sessions/messages.ts";
import {
	collectNotices,
	discardNotice,
	expectNote,
	forwardNotices,
	isAnyDue,
	listNotices,
	listUnseen,
	removeNoteEntry,
} from "../../../lib/store/sessions/notices.ts";
import {
	indexSession,
	writeSessionNote,
} from "../../../lib/store/sessions/session-index.ts";
import type { Task } from "../../../lib/task/schema.ts";
import { finishTask } from "../../../lib/task/states.ts";
import { sandbox } from "../../tools/harness.ts";
import { addTask } from "../../tools/hooks.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

const droid = (store: Store, fields: Partial<Task> = {}): Task =>
	readTask(
		store,
		addTask(store, { kind: "droid", droid_session_id: "own", ...fields }),
	);

const end = (store: Store, id: string): Task =>
	updateTask(store, id, (task) =>
		finishTask(task, { reason: "manual", at: new Date().toISOString() }),
	);

const add = (
	store: Store,
	id: string,
	text: string,
	kind: MessageKind = "msg",
) => addMessage(store, id, kind, { from: { by: "person" }, text });

const gone = () => claimName({ ...identifySelf(), start: "1" }, "0");

const textsOf = (store: Store, id: string) =>
	listMessages(store, id).map((each) => readMessage(store, id, each)?.text);

test("messages keep the order in which they were sent, also if the clock is set back", () => {
	const store = open();
	const { id } = droid(store);
	const first = add(store, id, "first");
	const later = `msg_${(Date.now() + 3_600_000).toString(16).padStart(11, "0")}ffffff`;
	renameSync(
		join(messageFolder(store, id), first),
		join(messageFolder(store, id), later),
	);
	for (const text of ["second", "third", "fourth"]) add(store, id, text);
	expect(textsOf(store, id)).toEqual(["first", "second", "third", "fourth"]);
});

test("a message is whole, whatever it holds, and only its owner can read it", () => {
	const store = open();
	const { id } = droid(store);
	const text = `\ud800 \u0000 \u001b[2J\r\n"\\ ${"語".repeat(20_000)} \udfff`;
	const name = add(store, id, text);
	expect(textsOf(store, id)).toEqual([text]);
	const { mode } = statSync(join(messageFolder(store, id), name));
	expect(mode & 0o777).toBe(0o600);
});

test("a message is waiting, then claimed by one hook, then told", () => {
	const store = open();
	const task = droid(store);
	add(store, task.id, "hello");
	const [waiting] = listMessages(store, task.id);
	if (!waiting) throw new Error("no message");
	expect(describeMessage(waiting, task)).toBe("queued");
	const claim = claimMessage(store, task.id, waiting);
	// Another hook listed it before the first one claimed it, or lists it now.
	expect(claimMessage(store, task.id, waiting)).toBeUndefined();
	const [claimed] = listMessages(store, task.id);
	if (!claim || !claimed) throw new Error("no claim");
	expect(claimed.state).toBe("claimed");
	expect(claimMessage(store, task.id, claimed)).toBeUndefined();
	releaseMessage(store, task.id, claim);
	const again = claimMessage(store, task.id, waiting);
	if (!again) throw new Error("not given back");
	settleMessage(store, task.id, again);
	const [told] = listMessages(store, task.id);
	expect(told?.state).toBe("told");
	expect(told && describeMessage(told, end(store, task.id))).toBe("delivered");
});

test("the claim of a dead hook is taken over; that of a living one is not undelivered yet", () => {
	const store = open();
	const { id } = droid(store);
	const name = add(store, id, "hello");
	const folder = messageFolder(store, id);
	renameSync(join(folder, name), join(folder, `${name}@${gone()}`));
	const [dead] = listMessages(store, id);
	const claim = dead && claimMessage(store, id, dead);
	expect(claim).toBeDefined();
	const task = end(store, id);
	expect(claim && describeMessage(claim, task)).toBe("queued");
	expect(dead && describeMessage(dead, task)).toBe("undelivered");
});

test("what waits at the end is undelivered, a note is not", () => {
	const store = open();
	const { id } = droid(store);
	add(store, id, "to it");
	add(store, id, "from it", "note");
	expect(countUndelivered(store, readTask(store, id))).toBe(0);
	const task = end(store, id);
	expect(countUndelivered(store, task)).toBe(1);
	expect(
		listMessages(store, id).map((each) => describeMessage(each, task)),
	).toEqual(["undelivered", "queued"]);
});

test("a hundred messages wait, one more is refused, and as many told ones are kept", () => {
	const store = open();
	const { id } = droid(store);
	for (let n = 0; n < maxWaiting; n++) add(store, id, `${n}`);
	expect(() => add(store, id, "more")).toThrow(/100 messages wait for bg_/);
	add(store, id, "a note", "note");
	const settle = () => {
		for (const each of listMessages(store, id)) {
			const claim = each.kind === "msg" && claimMessage(store, id, each);
			if (claim) settleMessage(store, id, claim);
		}
	};
	settle();
	add(store, id, "100");
	settle();
	add(store, id, "101");
	const texts = textsOf(store, id).filter((text) => text !== "a note");
	expect(texts).toHaveLength(maxWaiting + 1);
	expect([texts[0], texts.at(-1)]).toEqual(["1", "101"]);
});

test("a session that becomes known is marked if messages wait, and the one before no more", () => {
	const store = open();
	const task = droid(store);
	// As a Stop hook leaves it that has delivered all messages.
	writeFileSync(dueMark(store, "own"), "");
	markIfMessaged(store, task, "new");
	expect(readdirSync(join(store.dir, ".due"))).toEqual([]);
	add(store, task.id, "hello");
	writeFileSync(dueMark(store, "own"), "");
	markIfMessaged(store, task, "new");
	expect(readdirSync(join(store.dir, ".due"))).toEqual(["new"]);
});

test("the end removes the texts for droid and the mark, but not what was sent", () => {
	const store = open();
	const task = droid(store);
	const name = add(store, task.id, "hello");
	const path = writeMessageText(store, task.id, name, "hello");
	expect(readFileSync(path, "utf8")).toBe("hello");
	expect(statSync(path).mode & 0o777).toBe(0o600);
	countStop(store, task.id);
	countStop(store, task.id);
	expect(countStops(store, task.id)).toBe(2);
	const ended = { ...task, droid_session_id: "new" };
	for (const session of ["own", "new"])
		writeFileSync(dueMark(store, session), "");
	endMessages(store, ended, task);
	expect(readdirSync(messageFolder(store, task.id))).toEqual([name]);
	expect(readdirSync(join(store.dir, ".due"))).toEqual([]);
});

test("the mark of a session stays while a message waits for another task of it", () => {
	const store = open();
	const [ended, resumed] = [droid(store), droid(store)];
	for (const { id } of [ended, resumed]) {
		indexSession(store, "own", id);
		add(store, id, "hello");
	}
	end(store, ended.id);
	writeFileSync(dueMark(store, "own"), "");
	sweepStore(store);
	expect(existsSync(dueMark(store, "own"))).toBe(true);
	end(store, resumed.id);
	sweepStore(store);
	expect(existsSync(dueMark(store, "own"))).toBe(false);
});

test("the mark of an ended task's session stays while a notice is due", () => {
	const store = open();
	const task = droid(store);
	const inner = addTask(store, { parent_session_id: "own" });
	end(store, inner);
	add(store, task.id, "hello");
	endMessages(store, task);
	expect(existsSync(dueMark(store, "own"))).toBe(true);
});

test("the mark of a task that ends goes before its record says so", () => {
	const store = open();
	const task = droid(store);
	indexSession(store, "own", task.id);
	add(store, task.id, "hello");
	writeFileSync(dueMark(store, "own"), "");
	// As reconciling does with a lost task, under the lock of its record.
	endMessages(store, task);
	expect(existsSync(dueMark(store, "own"))).toBe(false);
});

test("the entry of a note is due, is no notice, and moves with the session", () => {
	const store = open();
	const { id } = droid(store, { parent_session_id: "parent" });
	expectNote(store, "parent", id);
	expect(existsSync(dueMark(store, "parent"))).toBe(true);
	expect(listNotices(store, "parent").map(({ state }) => state)).toEqual([
		"awaited",
	]);
	expect(listUnseen(store, "parent")).toEqual([id]);
	const states = (session: string) =>
		collectNotices(store, session)
			.map(({ state }) => state)
			.sort();
	expect(states("parent")).toEqual(["awaited", "note"]);

	// The parent's session has ended: its caller gets it.
	forwardNotices(store, "parent", "caller");
	expect([states("parent"), states("caller")]).toEqual([
		[],
		["awaited", "note"],
	]);
	expect(existsSync(dueMark(store, "caller"))).toBe(true);

	// The session goes on under a new id, and a note is written for the old one.
	writeSessionNote(store, "caller", "next", "next");
	const other = droid(store, { parent_session_id: "next" });
	expectNote(store, "caller", other.id);
	expect(existsSync(dueMark(store, "next"))).toBe(true);
	expect(states("next")).toContain("note");

	// The end was collected; the note was not told.
	discardNotice(store, "next", other.id);
	expect(isAnyDue(store, "next")).toBe(true);
	expect(states("next")).toContain("note");
});

test("an entry of a note is created again if another note was written meanwhile", () => {
	const store = open();
	const { id } = droid(store, { parent_session_id: "parent" });
	expectNote(store, "parent", id);
	removeNoteEntry(store, "parent", id, () => true);
	expect(isAnyDue(store, "parent")).toBe(true);
	removeNoteEntry(store, "parent", id, () => false);
	expect(isAnyDue(store, "parent")).toBe(false);
});

test("a task with an untold note stays in the folder; else its messages move with it", () => {
	const store = open();
	const [noted, told] = [0, 1].map(() => {
		const task = droid(store, { exit_code: 0 });
		add(store, task.id, "hello");
		end(store, task.id);
		return task.id;
	}) as [string, string];
	expectNote(store, "parent", noted);
	archiveTasks(store, { keep: 0 });
	expect(existsSync(messageFolder(store, told))).toBe(false);
	expect(existsSync(messageFolder(store, noted))).toBe(true);
	expect(textsOf(store, told)).toEqual(["hello"]);
	expect(countUndelivered(store, readTask(store, told))).toBe(1);
	// What is sent after that hides none of them.
	add(store, told, "again");
	expect(textsOf(store, told)).toEqual(["hello", "again"]);

	// Deletion takes them along, wherever they are.
	cleanUpTasks(store, { olderThan: -1, dryRun: false });
	expect([findTask(store, told), findTask(store, noted)]).toEqual([
		undefined,
		undefined,
	]);
	expect(textsOf(store, told)).toEqual([]);
	for (const id of [told, noted])
		expect(existsSync(messageFolder(store, id))).toBe(false);
});

test("a sweep removes the texts of ended tasks and the messages of tasks without a record", () => {
	const store = open();
	const [running, ended] = [droid(store), droid(store)];
	for (const { id } of [running, ended]) {
		const name = add(store, id, "hello");
		writeMessageText(store, id, name, "hello");
	}
	end(store, ended.id);
	const stray = messageFolder(store, "bg_0123456789abcdef0");
	add(store, "bg_0123456789abcdef0", "nobody");
	sweepStore(store);
	expect(readdirSync(messageFolder(store, running.id))).toHaveLength(2);
	expect(readdirSync(messageFolder(store, ended.id))).toHaveLength(1);
	expect(existsSync(stray)).toBe(false);
});
