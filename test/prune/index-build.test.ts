import { expect, test } from "bun:test";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildIndexSlice } from "../../lib/prune/index-build.ts";
import { openStore } from "../../lib/store/directory.ts";
import type { Store } from "../../lib/store/paths.ts";
import {
	isIndexComplete,
	listSessionTasks,
	readIndexProgress,
} from "../../lib/store/session-index.ts";
import { sandbox } from "../tools/harness.ts";

const idOf = (n: number) => `bg_${n.toString(16).padStart(12, "0")}`;
const sessionOf = (n: number) => `ses_${n.toString(16).padStart(12, "0")}`;

/** A folder as the old script left it; `isUnfinished` says which tasks still run. */
function oldFolder(count: number, isUnfinished: (n: number) => boolean): Store {
	const { dir } = sandbox();
	mkdirSync(dir, { mode: 0o755 });
	for (let n = 0; n < count; n++)
		writeFileSync(
			join(dir, `${idOf(n)}.json`),
			JSON.stringify({
				id: idOf(n),
				session_id: sessionOf(n),
				description: `task ${n}`,
				status: isUnfinished(n) ? "running" : "completed",
				result: null,
			}),
		);
	return openStore({ dir, write: true });
}

const isFound = (store: Store, n: number) =>
	listSessionTasks(store, sessionOf(n)).includes(idOf(n));

test("the index of an empty folder is complete at once", () => {
	expect(isIndexComplete(oldFolder(0, () => false))).toBe(true);
});

test("10,000 old records are indexed in slices: unfinished tasks first, the mark last", () => {
	const count = 10_000;
	const unfinished = (n: number) => n % 1000 === 3;
	const store = oldFolder(count, unfinished);
	const all = Array.from({ length: count }, (_, n) => n);
	const isWhole = (ns: number[]) => ns.every((n) => isFound(store, n));
	let slices = 0;
	let slowest = 0;
	for (; !isIndexComplete(store); slices++) {
		expect(slices).toBeLessThan(1000);
		const { pass } = readIndexProgress(store);
		if (pass > 0) expect(isWhole(all.filter(unfinished))).toBe(true);
		const start = performance.now();
		buildIndexSlice(store, 50);
		slowest = Math.max(slowest, performance.now() - start);
	}
	expect(slices).toBeGreaterThan(1);
	// A slice takes 50 ms, a listing and one record; the margin is for a busy machine.
	expect(slowest).toBeLessThan(500);
	expect(isWhole(all)).toBe(true);
	buildIndexSlice(store, 0);
	expect(isWhole(all)).toBe(true);
}, 60_000);

test("the mark is never written before the last entry, wherever a slice ends", () => {
	const store = oldFolder(300, (n) => n % 7 === 0);
	const all = Array.from({ length: 300 }, (_, n) => n);
	for (let slices = 0; !isIndexComplete(store); slices++) {
		expect(slices).toBeLessThan(10_000);
		buildIndexSlice(store, 1 + (slices % 3));
	}
	expect(all.filter((n) => !isFound(store, n))).toEqual([]);
});

test("broken records, deleted records and lost progress do not prevent completion", () => {
	const store = oldFolder(500, (n) => n < 10);
	writeFileSync(join(store.dir, `${idOf(77)}.json`), "{half");
	writeFileSync(join(store.dir, `${idOf(78)}.json`), '{"id":"bg_deadbeef"}');
	buildIndexSlice(store, 3);
	rmSync(join(store.dir, ".sessions", ".whole.at"), { force: true });
	buildIndexSlice(store, 3);
	for (let n = 0; n < 20; n++) rmSync(join(store.dir, `${idOf(400 + n)}.json`));
	writeFileSync(join(store.dir, ".sessions", ".whole.at"), "\0\0\0\0");
	for (let slices = 0; !isIndexComplete(store); slices++) {
		expect(slices).toBeLessThan(1000);
		buildIndexSlice(store, 20);
	}
	for (let n = 0; n < 400; n++)
		if (n !== 77 && n !== 78) expect(isFound(store, n)).toBe(true);
});
