import { parseNumberFlag } from "../../control/schedule.ts";
import { readWholeResult } from "../../droid/task-output.ts";
import {
	formatProgramCall,
	toPlain,
	truncateBytes,
	writeAll,
} from "../../print/text.ts";
import { reconcileTasks } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import type { Store } from "../../store/paths.ts";
import { readTask } from "../../store/records.ts";
import type { Task } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { formatCutMark } from "../follow.ts";
import { dismissNotice, warn, writeJson } from "../reply.ts";
import { nameTasks, selectorFlags } from "../selectors.ts";
import { defineVerb, flag, option, optional } from "../verb.ts";

/** The most of one result that is printed, in bytes. */
const maxBytes = 64 * 1024;

export default defineVerb({
	name: "result",
	description: "Show a task's result, whole",
	group: "inspect",
	repliesInText: true,
	examples: {
		"bg result @last": "the result of the newest task, and nothing else",
		"bg result --tag nightly --status completed":
			"the answers of the tasks that succeeded",
		"bg result @last --since 65536":
			"the next part of a result of more than 64 KiB",
	},
	args: {
		ids: optional("task ids", { multiple: true, from: "tasks" }),
		...selectorFlags,
		since: option("byte", "only the result after this byte"),
		json: flag("reply as JSON"),
	},
	run: ({ args }) => {
		const store = openStore();
		const since = parseNumberFlag("--since", args.since) ?? 0;
		const ids = nameTasks(store, args, {
			verb: "result",
			what: "task",
			applies: () => true,
		});
		const found = ids.map((id) => readTask(store, id));
		const answers = [...reconcileTasks(store, found)].map((task) =>
			toAnswer(store, task, since),
		);
		if (args.json) {
			if (!writeJson({ tasks: answers })) return;
		} else
			for (const answer of answers) {
				if (answers.length > 1) writeAll(1, `== ${answer.id} ==\n`);
				if (!writeText(answer)) return;
			}
		for (const answer of answers) dismissNotice(store, answer);
		return answers.every(({ status }) => status === "completed");
	},
});

// --- internal ---

type Answer = Pick<Task, "id" | "status" | "error" | "result"> & {
	taskId: string;
	truncated?: boolean;
	/** The command that prints what was cut. */
	more?: string;
};

/** The answer of a droid is cut at its end; that of a command at its beginning. */
function toAnswer(store: Store, task: Task, since: number): Answer {
	const { id, status, error } = task;
	if (!isFinal(task)) return { id, taskId: id, status };
	const all = readWholeResult(store, task);
	const isTail = task.kind === "command" && since === 0;
	const rest = since ? Buffer.from(all).subarray(since).toString("utf8") : all;
	const result = truncateLines(rest, isTail ? "last" : "first");
	const answer = { id, taskId: id, status, error, result };
	if (result.length === rest.length) return answer;
	const next = since + Buffer.byteLength(result);
	const call = isTail ? `output ${id} --raw` : `result ${id} --since ${next}`;
	return { ...answer, truncated: true, more: formatProgramCall(call) };
}

/** Cuts text to `maxBytes`, between two lines if it has lines of that length. */
function truncateLines(text: string, keep: "first" | "last"): string {
	const cut = truncateBytes(text, maxBytes, keep);
	if (cut.length === text.length) return text;
	return keep === "first"
		? cut.slice(0, cut.lastIndexOf("\n") + 1) || cut
		: cut.slice(cut.indexOf("\n") + 1) || cut;
}

/** Prints an answer. Says on stderr that a task has none, or failed. */
function writeText({ id, status, error, result, more }: Answer): boolean {
	const text = toPlain(result ?? "");
	const whole = text && !text.endsWith("\n") ? `${text}\n` : text;
	const mark = more ? formatCutMark(more) : "";
	const isTail = more?.endsWith(" --raw");
	const isRead = writeAll(1, isTail ? mark + whole : whole + mark);
	if (!isFinal({ status }))
		warn(
			`${id} is ${status}: no result yet (${formatProgramCall(`wait ${id}`)})`,
		);
	else if (status !== "completed")
		warn(`${id} ended as ${status}: ${error ?? "the reason is not known"}`);
	return isRead;
}
