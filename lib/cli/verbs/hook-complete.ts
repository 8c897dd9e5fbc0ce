import { defineVerb } from "../verb.ts";

export default defineVerb({
	meta: {
		name: "hook-complete",
		description: "The SubagentStop part of hook, under the old name",
	},
	examples: [["bg hook-complete < event.json", "what the old hook did"]],
	args: {},
});
