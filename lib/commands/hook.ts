import { defineVerb } from "../verb.ts";

/** What the door does by itself, as the help shows it. */
export const hook = defineVerb({
	meta: {
		name: "hook",
		description: "Answer one of droid's hook events (JSON on standard input)",
	},
	examples: [["bg hook < event.json", "what droid does at each event"]],
	args: {},
});

export const hookComplete = defineVerb({
	meta: {
		name: "hook-complete",
		description: "The SubagentStop part of hook, under the old name",
	},
	examples: [["bg hook-complete < event.json", "what the old hook did"]],
	args: {},
});
