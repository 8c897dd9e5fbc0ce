import { readTextFile } from "../../control/launch/options.ts";
import { planDroid } from "../../control/launch/plan.ts";
import { usage } from "../../error.ts";
import { toLine } from "../../print/text.ts";
import { quoteForShell } from "../../process/self.ts";
import { autonomies } from "../../task/schema.ts";
import {
	type Arg,
	type CheckedCall,
	checkArguments,
	selectFlags,
	splitValues,
	tokenize,
} from "../arguments.ts";
import {
	launchAndReply,
	launchFlags,
	launchReplyFlags,
	tokensFlag,
	toLaunchOptions,
} from "../launch-flags.ts";
import { defineVerb, flag, option, optional, required } from "../verb.ts";

const args = {
	description: required("what the task is about, in a few words"),
	prompt: required("what the droid is to do (not with --prompt-file)"),
	droid_name: optional("the same as --droid"),
	parent_session_id: optional("the same as --session"),
	autonomy_level: optional("the same as --autonomy", { from: autonomies }),
	model_name: optional("the same as --model"),
	droid: option("name", "the droid (executor-med); bg droids lists them"),
	session: option("id", "the parent session ($BG_SESSION_ID, else main)"),
	autonomy: option("level", "what the droid may do without asking (medium)", {
		from: autonomies,
	}),
	model: option("name", "the model, instead of the definition's"),
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
	"max-tokens": tokensFlag,
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

/** The flags that say something of all tasks of a batch. */
const ofBatch = ["batch", "on", "engine-args"];

/** Whether a flag says something of a task, and not of the reply. */
function isOfTask(name: string): boolean {
	return !Object.hasOwn(launchReplyFlags, name);
}

/** The flags that are keys of a batch line, as keys. */
export const batchFlagKeys = Object.keys(batchArgs)
	.filter((name) => name !== "batch" && isOfTask(name))
	.map((name) => name.replaceAll("-", "_"));

/** What `bg help launch` says of a batch file. */
const batchNotes = {
	"a line of a --batch file is a JSON object with these keys": [
		["description", "what the task is about; required"],
		[
			"prompt, or command",
			"a droid's prompt (text), or a command (list of words)",
		],
		["name", "a name for after and after_any of other lines"],
		[
			"the flags",
			`${batchFlagKeys.join(", ")}; those for droids cannot be combined with command`,
		],
		["tag or tags", "one text, or a list"],
		["env", 'an object, or a list of "NAME=VALUE"'],
		["after, after_any", "one id or name, comma-separated ones, or a list"],
		["on_end", "one text for /bin/sh, or a list of words"],
		["worktree, private", "true or false; worktree also a name"],
		[
			"on",
			"the same on all lines; --on and --engine-args apply to lines without these keys",
		],
	],
	"two lines, for example": [
		[
			'{"name": "build", "description": "b", "command": ["make"], "tag": "ci"}',
			"a command",
		],
		[
			'{"description": "review", "prompt": "Review it.", "after": "build"}',
			"a droid that starts when the command has completed",
		],
	],
} as const;

export default defineVerb({
	name: "launch",
	description: "Start a droid, in the background",
	group: "start",
	examples: {
		'bg launch "fix the tests" "Run the tests and fix what fails."':
			"starts the default droid",
		'bg launch -q "review" "Review the last commit." --droid code-reviewer':
			"starts another droid, and prints only the id",
		"bg launch --batch tasks.jsonl":
			"starts a task for each line of a file, or none if a line is invalid",
	},
	args,
	notes: batchNotes,
	read: parseLaunch,
	run: async ({ args: parsed }) => {
		if (parsed.batch !== undefined) {
			const { planBatch } = await import("../../control/launch/batch.ts");
			const engine = { on: parsed.on, engineArgs: parsed["engine-args"] };
			const plans = planBatch(readTextFile("--batch", parsed.batch), engine);
			return launchAndReply(plans, parsed, { isBatch: true });
		}
		const plan = planDroid({
			...toLaunchOptions(parsed),
			prompt: parsed.prompt,
			promptPath: parsed["prompt-file"],
			droid: parsed.droid ?? parsed.droid_name,
			parentSession: parsed.session ?? parsed.parent_session_id,
			autonomy: parsed.autonomy ?? parsed.autonomy_level,
			model: parsed.model ?? parsed.model_name,
			private: parsed.private,
			maxTokens: parsed["max-tokens"],
			worktree: parsed.worktree,
		});
		return launchAndReply([{ plan }], parsed);
	},
});

/** With --prompt-file there is no prompt argument, with --batch there are only flags. */
function parseLaunch(argv: readonly string[]): CheckedCall {
	const tokens = tokenize(batchArgs, argv);
	const has = (flag: string) =>
		tokens.some((token) => token.kind === "flag" && token.name === flag);
	if (has("batch")) {
		const batch = checkArguments("launch", batchArgs, argv);
		const lost = Object.keys(batch.values).find(
			(name) => !ofBatch.includes(name) && isOfTask(name),
		);
		if (lost && lost !== "help")
			throw usage(
				`--${lost} cannot be combined with --batch: set "${lost.replaceAll("-", "_")}" on each line`,
			);
		return batch;
	}
	const call = checkArguments(
		"launch",
		has("prompt-file") ? argsWithoutPrompt : args,
		argv,
	);
	if (!call.values.help) checkPlaces(call.values);
	return call;
}

type Values = CheckedCall["values"];

/** The flags that may be given by their places instead, and the names of the places. */
const places = [
	["droid", "droid_name"],
	["session", "parent_session_id"],
	["autonomy", "autonomy_level"],
	["model", "model_name"],
] as const;

/**
 * Checks that nothing is given twice or in the place of something else.
 * @throws BgError (usage) that shows the right line.
 */
function checkPlaces(values: Values): void {
	const isAutonomy = (word: unknown) =>
		autonomies.some((level) => level === String(word).toLowerCase());
	const byName: Values = { ...values };
	const faults: string[] = [];
	for (const [flag, place] of places) {
		const word = values[place];
		if (word === undefined) continue;
		delete byName[place];
		const given = byName[flag];
		if (flag !== "autonomy" && flag !== "model" && isAutonomy(word)) {
			faults.push(
				`${word} is an autonomy level, but stands in the place of the ${flag}`,
			);
			byName.autonomy ??= String(word).toLowerCase();
		} else if (values[flag] !== undefined)
			faults.push(
				`the ${flag} is given twice, as an argument and by --${flag}`,
			);
		// After a level in an earlier place, the model is in the place of the level.
		else if (flag === "autonomy" && given !== undefined && !isAutonomy(word))
			byName.model ??= word;
		else byName[flag] ??= word;
	}
	if (faults[0]) throw usage(`${faults[0]}: ${formatLine(byName)}`);
}

/** The longest prompt in a line to type, in characters. */
const maxShownPrompt = 200;

/** Formats a call whose options are all flags. */
function formatLine({ description = "", prompt, ...flags }: Values): string {
	const words = Object.entries(flags).flatMap(([name, value]) =>
		value === true
			? [`--${name}`]
			: splitValues(value).map((each) => formatFlag(name, each)),
	);
	const shown =
		prompt === toLine(String(prompt), maxShownPrompt) ? prompt : "<prompt>";
	const texts = prompt === undefined ? [description] : [description, shown];
	const quoted = texts.map((text) => quoteForShell(String(text)));
	return texts.some((text) => String(text).startsWith("-"))
		? ["bg launch", ...words, "--", ...quoted].join(" ")
		: ["bg launch", ...quoted, ...words].join(" ");
}

function formatFlag(name: string, value: string): string {
	const { inline }: Arg = batchArgs[name] ?? { type: "string" };
	if (!inline) return `--${name} ${quoteForShell(value)}`;
	return value ? `--${name}=${quoteForShell(value)}` : `--${name}`;
}
