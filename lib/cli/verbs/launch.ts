import { readTextFile } from "../../control/options.ts";
import { planDroid } from "../../control/plan.ts";
import { usage } from "../../error.ts";
import { toLine } from "../../print/text.ts";
import { autonomies } from "../../task/schema.ts";
import {
	type CheckedCall,
	checkArguments,
	findFirstPositional,
	selectFlags,
} from "../arguments.ts";
import {
	launchAndReply,
	launchFlags,
	toLaunchOptions,
} from "../launch-flags.ts";
import { defineVerb, flag, option, optional, required } from "../verb.ts";

const args = {
	description: required("what the task is about, in a few words"),
	prompt: required("what the droid is to do (not with --prompt-file)"),
	droid: optional("the droid definition (executor-med)"),
	parent_session_id: optional("the parent session ($BG_SESSION_ID, else main)"),
	autonomy: optional("what the droid may do without asking (medium)", {
		from: autonomies,
	}),
	model: optional("the model, instead of the definition's"),
	"prompt-file": option(
		"file",
		"read the prompt from a file (-: standard input)",
		{ from: "files" },
	),
	private: flag("keep the prompt out of argv and of the record"),
	worktree: option(
		"name",
		"work in a git worktree (--worktree or --worktree=name)",
		{ inline: true },
	),
	batch: option(
		"file",
		"launch all tasks of a JSON Lines file (-: standard input)",
		{ from: "files" },
	),
	...launchFlags,
} as const;

/** The arguments with --prompt-file: the droid follows the description. */
const { prompt: _, ...argsWithoutPrompt } = args;

/** The arguments with --batch: flags only. */
const batchArgs = selectFlags(args);

export default defineVerb({
	name: "launch",
	description: "Start a droid, in the background",
	group: "start",
	examples: {
		'bg launch "fix the tests" "Run the tests and fix what fails."':
			"with the default droid",
		'bg launch -q "review" "Review the last commit." reviewer main high':
			"with the definition reviewer; prints only the id",
		"bg launch --batch tasks.jsonl":
			"all lines of a file; none if one is invalid",
	},
	args,
	read: parseLaunch,
	run: async ({ args: parsed }) => {
		if (parsed.batch !== undefined) {
			const { planBatch } = await import("../../control/batch.ts");
			const plans = planBatch(readTextFile("--batch", parsed.batch));
			launchAndReply(
				plans,
				parsed,
				({ task }) => `${task.id}  ${toLine(task.description, 60)}`,
			);
			return;
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
		launchAndReply([{ plan }], parsed);
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
