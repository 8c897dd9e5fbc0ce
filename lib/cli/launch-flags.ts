/** Flags and replies of the verbs that launch tasks. */
import type { ParsedArgs } from "citty";
import type { NamedPlan } from "../control/launch/batch.ts";
import { launchPlans } from "../control/launch/launch.ts";
import type { LaunchOptions } from "../control/launch/options.ts";
import type { LaunchResult } from "../control/launch/plan.ts";
import { exitCodes, PrintError } from "../error.ts";
import {
	formatProgramCall,
	isTerminal,
	joinFirst,
	toLine,
	writeAll,
} from "../print/text.ts";
import type { ReconciledTask } from "../prune/reconcile.ts";
import { openStore } from "../store/directory.ts";
import { engineNames } from "../task/schema.ts";
import { splitValues } from "./arguments.ts";
import {
	dismissNotice,
	type FormatArguments,
	formatFlags,
	isJsonWanted,
	queuePausedWarning,
	truncateRecord,
	warn,
	writeJson,
} from "./reply.ts";
import { flag, option } from "./verb.ts";

/** Flags for the reply of a launch. */
export const launchReplyFlags = {
	quiet: flag("print only the id", { alias: "q" }),
	wait: flag(
		"wait for the end, show the result, exit 0 or 1, or with the command's code",
	),
	...formatFlags,
} as const;

const engineArgsFlag = option(
	"args",
	"arguments for the engine, like '-p gpu --mem=32G' ($BG_ENGINE_ARGS)",
);

/** Where a task runs that comes from another one. */
export const rerunEngineFlags = {
	on: option("engine", "run it on this engine, not on the original one", {
		from: [...engineNames, "local"],
	}),
	"engine-args": engineArgsFlag,
} as const;

/** The limit on the tokens of a droid. */
export const tokensFlag = option(
	"n|200k|2M",
	"stop it after the turn that passes this many tokens (cached ones are not counted)",
);

/** Flags of launch and run. */
export const launchFlags = {
	cwd: option("dir", "the working directory", { from: "folders" }),
	env: option("name=value", "an environment variable; may be repeated", {
		multiple: true,
	}),
	stdin: option(
		"file",
		"the standard input (/dev/null); -: bg's own, at most 16 MiB; keep: what bg send writes",
		{ from: "files" },
	),
	tag: option("tag", "a tag for bg list --tag; may be repeated", {
		multiple: true,
	}),
	timeout: option("90s|30m|2h", "the maximum run time"),
	delay: option(
		"90s|30m|2h",
		"start no earlier than this long after the launch",
	),
	after: option("ids", "start after these tasks complete (comma-separated)", {
		from: "tasks",
	}),
	"after-any": option("ids", "start after these tasks end, in any status", {
		from: "tasks",
	}),
	priority: option("number", "higher starts first (0)"),
	retries: option("number", "how often to retry after an error (0)"),
	unique: option(
		"key",
		"if an unfinished task has this key, return it instead",
	),
	"max-output": option("size", "the maximum size of the output (256M)"),
	on: option("engine", "run it as a job of this engine ($BG_ENGINE)", {
		from: [...engineNames, "local"],
	}),
	"engine-args": engineArgsFlag,
	"on-end": option(
		"line",
		"run this line in /bin/sh after the end (a JSON array is an argv); it gets $BG_ENDED_ID and $BG_ENDED_STATUS",
	),
	...launchReplyFlags,
} as const;

/** The flags of launch and run as options. */
export const toLaunchOptions = (
	args: ParsedArgs<typeof launchFlags> & { description: string },
): LaunchOptions => ({
	description: args.description,
	cwd: args.cwd,
	env: splitValues(args.env),
	stdin: args.stdin,
	tags: splitValues(args.tag),
	timeout: args.timeout,
	delay: args.delay,
	after: args.after,
	afterAny: args["after-any"],
	priority: args.priority,
	retries: args.retries,
	unique: args.unique,
	maxOutput: args["max-output"],
	onEnd: args["on-end"],
	on: args.on,
	engineArgs: args["engine-args"],
});

/**
 * Launches all plans or none, and prints them: a batch as one JSON object or a line each. If that fails, the
 * error names the tasks, which were launched. With `wait`, a JSON reply comes after the end and has it.
 * @returns the exit code of the wait.
 */
export async function launchAndReply(
	plans: readonly NamedPlan[],
	format: FormatArguments & { quiet?: boolean; wait?: boolean },
	{ isBatch = false } = {},
): Promise<number | undefined> {
	const launched = await launchPlans(plans.map(({ plan }) => plan));
	const asJson = !format.quiet && isJsonWanted(format);
	const describe = isBatch ? describeInBatch : describeLaunched;
	const tasks = launched.map((each, index) =>
		toLaunchReply(each, plans[index]?.name),
	);
	const lines = launched.map((each) => {
		if (!asJson) for (const warning of each.warnings) warn(warning);
		return `${format.quiet ? each.task.id : describe(each)}\n`;
	});
	// A script that asks for ids alone expects nothing else.
	const isWarned = !asJson && (!format.quiet || isTerminal(2));
	if (isWarned && launched.some(({ waitsFor }) => waitsFor))
		warn(queuePausedWarning);
	try {
		if (asJson && format.wait) {
			// The reply comes after the end.
		} else if (asJson) writeJson(isBatch ? { tasks } : tasks[0]);
		else writeAll(1, lines.join(""));
	} catch (error) {
		if (!(error instanceof PrintError)) throw error;
		const joinIds = (each: readonly LaunchResult[]) => {
			const ids = each.map(({ task }) => task.id);
			return joinFirst(ids, maxNamed, " (bg list shows them)");
		};
		const fresh = joinIds(launched.filter(({ existing }) => !existing));
		const known = joinIds(launched.filter(({ existing }) => existing));
		const parts = [
			fresh && `launched ${fresh}`,
			known && `${known} existed already`,
		].filter((part) => part);
		throw new PrintError(`${parts.join(", ")}, but ${error.message}`);
	}
	if (!format.wait) return undefined;
	return waitAndReply(tasks, { quiet: format.quiet, json: asJson, isBatch });
}

/**
 * Waits for launched tasks and shows how they ended.
 * @param replies their JSON replies, which get their ends.
 */
async function waitAndReply(
	replies: readonly ReturnType<typeof toLaunchReply>[],
	options: { quiet: boolean | undefined; json: boolean; isBatch: boolean },
): Promise<number> {
	const { pickEnd, waitAndShow, warnMissing } = await import("./verbs/wait.ts");
	const { quiet, json, isBatch } = options;
	const store = openStore();
	const ids = [...new Set(replies.map(({ id }) => id))];
	const shown = await waitAndShow(store, { ids }, { json, quiet, onInterrupt });
	if (typeof shown === "number") return shown;
	const { ended, missing } = shown.waited;
	const ends = new Map(ended.map((task) => [task.id, task]));
	let { isRead } = shown;
	if (json) {
		const tasks = replies.map((each) => {
			const end = ends.get(each.id);
			const whole = { ...each, ...(end && pickEnd(end)) };
			return truncateRecord(whole, `status ${each.id} --full`);
		});
		isRead = writeJson(isBatch ? { tasks } : tasks[0]);
	}
	if (isRead && !quiet) for (const task of ended) dismissNotice(store, task);
	for (const id of missing) warnMissing(id);
	if (missing.length) return exitCodes.missing;
	const [first] = ended;
	return isBatch || !first
		? ended.every(({ status }) => status === "completed")
			? exitCodes.ok
			: exitCodes.failed
		: toExitCode(first);
}

// --- internal ---

/** The exit code for the end of one task: that of a command that ended by itself, as a shell says it. */
function toExitCode(task: ReconciledTask): number {
	const { kind, reason, status, exit_code, signal } = task;
	const isOwn = kind === "command" && reason === "exit";
	if (isOwn && exit_code !== undefined) return exit_code;
	const { constants } = process.getBuiltinModule("node:os");
	const number = constants.signals[signal as NodeJS.Signals];
	if (isOwn && number) return 128 + number;
	return status === "completed" ? exitCodes.ok : exitCodes.failed;
}

/** At a prompt `bg` may be the shell function of the completions. Programs and agents need the path. */
const formatCall = (call: string) =>
	isTerminal(2) ? `bg ${call}` : formatProgramCall(call);

/** Says that a signal ended the wait and not the tasks. */
function onInterrupt(left: readonly string[]): void {
	const [only] = left.length === 1 ? left : [];
	const what = only ? `${only} goes on` : `${left.length} tasks go on`;
	const call = only ? `wait ${only}` : "wait";
	try {
		warn(`stopped waiting; ${what} (${formatCall(call)})`);
	} catch {
		// The terminal may be gone.
	}
}

/** The most ids in one message. */
const maxNamed = 50;

function describeLaunched({ task, existing }: LaunchResult): string {
	const what = existing ? `${task.status} already:` : "launched";
	return `${what} ${task.id} (bg wait ${task.id}, bg output ${task.id})`;
}

const describeInBatch = ({ task }: LaunchResult) =>
	`${task.id}  ${toLine(task.description, 60)}`;

/** A launched task in a JSON reply. */
const toLaunchReply = (launched: LaunchResult, name?: string) => ({
	id: launched.task.id,
	taskId: launched.task.id,
	sessionId: launched.task.session_id,
	description: launched.task.description,
	status: launched.task.status,
	...(launched.existing && { existing: true }),
	...(launched.waitsFor && { waits_for: launched.waitsFor }),
	...(launched.warnings.length && { warnings: launched.warnings }),
	...(name && { name }),
});
