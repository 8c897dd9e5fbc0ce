import { defineCommand } from "citty";
import { answer, formatFlags, remark } from "../answer.ts";
import { firstPositional, readArguments, valuesOf } from "../arguments.ts";
import { BgError } from "../error.ts";
import { type Launched, launchDroid } from "../launch.ts";
import { writeAll } from "../print.ts";
import { autonomies } from "../task.ts";

/** Flags of everything that is launched. */
export const launchFlags = {
	cwd: { type: "string", valueHint: "dir", description: "where it runs" },
	env: {
		type: "string",
		valueHint: "name=value",
		multiple: true,
		description: "a variable of its environment; may be repeated",
	},
	stdin: {
		type: "string",
		valueHint: "file",
		description: "its standard input (/dev/null)",
	},
	tag: {
		type: "string",
		valueHint: "tag",
		multiple: true,
		description: "a word to find it by; may be repeated",
	},
	quiet: {
		type: "boolean",
		alias: "q",
		description: "answer with the id alone",
	},
	...formatFlags,
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
		description: `${autonomies.join(", ")} (medium)`,
	},
	model: {
		type: "positional",
		required: false,
		description: "instead of its definition's",
	},
	"prompt-file": {
		type: "string",
		valueHint: "file",
		description: "the prompt stands in a file (-: standard input)",
	},
	private: {
		type: "boolean",
		description: "keep the prompt out of argv and of the record",
	},
	...launchFlags,
} as const;

/** Without its prompt: with --prompt-file nothing follows the description but the droid. */
const { prompt: _, ...argsWithoutPrompt } = args;

export const launch = defineCommand({
	meta: {
		name: "launch",
		description: "Start a droid in the background and return at once",
	},
	args,
	run: ({ args: parsed }) => {
		const launched = launchDroid({
			description: parsed.description,
			prompt: parsed.prompt,
			promptPath: parsed["prompt-file"],
			droid: parsed.droid,
			parentSession: parsed.parent_session_id,
			autonomy: parsed.autonomy,
			model: parsed.model,
			private: parsed.private,
			cwd: parsed.cwd,
			env: valuesOf(parsed.env),
			stdin: parsed.stdin,
			tags: valuesOf(parsed.tag),
		});
		tellLaunched(launched, parsed);
	},
});

/**
 * Flags stand before the description or after the prompt; what stands right after the description
 * is the prompt, whatever it looks like.
 */
export function readLaunch(argv: readonly string[]) {
	const at = firstPositional(argsWithoutPrompt, argv);
	const before = argv.slice(0, at);
	const byFile = before.some((each) => /^--prompt-file(=|$)/.test(each));
	if (byFile || at >= argv.length)
		return readArguments("launch", argsWithoutPrompt, argv);
	const [description = "", prompt, ...after] = argv.slice(at);
	// The description is read with the rest; the prompt is what it is.
	const others = [...before, ...after];
	others.splice(firstPositional(argsWithoutPrompt, others), 0, description);
	const parsed = readArguments("launch", argsWithoutPrompt, others);
	if (prompt === undefined && !parsed.help)
		throw new BgError(
			"usage",
			"bg launch needs <prompt>: what the droid shall do, right after the description",
		);
	return { ...parsed, prompt };
}

/** What every launch answers. */
export function tellLaunched(
	{ task, warnings }: Launched,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): void {
	const { id, session_id, description, status } = task;
	if (format.quiet) {
		for (const warning of warnings) remark(warning);
		writeAll(1, `${id}\n`);
		return;
	}
	const json = {
		taskId: id,
		sessionId: session_id,
		description,
		status,
		...(warnings.length && { warnings }),
	};
	answer(format, json, () => {
		for (const warning of warnings) remark(warning);
		return `launched ${id} (bg wait ${id}, bg output ${id})`;
	});
}
