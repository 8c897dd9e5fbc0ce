/** Flags and replies of the verbs that launch tasks. */
import type { LaunchResult } from "../control/launch.ts";
import type { LaunchOptions } from "../control/options.ts";
import { PrintError } from "../error.ts";
import { isTerminal, writeAll } from "../print/text.ts";
import { splitValues } from "./arguments.ts";
import { formatFlags, queuePausedWarning, reply, warn } from "./reply.ts";

/** Flags for the reply of a launch. */
export const launchReplyFlags = {
	quiet: { type: "boolean", alias: "q", description: "print only the id" },
	...formatFlags,
} as const;

/** Flags of launch and run. */
export const launchFlags = {
	cwd: {
		type: "string",
		valueHint: "dir",
		from: "folders",
		description: "the working directory",
	},
	env: {
		type: "string",
		valueHint: "name=value",
		multiple: true,
		description: "an environment variable; may be repeated",
	},
	stdin: {
		type: "string",
		valueHint: "file",
		from: "files",
		description: "the standard input (/dev/null)",
	},
	tag: {
		type: "string",
		valueHint: "tag",
		multiple: true,
		description: "a tag for bg list --tag; may be repeated",
	},
	timeout: {
		type: "string",
		valueHint: "90s|30m|2h",
		description: "the maximum run time",
	},
	after: {
		type: "string",
		valueHint: "ids",
		from: "tasks",
		description: "start after these tasks complete (comma-separated)",
	},
	"after-any": {
		type: "string",
		valueHint: "ids",
		from: "tasks",
		description: "start after these tasks end, in any status",
	},
	priority: {
		type: "string",
		valueHint: "number",
		description: "higher starts first (0)",
	},
	retries: {
		type: "string",
		valueHint: "number",
		description: "how often to retry after an error (0)",
	},
	unique: {
		type: "string",
		valueHint: "key",
		description: "if an unfinished task has this key, return it instead",
	},
	"max-output": {
		type: "string",
		valueHint: "size",
		description: "the maximum size of the output (256M)",
	},
	"on-end": {
		type: "string",
		valueHint: "command",
		description: "run this after the end (BG_ENDED_ID, BG_ENDED_STATUS)",
	},
	...launchReplyFlags,
} as const;

/** The flags of launch and run as options. */
export function toLaunchOptions(
	args: Readonly<
		Record<"description", string> &
			Partial<
				Record<Exclude<keyof typeof launchFlags, BooleanFlagName>, string>
			>
	>,
): LaunchOptions {
	return {
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
	};
}

type BooleanFlagName = "quiet" | keyof typeof formatFlags;

/** A launched task in a JSON reply. */
export function toLaunchReply({
	task,
	warnings,
	existing,
	waitsFor,
}: LaunchResult): object {
	return {
		taskId: task.id,
		sessionId: task.session_id,
		description: task.description,
		status: task.status,
		...(existing && { existing }),
		...(waitsFor && { waits_for: waitsFor }),
		...(warnings.length && { warnings }),
	};
}

/** Prints the reply of a launch. */
export function replyLaunched(
	result: LaunchResult,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): void {
	const { task, warnings, existing } = result;
	const { id, status } = task;
	printLaunched([result], () => {
		if (format.quiet) {
			for (const warning of warnings) warn(warning);
			writeAll(1, `${id}\n`);
			warnIfPaused([result], { quiet: true });
			return;
		}
		reply(format, toLaunchReply(result), () => {
			for (const warning of warnings) warn(warning);
			warnIfPaused([result]);
			const what = existing ? `${status} already:` : "launched";
			return `${what} ${id} (bg wait ${id}, bg output ${id})`;
		});
	});
}

/** Says once that the queue is paused. A script that asked for ids alone reads it nowhere, a person does. */
export function warnIfPaused(
	launched: readonly LaunchResult[],
	{ quiet = false } = {},
): void {
	if (quiet && !isTerminal(2)) return;
	if (launched.some(({ waitsFor }) => waitsFor)) warn(queuePausedWarning);
}

/** Prints the reply of a launch. If that fails, the error names the tasks, which were launched. */
export function printLaunched(
	launched: readonly LaunchResult[],
	print: () => void,
): void {
	try {
		print();
	} catch (error) {
		if (!(error instanceof PrintError)) throw error;
		const idsOf = (existing: boolean) =>
			launched
				.filter((each) => (each.existing ?? false) === existing)
				.map(({ task }) => task.id);
		const [fresh, known] = [idsOf(false), idsOf(true)];
		const parts = [
			fresh.length && `launched ${few(fresh)}`,
			known.length && `${few(known)} existed already`,
		].filter((part) => part);
		throw new PrintError(`${parts.join(", ")}, but ${error.message}`);
	}
}

// --- internal ---

/** The most ids in one message. */
const maxNamed = 50;

const few = (ids: readonly string[]) =>
	ids.slice(0, maxNamed).join(" ") +
	(ids.length > maxNamed
		? ` and ${ids.length - maxNamed} more (bg list shows them)`
		: "");
