import { expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { openStore } from "../lib/directory.ts";
import { claimKeys } from "../lib/keys.ts";
import { recordFile } from "../lib/names.ts";
import { self } from "../lib/process.ts";
import { readTask } from "../lib/store.ts";
import { holdKey } from "../lib/unique.ts";
import { sandbox } from "./harness.ts";
import { addTask } from "./hooks.ts";

test("a key is free once its holder is over or gone, not where its record cannot be read", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const fields = { unique_key: "key", supervisor: self() };
	const [holder, next] = [addTask(store, fields), addTask(store, fields)];
	const claim = () => claimKeys(store, [readTask(store, next)])[0]?.id;
	holdKey(store, "key", holder);
	expect(claim()).toBe(holder);
	const file = recordFile(store, holder);
	const record = readFileSync(file);
	writeFileSync(file, "{");
	expect(claim).toThrow(`the record of ${holder} cannot be read`);
	writeFileSync(file, record);
	expect(claim()).toBe(holder);
	rmSync(file);
	expect(claim()).toBe(next);
});
