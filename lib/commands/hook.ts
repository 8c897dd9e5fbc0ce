import { defineCommand } from "citty";

/** What the door does by itself, as the help shows it. */
export const hook = defineCommand({
	meta: {
		name: "hook",
		description: "Answer one of droid's hook events (JSON on standard input)",
	},
	args: {},
});

export const hookComplete = defineCommand({
	meta: {
		name: "hook-complete",
		description: "The SubagentStop part of hook, under the old name",
	},
	args: {},
});
