/** Flags and replies of the verbs that launch tasks. */
import type { LaunchResult } from "../control/launch.ts";
import type { LaunchOptions } from "../control/options.ts";
import { PrintError } from "../error.ts";
import { writeAll } from "../print/text.ts";
import { splitValues } from "./arguments.ts";
import { formatFlags, reply, warn } from "./reply.ts";
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
}: LaunchResult): object {
	return {
		taskId: task.id,
		sessionId: task.session_id,
		description: task.description,
		status: task.status,
		...(existing && { existing }),
		...(warnings.length && { warnings }),
	};
}

/** Prints the reply of a launch. */
export function replyLaunched(
	{ task, warnings, existing }: LaunchResult,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): void {
	const { id, status } = task;
	const launched = { task, warnings, ...(existing && { existing }) };
	printLaunched([launched], () => {
		if (format.quiet) {
			for (const warning of warnings) warn(warning);
			writeAll(1, `${id}\n`);
			return;
		}
		reply(format, toLaunchReply(launched), () => {
			for (const warning of warnings) warn(warning);
			const what = existing ? `${status} already:` : "launched";
			return `${what} ${id} (bg wait ${id}, bg output ${id})`;
		});
	});
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
