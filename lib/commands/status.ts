import {
	describeNote,
	dismissNotice,
	formatFlags,
	isColourWanted,
	isJsonWanted,
	reply,
} from "../answer.ts";
import { formatProgramCall, truncateRecord } from "../brief.ts";
import { openStore } from "../directory.ts";
import { outputFile } from "../names.ts";
import { addProgress } from "../output.ts";
import { isTerminal, writeAll } from "../print.ts";
import { reconcileTask } from "../prune.ts";
import { readTask, resolveTaskId } from "../store.ts";
import { defineVerb } from "../verb.ts";

/** Of a line that no terminal breaks, in columns. */
const unlimitedColumns = 500;

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
		const id = resolveTaskId(store, args.id);
		const reconciled = reconcileTask(store, readTask(store, id));
		const note = describeNote(reconciled);
		const full = { ...addProgress(store, reconciled), note };
		const task = args.full ? full : truncateRecord(full, `status ${id} --full`);
		if (isJsonWanted(args)) {
			if (reply(args, task, () => "")) dismissNotice(store, reconciled);
			return;
		}
		const { renderTaskDetails } = await import("../card.ts");
		const { readTerminalSize } = await import("../terminal.ts");
		const details = renderTaskDetails(task, {
			note,
			output: outputFile(store, id),
			width: isTerminal(1) ? readTerminalSize().columns : unlimitedColumns,
			colour: isColourWanted(),
		});
		const more =
			task === full ? [] : [formatProgramCall(`status ${id} --full`)];
		if (writeAll(1, `${[...details, ...more].join("\n")}\n`))
			dismissNotice(store, reconciled);
	},
});
