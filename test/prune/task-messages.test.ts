import { expect, test } from "bun:test";
import { readTaskRow } from "../../lib/cli/task-rows.ts";
import {
	readTaskMessages,
	renderTaskMessages,
} from "../../lib/prune/task-messages.ts";
import { openStore } from "../../lib/store/directory.ts";
import { readTask } from "../../lib/store/records.ts";
import { addMessage } from "../../lib/store/sessions/messages.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask, endTask } from "../tools/hooks.ts";

test("list, watch and status say what waits, what the end overtook, and the notes", () => {
	const box = sandbox();
	const store = openStore({ dir: box.dir, write: true });
	const id = addTask(box, { kind: "droid" });
	const read = () => readTask(store, id);
	const rowOf = () => readTaskRow(store, read()).progress;
	expect(rowOf()).not.toContain("message");
	expect(readTaskMessages(store, read())).toEqual({});
	const from = { by: "person" } as const;
	for (let n = 1; n <= 7; n++)
		addMessage(store, id, "msg", { from, text: `<b> ${n}\n` });
	addMessage(store, id, "note", {
		from: { by: "task", id },
		text: "half\u001b[2J",
	});
	expect(rowOf()).toContain('messages: 7 queued · note: "half"');
	endTask(box, id, "the result");
	expect(rowOf()).toContain(
		'messages: 7 undelivered · note: "half" · the result',
	);

	const shown = readTaskMessages(store, read());
	expect(shown.messages?.map(({ text }) => text)).toEqual(
		[3, 4, 5, 6, 7].map((n) => `<b> ${n}\n`),
	);
	const all = readTaskMessages(store, read(), true);
	expect(renderTaskMessages(all, id)).toEqual({
		messages: `7 undelivered (it ended first: bg resume ${id} continues its session); the last: "'b' 7"`,
		notes: '"half"',
	});
});
