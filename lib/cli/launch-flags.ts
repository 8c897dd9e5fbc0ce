/** Flags and replies of the verbs that launch tasks. */
import type { ParsedArgs } from "citty";
import type { NamedPlan } from "../control/launch/batch.ts";
import { type LaunchResult, launchPlans } from "../control/launch/launch.ts";
import type { LaunchOptions } from "../control/launch/options.ts";
import { PrintError } from "../error.ts";
import { isTerminal, joinFirst, toLine, writeAll } from "../print/text.ts";
import { splitValues } from "./arguments.ts";
import {
	type FormatArguments,
	formatFlags,
	isJsonWanted,
	queuePausedWarning,
	warn,
	writeJson,
} from "./reply.ts";
import { flag, option } from "./verb.ts";

/** Flags for the reply of a launch. */
export const launchReplyFlags = {
	quiet: flag("print only the id", { alias: "q" }),
	...formatFlags,
} as const;

/** Flags of launch and run. */
export const launchFlags = {
	cwd: option("dir", "the working directory", { from: "folders" }),
	env: option("name=value", "an environment variable; may be repeated", {
		multiple: true,
	}),
	stdin: option("file", "the standard input (/dev/null)", { from: "files" }),
	tag: option("tag", "a tag for bg list --tag; may be repeated", {
		multiple: true,
	}),
	timeout: option("90s|30m|2h", "the maximum run time"),
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
	"on-end": option(
		"command",
		"run this after the end (BG_ENDED_ID, BG_ENDED_STATUS)",
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
	after: args.after,
	afterAny: args["after-any"],
	priority: args.priority,
	retries: args.retries,
	unique: args.unique,
	maxOutput: args["max-output"],
	onEnd: args["on-end"],
});

/**
 * Launches all plans or none, and prints them: a batch as one JSON object or a line each. If that fails, the
 * error names the tasks, which were launched.
 */
export async function launchAndReply(
	plans: readonly NamedPlan[],
	format: FormatArguments & { quiet?: boolean },
	{ isBatch = false } = {},
): Promise<void> {
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
		if (asJson) writeJson(isBatch ? { tasks } : tasks[0]);
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
}

// --- internal ---

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
