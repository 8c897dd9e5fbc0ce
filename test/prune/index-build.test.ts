import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { buildIndexSlice } from "../../lib/prune/index-build.ts";
import { isIndexComplete } from "../../lib/store/sessions/session-index.ts";
import { idOf, isFound, oldStore } from "../tools/old-records.ts";

test("the index of an empty folder is complete at once", () => {
	expect(isIndexComplete(oldStore(0, () => false))).toBe(true);
});

test("the mark is never written before the last entry, wherever a slice ends", () => {
	const store = oldStore(300, (n) => n % 7 === 0);
	const all = Array.from({ length: 300 }, (_, n) => n);
	for (let slices = 0; !isIndexComplete(store); slices++) {
		expect(slices).toBeLessThan(10_000);
		buildIndexSlice(store, 1 + (slices % 3));
	}
	expect(all.filter((n) => !isFound(store, n))).toEqual([]);
});

test("broken records, deleted records and lost progress do not prevent completion", () => {
	const store = oldStore(500, (n) => n < 10);
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
