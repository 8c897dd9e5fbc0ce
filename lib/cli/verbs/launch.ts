import { type LaunchResult, launchPlans } from "../../control/launch.ts";
import { readTextFile } from "../../control/options.ts";
import { planDroid } from "../../control/plan.ts";
import { exitCodes, usage } from "../../error.ts";
import { toJson, toLine, writeAll } from "../../print/text.ts";
import { autonomies } from "../../task/schema.ts";
import {
	type Args,
	type CheckedCall,
	checkArguments,
	findFirstPositional,
} from "../arguments.ts";
import {
	launchFlags,
	printLaunched,
	replyLaunched,
	toLaunchOptions,
	toLaunchReply,
	warnIfPaused,
} from "../launch-flags.ts";
import { isJsonWanted, warn } from "../reply.ts";
import { defineVerb } from "../verb.ts";

const args = {
	description: {
		type: "positional",
		required: true,
		description: "what the task is about, in a few words",
	},
	prompt: {
		type: "positional",
		required: true,
		description: "what the droid is to do (not with --prompt-file)",
	},
	droid: {
		type: "positional",
		required: false,
		description: "the droid definition (executor-med)",
	},
	parent_session_id: {
		type: "positional",
		required: false,
		description: "the parent session ($BG_SESSION_ID, else main)",
	},
	autonomy: {
		type: "positional",
		required: false,
		from: autonomies,
		description: "what the droid may do without asking (medium)",
	},
	model: {
		type: "positional",
		required: false,
		description: "the model, instead of the definition's",
	},
	"prompt-file": {
		type: "string",
		valueHint: "file",
		from: "files",
		description: "read the prompt from a file (-: standard input)",
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
		description: "launch all tasks of a JSON Lines file (-: standard input)",
	},
	...launchFlags,
} as const;

/** The arguments with --prompt-file: the droid follows the description. */
const { prompt: _, ...argsWithoutPrompt } = args;

/** The arguments with --batch: flags only. */
const batchArgs = Object.fromEntries(
	Object.entries(args).filter(([, { type }]) => type !== "positional"),
) as Args;

export default defineVerb({
	meta: { name: "launch", description: "Start a droid, in the background" },
	group: "start",
	examples: [
		[
			'bg launch "fix the tests" "Run the tests and fix what fails."',
			"with the default droid",
		],
		[
			'bg launch -q "review" "Review the last commit." reviewer main high',
			"with the definition reviewer; prints only the id",
		],
		[
			"bg launch --batch tasks.jsonl",
			"all lines of a file; none if one is invalid",
		],
	],
	args,
	read: parseLaunch,
	run: async ({ args: parsed }) => {
		if (parsed.batch !== undefined) return launchBatch(parsed.batch, parsed);
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

/**
 * Flags come before the description or after the prompt. The word after the description is the prompt, even
 * if it begins with a dash.
 */
function parseLaunch(argv: readonly string[]): CheckedCall {
	const at = findFirstPositional(argsWithoutPrompt, argv);
	const before = argv.slice(0, at);
	if (before.some((each) => /^--batch(=|$)/.test(each)))
		return checkArguments("launch", batchArgs, argv);
	const byFile = before.some((each) => /^--prompt-file(=|$)/.test(each));
	if (byFile || at >= argv.length)
		return checkArguments("launch", argsWithoutPrompt, argv);
	const [description = "", prompt, ...after] = argv.slice(at);
	// The description is checked with the other arguments. The prompt is not checked.
	const others = [...before, ...after];
	others.splice(findFirstPositional(argsWithoutPrompt, others), 0, description);
	const { values } = checkArguments("launch", argsWithoutPrompt, others);
	if (prompt === undefined && !values.help)
		throw usage(
			"bg launch needs <prompt>: what the droid is to do, right after the description",
		);
	return { args, values: { ...values, prompt } };
}

/** `launch --batch`: prints one line per task, in the order of the batch. */
async function launchBatch(
	path: string,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): Promise<number> {
	const { planBatch } = await import("../../control/batch.ts");
	const named = planBatch(readTextFile("--batch", path));
	const launched = launchPlans(named.map(({ plan }) => plan));
	const asJson = !format.quiet && isJsonWanted(format);
	printLaunched(launched, () => {
		if (!asJson) warnIfPaused(launched, format);
		const lines = launched.map((each, index) => {
			const { name } = named[index] ?? {};
			const { id, description } = each.task;
			if (asJson)
				return toJson({ ...toLaunchReply(each), ...(name && { name }) });
			for (const warning of each.warnings) warn(warning);
			return format.quiet ? id : `${id}  ${toLine(description, 60)}`;
		});
		writeAll(1, lines.map((line) => `${line}\n`).join(""));
	});
	return exitCodes.ok;
}
