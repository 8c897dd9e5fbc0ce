/** The flags and the reply of everything that launches tasks. */
import type { LaunchResult } from "../control/launch.ts";
import type { LaunchOptions } from "../control/options.ts";
import { PrintError } from "../error.ts";
import { writeAll } from "../print/text.ts";
import { splitValues } from "./arguments.ts";
import { formatFlags, reply, warn } from "./reply.ts";

/** How a launch answers. */
export const launchReplyFlags = {
	quiet: {
		type: "boolean",
		alias: "q",
		description: "answer with the id alone",
	},
	...formatFlags,
} as const;

/** Flags of everything that is launched. */
export const launchFlags = {
	cwd: {
		type: "string",
		valueHint: "dir",
		from: "folders",
		description: "where it runs",
	},
	env: {
		type: "string",
		valueHint: "name=value",
		multiple: true,
		description: "a variable of its environment; may be repeated",
	},
	stdin: {
		type: "string",
		valueHint: "file",
		from: "files",
		description: "its standard input (/dev/null)",
	},
	tag: {
		type: "string",
		valueHint: "tag",
		multiple: true,
		description: "a word to find it by; may be repeated",
	},
	timeout: {
		type: "string",
		valueHint: "90s|30m|2h",
		description: "stop it when it has run this long",
	},
	after: {
		type: "string",
		valueHint: "ids",
		from: "tasks",
		description: "start once these tasks completed (commas between)",
	},
	"after-any": {
		type: "string",
		valueHint: "ids",
		from: "tasks",
		description: "start once these are over, whatever way",
	},
	priority: {
		type: "string",
		valueHint: "number",
		description: "the higher one starts first (0)",
	},
	retries: {
		type: "string",
		valueHint: "number",
		description: "try again so often where it fails (0)",
	},
	unique: {
		type: "string",
		valueHint: "key",
		description: "answer with the task that has this key, while it is not over",
	},
	"max-output": {
		type: "string",
		valueHint: "size",
		description: "kill it when it has written more (256M)",
	},
	"on-end": {
		type: "string",
		valueHint: "command",
		description: "run this once it is over (BG_ENDED_ID, BG_ENDED_STATUS)",
	},
	...launchReplyFlags,
} as const;

/** What the flags of every launch say. */
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

/** What a launch answers in JSON. */
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

/** What every launch answers. */
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

/** Prints what a launch answers. If that fails, the error names the tasks, which are launched. */
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

/** The most ids that one message names. */
const maxNamed = 50;

const few = (ids: readonly string[]) =>
	ids.slice(0, maxNamed).join(" ") +
	(ids.length > maxNamed
		? ` and ${ids.length - maxNamed} more (bg list shows them)`
		: "");
