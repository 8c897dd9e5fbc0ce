import { expect, test } from "bun:test";
import { openStore } from "../lib/directory.ts";
import { readTask } from "../lib/store.ts";
import { sandbox } from "./harness.ts";
import { addEnd, lock, parent } from "./hooks.ts";

test("a task that somebody holds is left alone and named, the others are put away", async () => {
	const box = sandbox();
	const [first, held, last] = [1, 2, 3].map(() => addEnd(box, parent));
	const unlock = lock(box, held ?? "");
	const answer = await box.bg(["cleanup"]);
	const deletion = await box.bg(["cleanup", "--delete", "--older-than", "0s"]);
	unlock();
	const kept = [{ taskId: held, note: expect.stringContaining("held by") }];
	expect(answer.json()).toMatchObject({ archived: [last, first], kept });
	expect(answer).toMatchObject({ code: 111 });
	expect(answer.stderr).toMatch(/^bg: unable to lock .*held by .*\n$/);
	expect(deletion.json()).toMatchObject({ deleted: [last, first], kept });
	const store = openStore({ dir: box.dir });
	expect(readTask(store, held ?? "").archived_at).toBeUndefined();
});
