import type { ArgsDef } from "citty";
import { formatFlags, reply, warn } from "../answer.ts";
import {
	findFirstPositional,
	parseArguments,
	splitValues,
} from "../arguments.ts";
import type { LaunchOptions } from "../check.ts";
import { exitCodes, PrintError, usage } from "../error.ts";
import { type LaunchResult, launchPlans, planDroid } from "../launch.ts";
import { writeAll } from "../print.ts";
import { autonomies } from "../task.ts";
import { defineVerb } from "../verb.ts";

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

const args = {
	description: {
		type: "positional",
		required: true,
		description: "what it is about, in a few words",
	},
	prompt: {
		type: "positional",
		required: true,
		description: "what the droid shall do (not with --prompt-file)",
	},
	droid: {
		type: "positional",
		required: false,
		description: "its definition (executor-med)",
	},
	parent_session_id: {
		type: "positional",
		required: false,
		description: "whose task it is ($BG_SESSION_ID, else main)",
	},
	autonomy: {
		type: "positional",
		required: false,
		from: autonomies,
		description: "what it may do by itself (medium)",
	},
	model: {
		type: "positional",
		required: false,
		description: "instead of its definition's",
	},
	"prompt-file": {
		type: "string",
		valueHint: "file",
		from: "files",
		description: "the prompt stands in a file (-: standard input)",
	},
	private: {
		type: "boolean",
		description: "keep the prompt out of argv and of the record",
	},
	worktree: {
		type: "string",
		inline: true,
		valueHint: "name",
		description: "work in a git worktree (--worktree or --worktree=name)",
	},
	batch: {
		type: "string",
		valueHint: "file",
		from: "files",
		description: "launch what stands in a file, JSON lines (-: standard input)",
	},
	...launchFlags,
} as const;

/** Without its prompt: with --prompt-file nothing follows the description but the droid. */
const { prompt: _, ...argsWithoutPrompt } = args;

/** With --batch all stands in the file. */
const batchArgs = Object.fromEntries(
	Object.entries(args).filter(([, { type }]) => type !== "positional"),
) as ArgsDef;

export const launch = defineVerb({
	meta: {
		name: "launch",
		description: "Start a droid in the background and return at once",
	},
	examples: [
		[
			'bg launch "fix the tests" "Run the tests and fix what fails."',
			"with the usual droid",
		],
		[
			'bg launch -q "review" "Review the last commit." reviewer main high',
			"a droid of yours; answers with the id alone",
		],
		[
			"bg launch --batch tasks.jsonl",
			"all lines of a file, or none where one is wrong",
		],
	],
	args,
	read: parseLaunch,
	run: async ({ args: parsed }) => {
		if (parsed.batch !== undefined) {
			const { launchBatch } = await import("./batch.ts");
			return launchBatch(parsed.batch, parsed);
		}
		const plan = planDroid({
			...toLaunchOptions(parsed),
			prompt: parsed.prompt,
			promptPath: parsed["prompt-file"],
			droid: parsed.droid,
			parentSession: parsed.parent_session_id,
			autonomy: parsed.autonomy,
			model: parsed.model,
			private: parsed.private,
			worktree: parsed.worktree,
		});
		replyLaunched(launchPlans([plan])[0] as LaunchResult, parsed);
		return exitCodes.ok;
	},
});

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

/**
 * Flags stand before the description or after the prompt; what stands right after the description
 * is the prompt, whatever it looks like.
 */
function parseLaunch(argv: readonly string[]) {
	const at = findFirstPositional(argsWithoutPrompt, argv);
	const before = argv.slice(0, at);
	if (before.some((each) => /^--batch(=|$)/.test(each)))
		return parseArguments("launch", batchArgs, argv);
	const byFile = before.some((each) => /^--prompt-file(=|$)/.test(each));
	if (byFile || at >= argv.length)
		return parseArguments("launch", argsWithoutPrompt, argv);
	const [description = "", prompt, ...after] = argv.slice(at);
	// The description is read with the rest; the prompt is what it is.
	const others = [...before, ...after];
	others.splice(findFirstPositional(argsWithoutPrompt, others), 0, description);
	const parsed = parseArguments("launch", argsWithoutPrompt, others);
	if (prompt === undefined && !parsed.help)
		throw usage(
			"bg launch needs <prompt>: what the droid shall do, right after the description",
		);
	return { ...parsed, prompt };
}

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
