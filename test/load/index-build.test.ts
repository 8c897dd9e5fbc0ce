import { expect, test } from "bun:test";
import { buildIndexSlice } from "../../lib/prune/index-build.ts";
import {
	isIndexComplete,
	readIndexProgress,
} from "../../lib/store/sessions/session-index.ts";
import { isFound, oldStore } from "../tools/old-records.ts";

test("10,000 old records: slice by slice, the unfinished first, the mark last", () => {
	const count = 10_000;
	const unfinished = (n: number) => n % 1000 === 3;
	const store = oldStore(count, unfinished);
	const all = Array.from({ length: count }, (_, n) => n);
	const isWhole = (ns: number[]) => ns.every((n) => isFound(store, n));
	let slices = 0;
	let slowest = 0;
	for (; !isIndexComplete(store); slices++) {
		expect(slices).toBeLessThan(1000);
		const { pass } = readIndexProgress(store);
		if (pass > 0) expect(isWhole(all.filter(unfinished))).toBe(true);
		const before = process.cpuUsage();
		buildIndexSlice(store, 50);
		const { user, system } = process.cpuUsage(before);
		slowest = Math.max(slowest, (user + system) / 1000);
	}
	expect(slices).toBeGreaterThan(1);
	// A slice is 50 ms, a listing and one record; the rest is for a busy machine.
	expect(slowest).toBeLessThan(500);
	expect(isWhole(all)).toBe(true);
	buildIndexSlice(store, 0);
	expect(isWhole(all)).toBe(true);
});
