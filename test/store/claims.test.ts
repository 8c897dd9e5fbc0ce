import { expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { identifySelf } from "../../lib/process/identity.ts";
import { reconcileTask } from "../../lib/prune/reconcile.ts";
import { claimUniqueKeys, writeKeyHolder } from "../../lib/store/claims.ts";
import { openStore } from "../../lib/store/directory.ts";
import { recordFile } from "../../lib/store/paths.ts";
import { readTask } from "../../lib/store/records.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

test("a key is free once its task has ended or is gone, not if the record cannot be read", () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const fields = { unique_key: "key", supervisor: identifySelf() };
	const [holder, next] = [addTask(store, fields), addTask(store, fields)];
	const claim = () =>
		claimUniqueKeys(store, [readTask(store, next)], reconcileTask)[0]?.id;
	writeKeyHolder(store, "key", holder);
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
