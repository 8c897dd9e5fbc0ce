import { expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { openStore } from "../lib/directory.ts";
import { dueMark, type Store } from "../lib/names.ts";
import {
	claimNotices,
	dropNotice,
	expectNotice,
	fallDue,
	passOnNotices,
	readNotices,
	settleNotices,
} from "../lib/notices.ts";
import { formatHolder, self } from "../lib/process.ts";
import { noteSession } from "../lib/sessions.ts";
import { createTask } from "../lib/store.ts";
import { sweepStore } from "../lib/sweep.ts";
import { newTaskId } from "../lib/task.ts";
import { root, sandbox } from "./harness.ts";

const open = (): Store => openStore({ dir: sandbox().dir, write: true });

/** A session that is to be told of so many ends. */
function endsOf(store: Store, session: string, count: number): string[] {
	const ids = Array.from({ length: count }, () => newTaskId());
	for (const id of ids) {
		expectNotice(store, session, id);
		fallDue(store, session, id);
	}
	return ids.sort();
}

const folder = (store: Store, session: string) =>
	join(store.dir, ".notices", session);

test("an entry is awaited, then due, then claimed once, then gone", () => {
	const store = open();
	const id = newTaskId();
	expectNotice(store, "s", id);
	expect(readNotices(store, "s")).toEqual({ due: [], awaited: [id] });
	expect(claimNotices(store, "s")).toEqual([]);
	expect(existsSync(dueMark(store, "s"))).toBe(false);
	fallDue(store, "s", id);
	fallDue(store, "s", id);
	expect(readNotices(store, "s")).toEqual({ due: [id], awaited: [] });
	expect(existsSync(dueMark(store, "s"))).toBe(true);
	const claims = claimNotices(store, "s");
	expect(claims.map((claim) => claim.id)).toEqual([id]);
	expect(claimNotices(store, "s")).toEqual([]);
	settleNotices(store, "s", claims);
	expect(readdirSync(folder(store, "s"))).toEqual([]);
	expect(existsSync(dueMark(store, "s"))).toBe(false);
});

test("the folder of a session that has nothing to be told is swept; another stays", () => {
	const store = open();
	for (const session of ["told", "due", "awaited"]) {
		const id = newTaskId();
		createTask(store, {
			id,
			kind: "command",
			description: "",
			status: "queued",
			parent_session_id: session,
		});
		if (session !== "awaited") fallDue(store, session, id);
	}
	settleNotices(store, "told", claimNotices(store, "told"));
	sweepStore(store);
	expect(readdirSync(join(store.dir, ".notices")).toSorted()).toEqual([
		"awaited",
		"due",
	]);
});

test("an entry is made and handed on while somebody sweeps", async () => {
	const store = open();
	const sweeper = `
		import { sweepNotices } from ${JSON.stringify(join(root, "lib/notices.ts"))};
		const store = { dir: ${JSON.stringify(store.dir)} };
		for (;;) for (const session of ["from", "to"]) sweepNotices(store, session);`;
	const child = Bun.spawn(["bun", "-e", sweeper], { stderr: "inherit" });
	try {
		for (let n = 0; n < 300; n++) {
			const id = newTaskId();
			expectNotice(store, "from", id);
			passOnNotices(store, "from", "to");
			expect(readNotices(store, "to")).toEqual({ due: [], awaited: [id] });
			dropNotice(store, "to", id);
		}
	} finally {
		child.kill("SIGKILL");
		await child.exited;
	}
});

test("what fell due while a notice was told brings the mark back", () => {
	const store = open();
	endsOf(store, "s", 1);
	const claims = claimNotices(store, "s");
	const later = endsOf(store, "s", 1);
	settleNotices(store, "s", claims);
	expect(existsSync(dueMark(store, "s"))).toBe(true);
	expect(claimNotices(store, "s").map(({ id }) => id)).toEqual(later);
});

test("nobody is told who is not known, or is called main", () => {
	const store = open();
	for (const session of [undefined, "main", "../../etc", "a/b", ""]) {
		expectNotice(store, session, newTaskId());
		fallDue(store, session, newTaskId());
		expect(claimNotices(store, session ?? "")).toEqual([]);
	}
	expect(readdirSync(join(store.dir, ".notices"))).toEqual([]);
	expect(readdirSync(join(store.dir, ".due"))).toEqual([]);
});

test("the claim of the dead is taken over, that of the living is not", () => {
	const store = open();
	const ids = [newTaskId(), newTaskId(), newTaskId()].sort();
	const [dead = "", alive = "", nobody = ""] = ids;
	for (const id of ids) expectNotice(store, "s", id);
	const entry = (id: string) => join(folder(store, "s"), id);
	for (const [id, holder] of [
		[dead, formatHolder({ ...self(), start: "1" }, "0")],
		[alive, formatHolder(self(), "0")],
		[nobody, "no holder at all"],
	] as const) {
		dropNotice(store, "s", id);
		writeFileSync(`${entry(id)}.due@${holder}`, "");
	}
	const told = claimNotices(store, "s").map(({ id }) => id);
	expect(told.sort()).toEqual([dead, nobody].sort());
});

test("files that are no entries are left alone", () => {
	const store = open();
	const [id = ""] = endsOf(store, "s", 1);
	const strange = [".hidden", "bg_zz.due", "x.due", `${id}.old`];
	for (const name of strange) writeFileSync(join(folder(store, "s"), name), "");
	settleNotices(store, "s", claimNotices(store, "s"));
	expect(readdirSync(folder(store, "s")).sort()).toEqual(strange.sort());
});

test("an ended session's notices go to its caller, also through generations and in a circle", () => {
	const store = open();
	const [due = ""] = endsOf(store, "child", 1);
	const awaited = newTaskId();
	expectNotice(store, "child", awaited);
	noteSession(store, "child", "caller", "parent");
	passOnNotices(store, "child", "parent");
	expect(readNotices(store, "parent")).toEqual({
		due: [due],
		awaited: [awaited],
	});
	noteSession(store, "parent", "caller", "grand");
	noteSession(store, "grand", "caller", "child");
	passOnNotices(store, "parent", "grand");
	expect(existsSync(dueMark(store, "grand"))).toBe(true);
	fallDue(store, "child", awaited);
	expect(readNotices(store, "grand").due).toEqual([due, awaited].sort());
	fallDue(store, "child", newTaskId());
});

test("many processes that claim at once tell each end exactly once", async () => {
	const teller = `
		import { claimNotices, settleNotices } from "${root}/lib/notices.ts";
		const store = { dir: process.argv[1] };
		await Bun.sleep(Math.max(0, Number(process.argv[2]) - Date.now()));
		const claims = claimNotices(store, "s");
		console.log(claims.map(({ id }) => id).join("\\n"));
		settleNotices(store, "s", claims);`;
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
				// What fell due behind the last look still has its mark.
				if (told.length < ids.length)
					expect(existsSync(dueMark(store, "s"))).toBe(true);
				const rest = claimNotices(store, "s").map(({ id }) => id);
				expect([...told, ...rest].sort()).toEqual(ids.sort());
			},
		),
		{ numRuns: 8 },
	);
}, 30_000);
