import { defineVerb } from "../verb.ts";

export default defineVerb({
	name: "hook-complete",
	description: "Handle SubagentStop, as the previous hook did",
	group: "maintain",
	examples: {
		"bg hook-complete < event.json": "the call of the previous hook",
		'echo \'{"session_id":"x"}\' | bg hook-complete':
			"completes the task whose session is x",
	},
	args: {},
});
