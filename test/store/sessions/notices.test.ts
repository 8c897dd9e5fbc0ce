import { expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { claimName, identifySelf } from "../../../lib/process/identity.ts";
import { sweepStore } from "../../../lib/prune/garbage.ts";
import { openStore } from "../../../lib/store/directory.ts";
import { markNoticeDue } from "../../../lib/store/ends.ts";
import { dueMark, type Store } from "../../../lib/store/paths.ts";
import { createTask } from "../../../lib/store/records.ts";
import {
	claimNotices,
	discardNotice,
	expectNotice,
	forwardNotices,
	removeClaimedNotices,
} from "../../../lib/store/sessions/notices.ts";
import { writeSessionNote } from "../../../lib/store/sessions/session-index.ts";
import { createTaskId } from "../../../lib/task/ids.ts";

import { root, sandbox } from "../../tools/harness.ts";
import { readNotices } from "../../tools/hooks.ts";

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
	const sweeper = `
		import { sweepNotices } from ${JSON.stringify(join(root, "lib/store/sessions/notices.ts"))};
		const store = { dir: ${JSON.stringify(store.dir)} };
		const sweep = () => { for (const session of ["from", "to"]) sweepNotices(store, session); };
		sweep();
		console.log("began");
		for (;;) sweep();`;
	const child = Bun.spawn(["bun", "-e", sweeper], {
		stdout: "pipe",
		stderr: "inherit",
	});
	try {
		const { value } = await child.stdout.getReader().read();
		expect(new TextDecoder().decode(value)).toBe("began\n");
		for (let n = 0; n < 300; n++) {
			const id = createTaskId();
			expectNotice(store, "from", id);
			forwardNotices(store, "from", "to");
			expect(readNotices(store, "to")).toEqual({ due: [], awaited: [id] });
			discardNotice(store, "to", id);
		}
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
		import { claimNotices, removeClaimedNotices } from "${root}/lib/store/sessions/notices.ts";
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
});
