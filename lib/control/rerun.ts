/** Plans tasks that come from another one: the same task again, or a droid session continued. */
import type { EngineOptions } from "../engine/arguments.ts";
import { refused, usage } from "../error.ts";
import { quoteForShell } from "../process/self.ts";
import { stdinFile, storeDir } from "../store/paths.ts";
import { sessionPattern } from "../task/ids.ts";
import type { Task } from "../task/schema.ts";
import { isFinal, omitUndefined } from "../task/states.ts";
import {
	assertAutonomy,
	assertAutonomyOver,
	commandAutonomy,
} from "./autonomy.ts";
import type { DroidOptions } from "./launch/options.ts";
import { type LaunchPlan, planCommand, planDroid } from "./launch/plan.ts";

/** The fields that a retry copies. */
const keptFields = [
	"tags",
	"timeout_ms",
	"max_output_bytes",
	"priority",
	"retries",
	"unique_key",
	"on_end",
] as const;

/** What a retry changes of a droid's task. */
export type RetryChanges = {
	droid?: string | undefined;
	autonomy?: string | undefined;
	model?: string | undefined;
	"max-tokens"?: string | undefined;
};

/**
 * Plans the same task again, as a new one. Inside a task it needs the autonomy of that one.
 * @throws BgError: refused if it has not ended or cannot be launched again, usage if it cannot be changed so.
 */
export function planRetry(
	task: Task,
	changes: RetryChanges = {},
	engine: EngineOptions = {},
): LaunchPlan {
	const { id, kind, prompt } = task;
	const { "max-tokens": maxTokens, ...others } = changes;
	assertFinished(task, "retried");
	assertAutonomyOver(task, "retry");
	if (task.on_end) assertAutonomy(commandAutonomy, `--on-end of ${id}`);
	const [changed] = Object.keys(omitUndefined(changes));
	if (changed && kind === "command")
		throw usage(`--${changed} is for a droid, and ${id} is a command`);
	if (kind === "native")
		throw refused(`${id} is a subagent that droid ran: let droid run it again`);
	if (kind === "droid" && prompt === undefined)
		throw refused(
			`the prompt of ${id} was private and is gone: launch it again (bg launch --private)`,
		);
	if (task.stdin === stdinFile({ dir: storeDir() }, id))
		throw refused(
			`the standard input of ${id} came from its launcher and is gone: launch it again (bg run --stdin FILE)`,
		);
	const same = {
		...copyOptions(task, engine),
		...omitUndefined(others),
		stdin: task.stdin,
	};
	const { command = [], worktree } = task;
	const session = findResumedSession(task);
	const plan =
		kind === "command"
			? planCommand({ ...same, command })
			: planDroid({ ...same, prompt, worktree, session, maxTokens });
	const kept = keptFields.map((key) => [key, task[key]]);
	Object.assign(plan.task, omitUndefined(Object.fromEntries(kept)));
	plan.task.max_tokens ??= task.max_tokens;
	plan.task.retry_of = id;
	return plan;
}

/**
 * Plans a task that continues a droid's session, or a copy of it.
 * @throws BgError (refused) if the droid's task has not ended or its session is not known.
 */
export function planResume(
	task: Task,
	prompt: string,
	{
		fork,
		maxTokens,
		engine = {},
	}: {
		fork: boolean;
		maxTokens?: string | undefined;
		engine?: EngineOptions;
	},
): LaunchPlan {
	const { id } = task;
	if (task.kind !== "droid")
		throw refused(
			`${id} is not a droid's task: only those can be resumed (bg retry ${id} starts it again)`,
		);
	assertFinished(task, "resumed");
	assertAutonomyOver(task, "resume");
	if (!task.droid_session_id)
		throw refused(
			`the session of ${id} is not known: it ended before droid named it (bg retry ${id})`,
		);
	const session = { id: checkSessionId(task.droid_session_id), fork };
	const plan = planDroid({
		...copyOptions(task, engine),
		prompt,
		session,
		maxTokens,
	});
	plan.task.resume_of = id;
	return plan;
}

// --- internal ---

/** The options that a new task takes over from another one. It runs where that one ran. */
const copyOptions = (task: Task, engine: EngineOptions) => ({
	...copyEngine(task, engine),
	description: task.description,
	cwd: task.cwd,
	droid: task.agent,
	autonomy: task.autonomy,
	model: task.model,
	parentSession: process.env.BG_SESSION_ID || task.parent_session_id,
});

/** Another engine than that of the task has arguments of its own. */
function copyEngine(
	{ engine }: Task,
	{ on, engineArgs }: EngineOptions,
): EngineOptions {
	if (on !== undefined && on !== engine?.name) return { on, engineArgs };
	if (!engine) return { on: "local", engineArgs };
	const args = (engine.args ?? []).map(quoteForShell).join(" ");
	return { on: engine.name, engineArgs: engineArgs ?? args };
}

/** The session that a task continued: only its argv names it, at its end. */
function findResumedSession(task: Task): DroidOptions["session"] {
	const [flag, id] = task.command?.slice(-2) ?? [];
	return task.resume_of && id
		? { id: checkSessionId(id), fork: flag === "--fork" }
		: undefined;
}

/** A droid's stream may name any session: it must not be a flag in an argv. @throws BgError (refused). */
function checkSessionId(id: string): string {
	if (sessionPattern.test(id) && !id.startsWith("-")) return id;
	throw refused(`${JSON.stringify(id)} is not a droid session id`);
}

function assertFinished(task: Task, what: string): void {
	if (!isFinal(task))
		throw refused(
			`${task.id} is ${task.status}: it can be ${what} after it has ended (bg wait ${task.id})`,
		);
}
