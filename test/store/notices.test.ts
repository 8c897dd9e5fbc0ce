import { expect, test } from "bun:test";
import {
	existsSync,
	mkdirSync,
	readdirSync,
	readFileSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { sweepStore } from "../../lib/prune/garbage.ts";
import { openStore } from "../../lib/store/directory.ts";
import { markNoticeDue } from "../../lib/store/ends.ts";
import {
	claimNotices,
	collectNotices,
	discardNotice,
	expectNotice,
	forwardNotices,
	removeClaimedNotices,
} from "../../lib/store/notices.ts";
import { dueMark, type Store } from "../../lib/store/paths.ts";
import { createTask } from "../../lib/store/records.ts";
import { writeSessionNote } from "../../lib/store/session-index.ts";
import { createTaskId } from "../../lib/task/ids.ts";
import {
	program,
	root,
	type Sandbox,
	sandbox,
	until,
} from "../tools/harness.ts";
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

/** A session with `count` due notices. */
function endsOf(store: Store, session: string, count: number): string[] {
	const ids = Array.from({ length: count }, () => createTaskId());
	for (const id of ids) {
		expectNotice(store, session, id);
		markNoticeDue(store, session, id);
	}
	return ids.sort();
}

const folder = (store: Store, session: string) =>
	join(store.dir, ".notices", session);

test("an entry is awaited, then due, then claimed once, then removed", () => {
	const store = open();
	const id = createTaskId();
	expectNotice(store, "s", id);
	expect(readNotices(store, "s")).toEqual({ due: [], awaited: [id] });
	expect(claimNotices(store, "s")).toEqual([]);
	expect(existsSync(dueMark(store, "s"))).toBe(false);
	markNoticeDue(store, "s", id);
	markNoticeDue(store, "s", id);
	expect(readNotices(store, "s")).toEqual({ due: [id], awaited: [] });
	expect(existsSync(dueMark(store, "s"))).toBe(true);
	const claims = claimNotices(store, "s");
	expect(claims.map((claim) => claim.id)).toEqual([id]);
	expect(claimNotices(store, "s")).toEqual([]);
	removeClaimedNotices(store, "s", claims);
	expect(readdirSync(folder(store, "s"))).toEqual([]);
	expect(existsSync(dueMark(store, "s"))).toBe(false);
});

test("the folder of a session without notices is swept; others stay", () => {
	const store = open();
	for (const session of ["told", "due", "awaited"]) {
		const id = createTaskId();
		createTask(store, {
			id,
			kind: "command",
			description: "",
			status: "queued",
			parent_session_id: session,
		});
		if (session !== "awaited") markNoticeDue(store, session, id);
	}
	removeClaimedNotices(store, "told", claimNotices(store, "told"));
	sweepStore(store);
	expect(readdirSync(join(store.dir, ".notices")).toSorted()).toEqual([
		"awaited",
		"due",
	]);
});

test("an entry is created and handed over while another process sweeps", async () => {
	const store = open();
	const began = join(store.dir, "began");
	const sweeper = `
		import { writeFileSync } from "node:fs";
		import { sweepNotices } from ${JSON.stringify(join(root, "lib/store/notices.ts"))};
		const store = { dir: ${JSON.stringify(store.dir)} };
		const sweep = () => ["from", "to"].forEach((each) => sweepNotices(store, each));
		sweep();
		writeFileSync(${JSON.stringify(began)}, "");
		for (;;) sweep();`;
	const child = Bun.spawn(["bun", "-e", sweeper], { stderr: "inherit" });
	try {
		await until(() => existsSync(began), "the first sweep");
		for (let n = 0; n < 300; n++) {
			const id = createTaskId();
			expectNotice(store, "from", id);
			forwardNotices(store, "from", "to");
			expect(readNotices(store, "to")).toEqual({ due: [], awaited: [id] });
			discardNotice(store, "to", id);
		}
		await Bun.sleep(0);
		expect([child.exitCode, child.signalCode]).toEqual([null, null]);
	} finally {
		child.kill("SIGKILL");
		await child.exited;
	}
});

test("a notice that becomes due while another is printed restores the mark", () => {
	const store = open();
	endsOf(store, "s", 1);
	const claims = claimNotices(store, "s");
	const later = endsOf(store, "s", 1);
	removeClaimedNotices(store, "s", claims);
	expect(existsSync(dueMark(store, "s"))).toBe(true);
	expect(claimNotices(store, "s").map(({ id }) => id)).toEqual(later);
});

test("an unknown session and main get no notices", () => {
	const store = open();
	for (const session of [undefined, "main", "../../etc", "a/b", ""]) {
		expectNotice(store, session, createTaskId());
		markNoticeDue(store, session, createTaskId());
		expect(claimNotices(store, session ?? "")).toEqual([]);
	}
	expect(readdirSync(join(store.dir, ".notices"))).toEqual([]);
	expect(readdirSync(join(store.dir, ".due"))).toEqual([]);
});

test("the claim of a dead process is taken over, that of a live one is not", () => {
	const store = open();
	const ids = [createTaskId(), createTaskId(), createTaskId()].sort();
	const [dead = "", alive = "", nobody = ""] = ids;
	for (const id of ids) expectNotice(store, "s", id);
	const entry = (id: string) => join(folder(store, "s"), id);
	for (const [id, holder] of [
		[dead, claimName({ ...identifySelf(), start: "1" }, "0")],
		[alive, claimName(identifySelf(), "0")],
		[nobody, "no holder at all"],
	] as const) {
		discardNotice(store, "s", id);
		writeFileSync(`${entry(id)}.due@${holder}`, "");
	}
	const told = claimNotices(store, "s").map(({ id }) => id);
	expect(told.sort()).toEqual([dead, nobody].sort());
});

test("other files among the entries are left alone", () => {
	const store = open();
	const [id = ""] = endsOf(store, "s", 1);
	const strange = [".hidden", "bg_zz.due", "x.due", `${id}.old`];
	for (const name of strange) writeFileSync(join(folder(store, "s"), name), "");
	removeClaimedNotices(store, "s", claimNotices(store, "s"));
	expect(readdirSync(folder(store, "s")).sort()).toEqual(strange.sort());
});

test("an ended session's notices go to its caller, also over generations and in a circle", () => {
	const store = open();
	const [due = ""] = endsOf(store, "child", 1);
	const awaited = createTaskId();
	expectNotice(store, "child", awaited);
	writeSessionNote(store, "child", "caller", "parent");
	forwardNotices(store, "child", "parent");
	expect(readNotices(store, "parent")).toEqual({
		due: [due],
		awaited: [awaited],
	});
	writeSessionNote(store, "parent", "caller", "grand");
	writeSessionNote(store, "grand", "caller", "child");
	forwardNotices(store, "parent", "grand");
	expect(existsSync(dueMark(store, "grand"))).toBe(true);
	markNoticeDue(store, "child", awaited);
	expect(readNotices(store, "grand").due).toEqual([due, awaited].sort());
	markNoticeDue(store, "child", createTaskId());
});

test("of many processes that claim at once, exactly one gets each notice", async () => {
	const teller = `
		import { claimNotices, removeClaimedNotices } from "${root}/lib/store/notices.ts";
		const store = { dir: process.argv[1] };
		await Bun.sleep(Math.max(0, Number(process.argv[2]) - Date.now()));
		const claims = claimNotices(store, "s");
		console.log(claims.map(({ id }) => id).join("\\n"));
		removeClaimedNotices(store, "s", claims);`;
	await fc.assert(
		fc.asyncProperty(
			fc.integer({ min: 2, max: 10 }),
			fc.integer({ min: 1, max: 40 }),
			fc.boolean(),
			async (tellers, count, late) => {
				const store = open();
				const ids = endsOf(store, "s", count);
				const at = String(Date.now() + 120);
				const children = Array.from({ length: tellers }, () =>
					Bun.spawn(["bun", "-e", teller, store.dir, at], {
						stderr: "inherit",
					}),
				);
				if (late) {
					await Bun.sleep(Number(at) - Date.now());
					ids.push(...endsOf(store, "s", 20));
				}
				const texts = await Promise.all(
					children.map(({ stdout }) => new Response(stdout).text()),
				);
				const told = texts.join("\n").match(/bg_\w+/g) ?? [];
				// What became due after the last claim still has its mark.
				if (told.length < ids.length)
					expect(existsSync(dueMark(store, "s"))).toBe(true);
				const rest = claimNotices(store, "s").map(({ id }) => id);
				expect([...told, ...rest].sort()).toEqual(ids.sort());
			},
		),
		{ numRuns: 8 },
	);
}, 30_000);

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
	if (!Bun.which("strace")) throw new Error("this test needs strace");
	const log = join(box.home, "calls");
	const strace = ["strace", "-f", "-qq", "-e", "trace=file", "-o", log];
	const answer = await send(box, event, { argv: [...strace, ...program] });
	const notice = noticeIn(answer, String(event.hook_event_name)) ?? "";
	const calls = readFileSync(log, "utf8").split("\n");
	return { notice, calls: calls.filter((line) => line.includes(box.dir)) };
}

test("of 20,000 notices a hook prints as many as fit, the next hook continues", async () => {
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

test("of 2,000 awaited ends a hook reads 200 records, the next hook continues", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const ids = fill(store, parent, 2000, "");
	const seen = new Set<string>();
	for (const event of [sessionStart(parent), payload("Stop", parent)]) {
		const { calls } = await trace(box, event);
		const read = calls.filter((line) => line.includes(".json"));
		expect(read).toHaveLength(200);
		for (const line of read) seen.add(idsIn(line)[0] ?? "");
		expect(calls.length).toBeLessThan(500);
	}
	expect([...seen]).toEqual(ids.slice(0, 400));
});

test("hooks read the record of every awaited end in turn, and start again", async () => {
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

test("of 2,500 notices, the end of a session moves 1,000, and its caller's hooks move the others", () => {
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
		const claims = claimNotices(store, "parent", { notices, most: 400 });
		told.push(...claims.map(({ id }) => id));
		removeClaimedNotices(store, "parent", claims);
	}
	expect(told.sort()).toEqual([...ids, awaited].sort());
	expect(readdirSync(folder(store, "parent"))).toEqual([]);
	expect(existsSync(folder(store, "child"))).toBe(false);
});

test("a handover that is incomplete continues to the next caller", () => {
	const store = open();
	const ids = fill(store, "child", 1500, "");
	writeSessionNote(store, "child", "caller", "parent");
	forwardNotices(store, "child", "parent");
	writeSessionNote(store, "parent", "caller", "grand");
	forwardNotices(store, "parent", "grand");
	expect(existsSync(folder(store, "parent"))).toBe(false);
	const isMarked = () => existsSync(dueMark(store, "grand"));
	expect(isMarked()).toBe(false);
	// The last caller has the mark for an entry that was not moved yet, and keeps it.
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
		argv: ["bun", join(root, "test", "chaos-crash.mjs")],
		env: {
			CHAOS_PROGRAM: join(root, "bg.ts"),
			CHAOS_CRASH: `verb:${step}`,
			CHAOS_LOG: join(box.home, "crashes"),
		},
	});

/** The ids in the notices of a session's hooks, until there are none left. */
async function tellAll(box: Sandbox, session: string): Promise<string[]> {
	const told: string[] = [];
	for (;;) {
		const notice = noticeIn(await send(box, toolUse(session)));
		if (notice === undefined) return told;
		told.push(...idsIn(notice));
	}
}

test.each([1, 30, 50, 52, 75, 100])(
	"a hook that is killed at step %d of printing 50 of 60 notices loses none",
	async (step) => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		const ids = fill(store, parent, 60, ".due");
		const killed = await sendCrash(box, toolUse(parent), step);
		expect(killed.code).not.toBe(0);
		const told = await tellAll(box, parent);
		expect(new Set(told).size).toBe(told.length);
		const all = new Set([...idsIn(killed.stdout), ...told]);
		expect([...all].sort()).toEqual(ids);
	},
);

test.each([5, 9, 12, 40, 73])(
	"a hook that is killed at step %d of handing over 60 notices loses none",
	async (step) => {
		const box = sandbox();
		const store = openStore({ dir: box.dir, write: true });
		writeSessionNote(store, child, "caller", parent);
		const ids = fill(store, child, 60, ".due");
		const killed = await sendCrash(box, sessionEnd(child), step);
		expect(killed.code).not.toBe(0);
		const heir = existsSync(folder(store, parent)) ? parent : child;
		await send(box, payload("Stop", heir));
		expect((await tellAll(box, heir)).sort()).toEqual(ids);
	},
);
