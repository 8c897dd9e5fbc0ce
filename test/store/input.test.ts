import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, readdirSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../../lib/store/directory.ts";
import {
	endInput,
	type InputEnds,
	openInputEnds,
	prepareInput,
	writeInput,
} from "../../lib/store/input.ts";
import { afterTest } from "../tools/concurrent.ts";

const id = "bg_19f0c2a4b1c000001";

/** The input of a task whose descriptors this process holds, in the place of the task and of the keeper. */
function openInput() {
	const dir = mkdtempSync(join(tmpdir(), "bg-input-"));
	const store = openStore({ dir: join(dir, "store"), write: true });
	const open = () => {
		Bun.spawnSync(["mkfifo", "-m", "600", ...prepareInput(store, id)]);
		return openInputEnds(store, id);
	};
	let ends: InputEnds | undefined = open();
	const close = () => {
		if (ends) for (const fd of Object.values(ends)) closeSync(fd);
		ends = undefined;
	};
	afterTest(() => {
		close();
		rmSync(dir, { recursive: true, force: true });
	});
	const read = (length: number) => {
		const bytes = Buffer.alloc(length);
		return bytes.subarray(0, readSync(ends?.task ?? -1, bytes)).toString();
	};
	const write = (text: string, { end = false, timeoutMs = 0 } = {}) =>
		writeInput(store, id, { bytes: Buffer.from(text), end, timeoutMs });
	return { store, ends, open, close, read, write };
}

test("what is written is read in order, and the end after the last of it", () => {
	const { ends, read, write } = openInput();
	expect(write("one\n")).toEqual({ written: 4 });
	expect(write("two\n", { end: true })).toEqual({ written: 4 });
	expect(read(100)).toBe("one\ntwo\n");
	// The keeper was told.
	const line = Buffer.alloc(10);
	expect(readSync(ends.end, line)).toBe(1);
	expect(write("three\n")).toBeUndefined();
});

test("a full pipe takes a part, and no writer waits for ever", () => {
	const { read, write } = openInput();
	const text = "x".repeat(1024 * 1024);
	const first = write(text);
	expect(first?.problem).toBe("full");
	expect(first?.written).toBeGreaterThan(0);
	expect(first?.written).toBeLessThan(text.length);
	expect(write("more", { timeoutMs: 30 })).toEqual({
		written: 0,
		problem: "full",
	});
	// What was not sent whole does not end the input.
	expect(write("more", { end: true })?.problem).toBe("full");
	read(first?.written ?? 0);
	expect(write("more")).toEqual({ written: 4 });
});

test("a task that closed its input, or has none, is told from one that does not read", () => {
	const { store, close, write } = openInput();
	close();
	expect(write("x")).toEqual({ written: 0, problem: "closed" });
	expect(endInput(store, id)).toBe(true);
	expect(endInput(store, id)).toBe(false);
	expect(write("x")).toBeUndefined();
	expect(readdirSync(join(store.dir, ".input"))).toEqual([]);
});

test("an input that is made again is another one", () => {
	const { ends, open, read, write } = openInput();
	write("for the first attempt");
	const next = open();
	write("for the second");
	expect(read(100)).toBe("for the first attempt");
	const bytes = Buffer.alloc(100);
	expect(readSync(next.task, bytes)).toBe("for the second".length);
	for (const fd of Object.values(next)) closeSync(fd);
	expect(readSync(ends.end, bytes)).toBe(1);
});

test("what is no pipe is not written to", () => {
	const { store, close, write } = openInput();
	close();
	endInput(store, id);
	Bun.spawnSync(["touch", join(store.dir, ".input", id)]);
	expect(() => write("x")).toThrow("is not a pipe");
});
