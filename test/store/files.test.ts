import { expect, test } from "bun:test";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../../lib/store/directory.ts";
import { notifyWaiters } from "../../lib/store/ends.ts";
import { replaceFile } from "../../lib/store/files.ts";
import { type Sandbox, sandbox } from "../tools/harness.ts";

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
