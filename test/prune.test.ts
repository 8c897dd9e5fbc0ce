import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { openStore } from "../lib/directory.ts";
import { outputFile } from "../lib/names.ts";
import { self } from "../lib/process.ts";
import { settle } from "../lib/prune.ts";
import { readTask } from "../lib/store.ts";
import { sandbox } from "./harness.ts";
import { addTask } from "./hooks.ts";

const dead = { ...self(), start: "1" };

test("who died in the queue never started", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = addTask(store, { status: "queued", supervisor: dead });
	expect(settle(store, readTask(store, id))).toMatchObject({
		reason: "lost",
		error: "never started: its supervisor died",
	});
});

test("a task that wrote something has started, though nobody wrote that down", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const id = addTask(store, { status: "queued", supervisor: dead });
	writeFileSync(outputFile(store, id), "half of it\n");
	expect(settle(store, readTask(store, id))).toMatchObject({
		reason: "lost",
		error: "its supervisor died while it started",
		result: "half of it",
	});
});
