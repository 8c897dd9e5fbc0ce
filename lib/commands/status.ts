import { defineCommand } from "citty";
import {
	ageOf,
	answer,
	formatFlags,
	markCollected,
	noteOf,
	paintStatus,
} from "../answer.ts";
import { openStore } from "../directory.ts";
import { outputFile } from "../names.ts";
import { withProgress } from "../output.ts";
import { formatTable, toLine } from "../print.ts";
import { settle } from "../prune.ts";
import { readTask, resolveId } from "../store.ts";
import type { Task } from "../task.ts";

export const status = defineCommand({
	meta: {
		name: "status",
		description: "Show all that is known of a task, its progress as of now",
	},
	args: {
		id: { type: "positional", required: true, description: "a task id" },
		...formatFlags,
	},
	run: ({ args }) => {
		const store = openStore();
		const id = resolveId(store, args.id);
		const settled = settle(store, readTask(store, id));
		markCollected(store, settled);
		const task = { ...withProgress(store, settled), note: noteOf(settled) };
		answer(args, task, () => card(task, outputFile(store, id)));
	},
});

// --- internal ---

function card(
	task: Task & { note: string | undefined },
	output: string,
): string {
	const { progress, usage } = task;
	const words = [task.error, task.note].filter((part) => part).join(", ");
	const fields: Record<string, string | undefined> = {
		task: `${task.id}  ${task.description}`,
		why: words,
		age: ageOf(task),
		droid: task.agent,
		model: task.model,
		command: task.kind === "command" ? task.command?.join(" ") : undefined,
		folder: task.cwd,
		prompt: task.prompt,
		progress:
			progress &&
			`${progress.toolCalls} tool calls${progress.lastTool ? `, last ${progress.lastTool}` : ""}`,
		said: isNew(progress?.lastMessage, task)
			? progress?.lastMessage
			: undefined,
		usage:
			usage &&
			`${usage.input_tokens ?? "?"} tokens in, ${usage.output_tokens ?? "?"} out`,
		result: task.result,
		"left behind": task.left_behind
			?.map(({ pid, command }) => `${pid} ${command}`)
			.join("; "),
		session: task.droid_session_id,
		output,
	};
	const rows = Object.entries(fields).flatMap(([name, value]) =>
		value ? [[name, toLine(value, 500)]] : [],
	);
	return formatTable([["status", paintStatus(task.status)], ...rows]);
}

const isNew = (message: string | undefined, task: Task) =>
	message !== task.result;
