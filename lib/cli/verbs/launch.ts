import type { ArgsDef } from "citty";
import { type LaunchResult, launchPlans } from "../../control/launch.ts";
import { readTextFile } from "../../control/options.ts";
import { planDroid } from "../../control/plan.ts";
import { exitCodes, usage } from "../../error.ts";
import { toJson, toLine, writeAll } from "../../print/text.ts";
import { autonomies } from "../../task/schema.ts";
import { findFirstPositional, parseArguments } from "../arguments.ts";
import {
	launchFlags,
	printLaunched,
	replyLaunched,
	toLaunchOptions,
	toLaunchReply,
} from "../launch-flags.ts";
import { isJsonWanted, warn } from "../reply.ts";
import { defineVerb } from "../verb.ts";

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

export default defineVerb({
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

/** `launch --batch`: answers one line a task, in the order of the batch. */
async function launchBatch(
	path: string,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): Promise<number> {
	const { planBatch } = await import("../../control/batch.ts");
	const named = planBatch(readTextFile("--batch", path));
	const launched = launchPlans(named.map(({ plan }) => plan));
	const asJson = !format.quiet && isJsonWanted(format);
	printLaunched(launched, () => {
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
