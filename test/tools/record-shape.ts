/** The shape of a task's record, as `bg status` and `bg list --full` show it and `<id>.json` has it. */
import { messageStatuses } from "../../lib/store/sessions/messages.ts";
import {
	autonomies,
	engineNames,
	kinds,
	reasons,
	statuses,
	stopSignals,
} from "../../lib/task/schema.ts";
import {
	anything,
	byName,
	count,
	either,
	type Keys,
	list,
	object,
	oneOf,
	partial,
	text,
	texts,
	yes,
} from "./shapes.ts";

const identity = (meaning: string) =>
	object(
		{
			machine: text("the machine"),
			boot: text("its boot"),
			pid: count("the process id"),
			start: text("the start time, in the unit of the system"),
			...partial({ job: text("of a process in a job, that job") }),
		},
		meaning,
	);

export const progress = object(
	{
		toolCalls: count("how many tools it called"),
		...partial({
			lastTool: text("the last tool"),
			lastUpdate: text("when its stream had its last event"),
			lastMessage: text("the last message, at most 500 characters"),
			lastMessageAt: text("when that was"),
			outputFile: text("the path of its output"),
		}),
	},
	"of a droid, how far it is",
);

export const engine = object(
	{
		name: oneOf(engineNames, "which"),
		...partial({
			args: texts("the arguments of `--engine-args`"),
			launch: text("the name of its job"),
			index: count("its place in the job array"),
			job: text("the number of its job, once that has started"),
			node: text("the node that it runs on"),
			run: count("how often its job was started again"),
		}),
	},
	"what it runs on, if that is not this machine",
);

/** What a droid used. Droid may say more of it. */
export const usage = byName(
	anything(""),
	"what it used: `input_tokens`, `output_tokens`, `cache_read_input_tokens`, `cache_creation_input_tokens`, `factory_credits`",
);

/** Keys of a record in groups, in the order in which the page explains them. Only the first are always there. */
export const recordKeys: Keys = {
	id: text("the id"),
	kind: oneOf(kinds, "what runs: native is a subagent that droid itself runs"),
	description: text("what it is about"),
	status: oneOf(statuses, "the state"),
	...partial({
		schema: count("the version of the record's format"),
		reason: oneOf(reasons, "why it ended"),
		error: text("one sentence: what went wrong"),
		result: text("the final answer, at most 16 KiB (`bg result` has all)"),
		exit_code: count("the exit code of its process"),
		signal: text("the signal that ended its process"),
		prompt: text("what the droid was asked"),
		agent: text("the name of the droid"),
		autonomy: oneOf(autonomies, "what it may do without asking"),
		model: text("the model, if the launch named one"),
		parent_model: text("the model of the session that launched it"),
		command: texts("the program and its arguments"),
		via: oneOf(["argv", "file", "private"], "how droid gets the prompt"),
		cwd: text("the working directory"),
		stdin: text("the file of its standard input; `keep`: that of `bg send`"),
		engine,
		worktree: text("the name given with `--worktree`; empty: droid's choice"),
		worktree_dir: text("the folder of its worktree"),
		worktree_branch: text("the branch of its worktree"),
		worktree_start: text("the commit at which its worktree was created"),
		session_id: text("bg's own id of its session"),
		droid_session_id: text("the id of its session in droid"),
		parent_session_id: text("the session that launched it"),
		parent_task_id: text("the task that launched it"),
		depth: count("how many tasks it is inside of"),
		tags: texts("its tags"),
		queued_at: text("when it was launched (UTC, ISO 8601)"),
		started_at: text("when its process started"),
		completed_at: text("when it ended"),
		active_at: text("when it was last seen to write or to compute"),
		not_before: text("it does not start earlier"),
		paused_at: text("since when it is paused"),
		paused_ms: count("how long it was paused before that, in ms"),
		elapsed_ms: count("how long it has run, sleep and pauses left out, in ms"),
		quiet_ms: count("how long it has been without activity, in ms"),
		timeout_ms: count("the most it may run, in ms"),
		max_tokens: count("the most tokens it may use"),
		max_output_bytes: count("the most it may write, in bytes"),
		priority: count("higher starts first"),
		after: texts("the tasks that must end before it starts"),
		after_mode: oneOf(["completed", "any"], "how those must end"),
		retries: count("how often it is run again after an error"),
		attempt: count("which attempt this is, from 1"),
		attempts: list(
			{
				attempt: count("its number"),
				...partial({
					error: text("why it failed"),
					exit_code: count("its exit code"),
					signal: text("the signal that ended it"),
					started_at: text("when it started"),
					completed_at: text("when it ended"),
				}),
			},
			"the earlier attempts",
		),
		resume_of: text("the task whose session it continues"),
		retry_of: text("the task that it repeats"),
		unique_key: text("the value of `--unique`"),
		concurrency_key: text("what limits for each droid count it by"),
		on_end: texts("the command that runs at its end"),
		progress,
		usage,
		usage_before: byName(
			anything(""),
			"what the session that it continues had used before",
		),
		process: identity("its process"),
		pid: count("the id of its process"),
		supervisor: identity("the process that supervises it"),
		stop: object(
			{
				reason: oneOf(reasons, "why"),
				at: text("when"),
				by: text("by what"),
				...partial({ signal: oneOf(stopSignals, "the first signal") }),
			},
			"a request to stop it",
		),
		left_behind: list(
			{ pid: count("the process id"), command: text("its command line") },
			"processes that it left running",
		),
		notified_at: text("when its session was told that it ended"),
		archived_at: text("when `bg cleanup` removed it from the list"),
	}),
};

/** What is said of a task beside its record. */
export const noteKeys: Keys = partial({
	recorded: yes("false: the end could not be written yet"),
	note: text("what is unusual: `paused`, `process alive`, where it runs …"),
	waits_for: text("why it waits to start"),
});

/** What says that texts were cut so that an answer fits. */
export const cutKeys: Keys = partial({
	truncated: yes("true: something was cut"),
	more: text("the command that shows all"),
});

export const changes = object(
	{
		folder: text("the folder of the worktree"),
		...partial({
			gone: yes("true: the folder is gone, the branch was read"),
			branch: text("the branch that is checked out there"),
			start: text("the commit at which the worktree was created"),
			commits: count("how many commits were added since"),
			files: count("how many files differ, uncommitted and untracked included"),
			note: text("why a figure is missing"),
		}),
	},
	"of a task with a worktree, what it changed",
);

const message = (meaning: string) =>
	list(
		{
			id: text("its id"),
			status: oneOf(messageStatuses, "what became of it"),
			...partial({
				at: text("when it was sent"),
				from: object(
					{
						by: oneOf(["person", "session", "task"], "what sent it"),
						...partial({
							id: text("the session or the task"),
							launched: yes("true: that session launched the task"),
						}),
					},
					"the sender",
				),
				text: text("the text"),
			}),
		},
		meaning,
	);

/** Of `bg status`. */
export const messageKeys: Keys = partial({
	messages: message("the newest messages to it"),
	notes: message("the newest notes from it to its parent's session"),
});

export const limits = either(
	[
		object(
			partial({
				running: count("how many tasks may run at once"),
				per_droid: count("how many of each droid"),
				droid: byName(count(""), "how many of one droid"),
				model: byName(count(""), "how many of one model"),
			}),
		),
		object({ error: text("") }),
	],
	"the limits in force, or `error`: why they cannot be read",
);

export const queue = object(
	{ paused: yes("whether no task starts") },
	"the queue",
);
