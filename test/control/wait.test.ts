import { expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { waitForTasks } from "../../lib/control/wait.ts";
import { identifySelf } from "../../lib/process/identity.ts";
import { openStore } from "../../lib/store/directory.ts";
import { recordFile } from "../../lib/store/paths.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask, endTask } from "../tools/hooks.ts";

test("a record that cannot be read for a moment is waited for", async () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = addTask(store, { supervisor: identifySelf() });
	const record = readFileSync(recordFile(store, id));
	writeFileSync(recordFile(store, id), "{");
	const { ended, missing } = await waitForTasks(store, {
		ids: [id],
		onPoll: () => {
			writeFileSync(recordFile(store, id), record);
			endTask(box, id);
		},
	});
	expect(missing).toEqual([]);
	expect(ended).toMatchObject([{ id, status: "completed" }]);
});
