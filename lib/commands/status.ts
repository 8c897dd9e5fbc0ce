import {
	answer,
	formatFlags,
	markCollected,
	noteOf,
	wantsColour,
	wantsJson,
} from "../answer.ts";
import { brief, callFor } from "../brief.ts";
import { openStore } from "../directory.ts";
import { outputFile } from "../names.ts";
import { withProgress } from "../output.ts";
import { isTerminal, writeAll } from "../print.ts";
import { settle } from "../prune.ts";
import { readTask, resolveId } from "../store.ts";
import { defineVerb } from "../verb.ts";

/** Of a line that no terminal breaks, in columns. */
const maxWidth = 500;

export const status = defineVerb({
	meta: {
		name: "status",
		description: "Show all that is known of a task, its progress as of now",
	},
	examples: [
		["bg status @last", "the newest task"],
		["bg status @last --full --json", "the whole record, however long"],
	],
	args: {
		id: {
			type: "positional",
			required: true,
			from: "tasks",
			description: "a task id",
		},
		full: { type: "boolean", description: "nothing cut, however long it is" },
		...formatFlags,
	},
	run: async ({ args }) => {
		const store = openStore();
		const id = resolveId(store, args.id);
		const settled = settle(store, readTask(store, id));
		const note = noteOf(settled);
		const whole = { ...withProgress(store, settled), note };
		const task = args.full ? whole : brief(whole, `status ${id} --full`);
		if (wantsJson(args)) {
			if (answer(args, task, () => "")) markCollected(store, settled);
			return;
		}
		const { drawCard } = await import("../card.ts");
		const { terminalSize } = await import("../terminal.ts");
		const card = drawCard(task, {
			note,
			output: outputFile(store, id),
			width: isTerminal(1) ? terminalSize().columns : maxWidth,
			colour: wantsColour(),
		});
		const more = task === whole ? [] : [callFor(`status ${id} --full`)];
		if (writeAll(1, `${[...card, ...more].join("\n")}\n`))
			markCollected(store, settled);
	},
});
