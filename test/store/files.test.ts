import { expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../lib/store/directory.ts";
import { notifyTogether, notifyWaiters } from "../../lib/store/ends.ts";
import { replaceFile } from "../../lib/store/files.ts";
import { type Sandbox, sandbox, until } from "../tools/harness.ts";

const temporaryIn = ({ dir }: Pick<Sandbox, "dir">) =>
	readdirSync(join(dir, ".tmp"));

test("a failed rename leaves no temporary file and is reported", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const path = join(store.dir, "a folder");
	mkdirSync(path);
	expect(() =>
		replaceFile(store, { path, text: "text", durable: true }),
	).toThrow(/EISDIR/);
	expect(temporaryIn(store)).toEqual([]);
	mkdirSync(join(store.dir, ".ends", "last"));
	notifyWaiters(store);
	expect(temporaryIn(store)).toEqual([]);
});

test("ends that follow each other closely are told at once and once more", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const told = () => readdirSync(join(store.dir, ".ends")).length;
	const end = notifyTogether();
	notifyWaiters(store);
	expect(told()).toBe(1);
	for (let times = 0; times < 3; times++) notifyWaiters(store);
	expect(told()).toBe(1);
	end();
	expect(told()).toBe(2);
	notifyWaiters(store);
	expect(told()).toBe(3);
});

test("what is told later is told without another end", async () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const told = () => readdirSync(join(store.dir, ".ends")).length;
	const end = notifyTogether();
	try {
		for (let times = 0; times < 3; times++) notifyWaiters(store);
		await until(() => told() === 2, "the second notification");
	} finally {
		end();
	}
	expect(told()).toBe(2);
});
