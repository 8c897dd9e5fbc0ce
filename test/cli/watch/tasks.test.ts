import { describe, expect, test } from "bun:test";
import { appendFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import type { Output } from "../../../lib/cli/watch/output.ts";
import { OutputReader } from "../../../lib/cli/watch/read/output.ts";
import { TaskReader } from "../../../lib/cli/watch/read/tasks.ts";
import { identifySelf } from "../../../lib/process/identity.ts";
import { setQueuePaused } from "../../../lib/spawn/queue.ts";
import { openStore } from "../../../lib/store/directory.ts";
import {
	folderPath,
	outputFile,
	type Store,
} from "../../../lib/store/paths.ts";
import { updateTask } from "../../../lib/store/records.ts";
import { sandbox } from "../../tools/harness.ts";
import { addTask } from "../../tools/hooks.ts";

const self = identifySelf();
const dead = { ...self, start: "999999999999" };
const ended = {
	status: "completed",
	exit_code: 0,
	completed_at: "2026-01-01T00:00:00Z",
} as const;

const newStore = () => openStore({ dir: sandbox().dir, write: true });

/** Makes the last changes of all folders long ago, so that they count as settled. */
function settle(store: Store): void {
	const long = new Date(Date.now() - 60_000);
	for (const path of [
		store.dir,
		folderPath(store, "queue"),
		folderPath(store, "slots"),
	])
		try {
			utimesSync(path, long, long);
		} catch {}
}

describe("tasks that are polled", () => {
	test("a poll without a change says so, and one after a change has it", () => {
		const store = newStore();
		const running = addTask(store, {
			kind: "command",
			supervisor: self,
			process: self,
		});
		const over = addTask(store, ended);
		const reader = new TaskReader(store);
		expect(reader.poll()?.rows.map(({ id }) => id)).toEqual([running, over]);
		settle(store);
		reader.poll();
		expect(reader.poll()).toBeUndefined();
		writeFileSync(outputFile(store, running), "half of it\nsecond");
		expect(reader.poll()?.rows[0]?.doing).toBe("second");
		expect(reader.poll()).toBeUndefined();
		const added = addTask(store, {
			...ended,
			status: "error",
			error: "exited 3",
		});
		const rows = reader.poll()?.rows ?? [];
		expect(rows.find(({ id }) => id === added)?.doing).toBe("exited 3");
		updateTask(store, running, (task) => ({
			...task,
			paused_at: "2026-01-01T00:00:00Z",
		}));
		expect(reader.poll()?.rows[0]?.isPaused).toBe(true);
		rmSync(`${store.dir}/${added}.json`);
		expect(reader.poll()?.rows).toHaveLength(2);
	});

	test("a lost task is recorded as lost; one that ended long ago is read again after some seconds", () => {
		const store = newStore();
		const id = addTask(store, { supervisor: dead, process: dead });
		const reader = new TaskReader(store);
		expect(reader.poll(1000)?.rows).toMatchObject([{ id, status: "error" }]);
		updateTask(store, id, (task) => ({
			...task,
			archived_at: "2026-01-01T00:00:00Z",
		}));
		reader.poll(2000);
		expect(reader.poll(9000)?.rows).toEqual([]);
		updateTask(store, id, ({ archived_at, ...rest }) => rest);
		// The clock was set back.
		expect(reader.poll(-3_600_000)?.rows).toHaveLength(1);
	});

	test("only tasks that are wanted are shown and counted", () => {
		const store = newStore();
		addTask(store, { ...ended, tags: ["a"] });
		const id = addTask(store, {
			...ended,
			tags: ["b"],
			usage: { input_tokens: 1200, output_tokens: 34, factory_credits: 0.5 },
		});
		const reader = new TaskReader(store, ({ tags = [] }) => tags.includes("b"));
		const data = reader.poll();
		expect(data?.rows).toMatchObject([{ id, tokens: "1.2k" }]);
		expect(data?.head).toMatchObject({
			counts: { completed: 1 },
			usage: "1.2k tokens, 0.5 credits",
			running: "0 of 8 running",
		});
	});

	test("a paused queue is noticed, and why a task waits", () => {
		const store = newStore();
		const first = addTask(store, {
			status: "queued",
			kind: "command",
			supervisor: self,
		});
		const second = addTask(store, {
			status: "queued",
			kind: "command",
			supervisor: self,
			after: [first],
		});
		const reader = new TaskReader(store);
		const rows = reader.poll()?.rows ?? [];
		expect(rows).toMatchObject([
			{ id: first },
			{ id: second, doing: `after ${rows[0]?.short} (queued)` },
		]);
		settle(store);
		reader.poll();
		expect(reader.poll()).toBeUndefined();
		setQueuePaused(store, true);
		expect(reader.poll()).toMatchObject({
			head: { isQueuePaused: true },
			rows: [{ doing: "the queue is paused" }, {}],
		});
	});
});

describe("an output that is followed", () => {
	const linesOf = (output: Output | undefined) => output?.lines;

	test("what is added is read; an unfinished line is shown, and the end is said", () => {
		const store = newStore();
		const id = addTask(store, {
			kind: "command",
			supervisor: self,
			process: self,
		});
		const path = outputFile(store, id);
		const reader = new OutputReader(store);
		expect(linesOf(reader.read(id, false))?.at(-1)).toBe(
			"(it has written nothing yet)",
		);
		writeFileSync(path, "one\ntw");
		const first = reader.read(id, false);
		expect(linesOf(first)).toEqual(["one", "tw"]);
		expect(reader.read(id, false)).toBe(first);
		appendFileSync(path, "o\n10%\r20%");
		expect(linesOf(reader.read(id, false))).toEqual(["one", "two", "20%"]);
		updateTask(store, id, (task) => ({
			...task,
			status: "error",
			error: "exited 3",
			completed_at: "2026-01-01T00:00:00Z",
		}));
		expect(linesOf(reader.read(id, false))).toEqual([
			"one",
			"two",
			"20%",
			"",
			"[✖ error: exited 3]",
		]);
		expect(reader.read(undefined, false)).toBeUndefined();
	});

	test("of a long output the end is read; another attempt begins anew", () => {
		const store = newStore();
		const id = addTask(store, {
			kind: "command",
			supervisor: self,
			process: self,
		});
		const path = outputFile(store, id);
		const lines = Array.from({ length: 100_000 }, (_, n) => `line ${n}`);
		writeFileSync(path, `${lines.join("\n")}\n`);
		const reader = new OutputReader(store);
		const output = reader.read(id, false);
		expect(output?.isCut).toBe(true);
		expect(linesOf(output)?.at(-1)).toBe("line 99999");
		expect(linesOf(output)?.[0]).toMatch(/^line \d{5}$/);
		updateTask(store, id, (task) => ({ ...task, attempt: 2 }));
		writeFileSync(path, "again\n");
		expect(linesOf(reader.read(id, false))).toEqual(["again"]);
	});

	test("while a page stands still no line is dropped, and reading stops at some number of lines", () => {
		const store = newStore();
		const id = addTask(store, {
			kind: "command",
			supervisor: self,
			process: self,
		});
		const path = outputFile(store, id);
		const add = (count: number) => appendFileSync(path, "x\n".repeat(count));
		const reader = new OutputReader(store);
		const readAll = (isStill: boolean) => {
			for (let n = 0; n < 9; n++) reader.read(id, isStill);
			return reader.read(id, isStill);
		};
		add(30_000);
		const followed = readAll(false);
		const { first = 0, lines = [] } = followed ?? {};
		expect(first + lines.length).toBe(30_000);
		expect(lines.length).toBeLessThan(23_000);
		add(90_000);
		const still = readAll(true);
		expect([still?.first, still?.isUnread]).toEqual([first, true]);
		const last = readAll(false);
		expect(last?.isUnread).toBe(false);
		expect((last?.first ?? 0) + (last?.lines.length ?? 0)).toBe(120_000);
	});
});
