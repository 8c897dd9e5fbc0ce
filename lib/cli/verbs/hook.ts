import { defineVerb } from "../verb.ts";

/** What the door does by itself, as the help shows it. */
export default defineVerb({
	meta: {
		name: "hook",
		description: "Answer one of droid's hook events (JSON on standard input)",
	},
	examples: [["bg hook < event.json", "what droid does at each event"]],
	args: {},
});
