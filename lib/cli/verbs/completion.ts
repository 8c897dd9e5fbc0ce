import { usage } from "../../error.ts";
import { writeAll } from "../../print/text.ts";
import { buildSelfCommand } from "../../process/executables.ts";
import { openStore } from "../../store/directory.ts";
import { findTask, listTaskIds } from "../../store/records.ts";
import { isFinal } from "../../task/states.ts";
import { splitValues } from "../arguments.ts";
import {
	type Choice,
	type CompletionPlace,
	findPlace,
	renderChoices,
	renderScript,
	shells,
} from "../help/completion.ts";
import {
	defineVerb,
	loadVerb,
	loadVerbs,
	optional,
	required,
	type VerbTable,
} from "../verb.ts";

/** The most tasks that are offered, and the most records that are read. */
const maxOffered = 50;
const maxRead = 500;

export default defineVerb({
	name: "completion",
	description: "Print shell completions, as a script",
	group: "maintain",
	examples: {
		'eval "$(env bg completion bash)"':
			"in ~/.bashrc (env avoids the bg of bash)",
		'eval "$(env bg completion zsh)"': "in ~/.zshrc, after compinit",
		"env bg completion fish | source": "in ~/.config/fish/config.fish",
	},
	args: {
		shell: required("the shell", { from: shells }),
		words: optional(
			"the words so far; prints what may follow (for the script)",
			{ multiple: true, dashes: true },
		),
	},
	run: async ({ args, data: verbs }) => {
		const shell = shells.find((each) => each === args.shell);
		if (!shell)
			throw usage(
				`no completions for ${JSON.stringify(args.shell)}: bg completion takes ${shells.join(", ")}`,
			);
		if (args.words === undefined)
			writeAll(1, renderScript(shell, buildSelfCommand()));
		else writeAll(1, await completeWords(verbs, splitValues(args.words)));
	},
});

// --- internal ---

/** Completes the last word. Errors are ignored: a shell has no place to show them. */
async function completeWords(verbs: VerbTable, words: readonly string[]) {
	try {
		const [name = "", ...rest] = words;
		const place: CompletionPlace = rest.length
			? findPlace((await loadVerb(verbs, name)).args, rest)
			: { from: "verbs", typed: name, before: "", given: [] };
		const { from } = place;
		if (from === "files" || from === "folders" || from === "commands")
			return `:${from}\n`;
		if (from === "tasks" || from === "unfinished")
			return renderChoices(place, listTaskChoices(place, from));
		const choices = from === "verbs" ? await listVerbChoices(verbs) : from;
		return renderChoices(
			place,
			choices.map((each) =>
				typeof each === "string" ? { value: each, about: "" } : each,
			),
		);
	} catch {
		return "";
	}
}

const listVerbChoices = async (verbs: VerbTable): Promise<Choice[]> =>
	(await loadVerbs(verbs)).map(({ name, description }) => ({
		value: name,
		about: description,
	}));

/** The newest tasks whose id begins with the typed text. Reads only. */
function listTaskChoices(
	{ typed }: CompletionPlace,
	which: "tasks" | "unfinished",
): Choice[] {
	if (typed.startsWith("@"))
		return [{ value: "@last", about: "the newest task" }];
	const store = openStore();
	const choices: Choice[] = [];
	const ids = listTaskIds(store).filter((id) => id.startsWith(typed));
	for (const id of ids.reverse().slice(0, maxRead)) {
		const task = findTask(store, id);
		if (!task || (which === "unfinished" && isFinal(task))) continue;
		choices.push({ value: id, about: `${task.status}, ${task.description}` });
		if (choices.length === maxOffered) break;
	}
	return choices;
}
