/**
 * The JSON answer of each verb, in one table. `.github/SCRIPTING.md` is made of it (`npm run docs`), and real
 * answers are compared with it (test/cli/answers.test.ts): an answer with a key that is not here fails.
 */
import { hookEvents } from "../../lib/hook/events.ts";
import { messageStatuses } from "../../lib/store/sessions/messages.ts";
import { statuses } from "../../lib/task/schema.ts";
import {
	changes,
	cutKeys,
	engine,
	limits,
	messageKeys,
	noteKeys,
	progress,
	queue,
	recordKeys,
} from "./record-shape.ts";
import {
	anything,
	byName,
	count,
	either,
	type Keys,
	list,
	maybe,
	object,
	oneOf,
	partial,
	type Shape,
	text,
	texts,
	yes,
} from "./shapes.ts";

export type AnswerEntry = {
	/** What to know beside the keys. */
	about: string;
	shape: Shape;
	/** It has the keys of a record: the page does not repeat them. */
	isRecord?: true;
	/** The page has no section on it. */
	isUntold?: true;
};

const named = { id: text("the id"), taskId: text("the same") };
const status = oneOf(statuses, "the state");
const dryRun = maybe(yes("true: nothing was changed"));
const unreadable = maybe(
	list({ ...named, problem: text("why") }, "records that cannot be read"),
);
const unfinished = { ...named, description: text("what it is about") };

const launched: Keys = {
	...unfinished,
	sessionId: text("bg's own id of its session"),
	status,
	...partial({
		existing: yes("true: an unfinished task has the key given with `--unique`"),
		waits_for: text("why it does not start at once"),
		warnings: texts("what to know"),
		name: text("its name in the batch"),
		exit_code: count("with `--wait`, the exit code of its process"),
		error: text("with `--wait`, one sentence: what went wrong"),
		result: text("with `--wait`, the final answer"),
		recorded: yes("false: the end could not be written yet"),
	}),
	...cutKeys,
};

const launch: AnswerEntry = {
	about:
		'With `--batch`, and by `retry` with selectors or several ids: `{"tasks": […]}` with one such object for each.',
	shape: either(
		[object(launched), object({ tasks: list(launched, "the tasks") })],
		"",
	),
};

const sent: Keys = {
	...named,
	...partial({
		to: oneOf(["parent"], "of a note: then `id` is the task that sent it"),
		status,
		message: object(
			{
				id: text("its id"),
				status: oneOf(messageStatuses, "what became of it"),
			},
			"to a droid, the message",
		),
		input: object(
			{
				bytes: count("how many bytes were sent"),
				eof: yes("whether the input has ended"),
			},
			"to a command",
		),
		note: text("with selectors, why it was not sent"),
	}),
};

const shortRow: Keys = {
	id: text("the id"),
	...partial({
		...Object.fromEntries(
			[
				...["description", "status", "kind", "agent", "reason", "error"],
				...["exit_code", "session_id", "parent_session_id", "tags"],
				...["queued_at", "started_at", "completed_at"],
			].map((key) => [key, unwrapOptional(recordKeys[key] as Shape)]),
		),
		progress,
		engine,
	}),
	...noteKeys,
	...cutKeys,
};

const listHead: Keys = {
	total: count("how many tasks match"),
	...Object.fromEntries(
		statuses.map((each) => [each, count(`how many of them have this status`)]),
	),
	limits,
	queue,
};

const listTail: Keys = {
	...partial({
		truncated: yes("true: not all are shown"),
		omitted: count("how many are not shown"),
		more: text("the command that shows all"),
	}),
	unreadable,
};

const pause: AnswerEntry = {
	about: "",
	shape: object({
		tasks: list(
			{
				...named,
				status,
				paused: yes("whether it is paused now"),
				...partial({ note: text("of several, why it was not changed") }),
			},
			"the tasks",
		),
		queue,
	}),
};

const files = list(
	{
		path: text("the file"),
		action: oneOf(
			["create", "change", "remove", "same", "foreign"],
			"what happens to it; foreign: bg did not write it, and leaves it",
		),
		...partial({
			bytes: count("with `--dry-run`, its new size"),
			content: text("with `--dry-run`, its new text"),
			edits: list(
				{
					removed: text("the text that goes"),
					added: text("the text that comes"),
				},
				"with `--dry-run`, the changes of a file of droid's",
			),
		}),
	},
	"the files",
);

const install: AnswerEntry = {
	about: "",
	shape: object({
		kind: oneOf(["user", "project", "plugin"], "where"),
		folder: text("the folder"),
		files,
		next: maybe(texts("the commands to type next")),
		dryRun,
	}),
};

const hook: AnswerEntry = {
	about:
		"For droid, not for scripts. Nothing is printed if there is nothing to say.",
	shape: object(
		partial({
			suppressOutput: yes("true: droid does not show it"),
			hookSpecificOutput: object(
				{
					hookEventName: oneOf(Object.keys(hookEvents), "the event"),
					additionalContext: text("what droid tells its model"),
				},
				"the notice",
			),
			decision: oneOf(["block"], "with `BG_STOP=wait`"),
			reason: text("why droid is to go on"),
		}),
	),
};

/** By verb. A verb that is not here answers in text only. */
export const answers: Record<string, AnswerEntry> = {
	launch,
	run: launch,
	resume: launch,
	retry: launch,
	list: {
		about:
			"Each task in short, the newest first. `--full`: the whole records, and `usage`: what the tasks of each session used. `--format jsonl`: the tasks alone, one a line.",
		shape: object({
			...listHead,
			tasks: list(shortRow, "the tasks"),
			...listTail,
		}),
	},
	"list --full": {
		about: "",
		isUntold: true,
		shape: object({
			...listHead,
			tasks: list({ ...recordKeys, ...noteKeys }, "the tasks"),
			usage: maybe(byName(anything(""), "what was used, by session")),
			...listTail,
		}),
	},
	status: {
		about:
			"The record (see below) and these keys. Without `--full`, long texts are cut so that the answer has at most 2,000 characters.",
		isRecord: true,
		shape: object({
			...recordKeys,
			...noteKeys,
			...cutKeys,
			...messageKeys,
			changes: maybe(changes),
		}),
	},
	output: {
		about: "Text, also in a pipe. With `--json`:",
		shape: object({
			tasks: list(
				{
					...named,
					output: text("the text"),
					nextOffset: count("the byte to continue from: `--since`"),
					truncated: yes("whether there is more"),
					status,
					...partial({
						recorded: yes("false: the end could not be written yet"),
						more: text("the command that shows more"),
					}),
				},
				"the tasks",
			),
		}),
	},
	result: {
		about: "Text, also in a pipe. With `--json`:",
		shape: object({
			tasks: list(
				{
					...named,
					status,
					...partial({
						error: text("one sentence: what went wrong"),
						result: text("the answer, at most 64 KiB"),
					}),
					...cutKeys,
				},
				"the tasks",
			),
		}),
	},
	droids: {
		about: "",
		shape: object({
			droids: list(
				{
					name: text("the name"),
					purpose: text("what it is for"),
					tools: either([text(""), texts("")], "`all`, or the tools it has"),
					model: text("the model, or `inherit`"),
					origin: oneOf(
						["project", "home", "plugin", "built-in"],
						"where it is defined",
					),
					...partial({
						effort: text("the reasoning effort"),
						path: text("the file of its definition"),
						warnings: texts("what is wrong with the definition"),
					}),
				},
				"the droids",
			),
		}),
	},
	wait: {
		about: "",
		shape: object({
			tasks: list(
				{
					...named,
					status,
					...partial({
						exit_code: count("the exit code of its process"),
						error: text("one sentence: what went wrong"),
						result: text("the final answer"),
						recorded: yes("false: the end could not be written yet"),
					}),
					...cutKeys,
				},
				"the tasks that have ended",
			),
			running: texts("the ids of those that have not"),
			timedOut: yes("whether `--timeout` was over"),
			missing: maybe(texts("ids whose record is gone: their end is unknown")),
		}),
	},
	cancel: {
		about: "",
		shape: object({
			tasks: list(
				{
					...named,
					cancelled: yes("whether it has ended now"),
					...partial({ status, note: text("what to know") }),
					survivors: list(
						{ pid: count("the process id"), command: text("its command line") },
						"processes that are still alive",
					),
					...cutKeys,
				},
				"the tasks",
			),
		}),
	},
	send: {
		about: 'With selectors: `{"tasks": […]}` with one such object for each.',
		shape: either([object(sent), object({ tasks: list(sent, "") })], ""),
	},
	edit: {
		about: "",
		shape: object({
			...named,
			status,
			priority: count("its priority now"),
			timeout_ms: maybe(count("the most it may run, in ms")),
		}),
	},
	limit: {
		about: "`0` is no limit.",
		shape: object({
			changed: maybe(
				object(
					{
						limit: oneOf(["running", "droid", "model"], "which"),
						name: maybe(text("of which droid or model")),
						before: either(
							[count(""), text("")],
							"the limit before, or `default`",
						),
						now: either([count(""), text("")], "the limit now, or `default`"),
					},
					"what this call changed",
				),
			),
			limits,
			set: object(
				{
					running: maybe(count("how many may run")),
					droid: byName(count(""), "of one droid"),
					model: byName(count(""), "of one model"),
				},
				"the limits that `bg limit` set",
			),
			queue,
			in_use: list(
				{
					machine: text("the machine"),
					here: yes("whether that is this one"),
					depth: count("how many tasks they are inside of"),
					running: count("how many run"),
					queued: count("how many wait"),
					droid: byName(count(""), "how many run, by droid"),
					model: byName(count(""), "how many run, by model"),
				},
				"what is in use",
			),
		}),
	},
	pause,
	unpause: pause,
	complete: {
		about: "",
		shape: object({
			...named,
			status,
			completed: yes("whether this call ended the task"),
		}),
	},
	prune: {
		about: "",
		shape: object({
			removed: texts("the ids of the tasks that were ended"),
			tasks: list(
				{ ...named, reason: text("why") },
				"the tasks that were ended",
			),
			overdue: list(
				{
					...named,
					age: text("how long it has run"),
					note: maybe(text("why it was left alone")),
				},
				"old tasks that were left alone",
			),
			unknown: list(
				{ ...named, note: text("why") },
				"tasks of which nothing can be told",
			),
			unreadable,
			dryRun,
		}),
	},
	cleanup: {
		about: "",
		shape: object({
			cleaned: yes("true"),
			archived: texts("the ids that were removed from the list"),
			deleted: texts("the ids that were deleted"),
			freedBytes: count("how many bytes that freed"),
			kept: list(
				{ ...named, note: text("why") },
				"tasks that could not be cleaned up",
			),
			dryRun,
		}),
	},
	install,
	uninstall: install,
	doctor: {
		about: "",
		shape: object({
			ok: yes("whether no check failed"),
			checks: list(
				{
					check: text("its name"),
					ok: yes("whether it is well"),
					says: text("what was found"),
					...partial({
						fix: text("the command that fixes it"),
						faults: list(
							{
								times: count("how often it was logged"),
								last: text("when last"),
								log: oneOf(["hook", "supervisor"], "by what"),
								fault: text("what was logged last"),
							},
							"the kinds of faults in the logs",
						),
					}),
				},
				"the checks",
			),
		}),
	},
	hook,
	"hook-complete": hook,
};

/** The answer of every verb if it fails and would answer in JSON. */
export const errorAnswer = object({
	error: text("what is wrong, which, and what to do"),
});

/** A schema without the permission to be missing. */
function unwrapOptional(shape: Shape): Shape {
	return shape.type === "optional"
		? (shape as unknown as { wrapped: Shape }).wrapped
		: shape;
}
