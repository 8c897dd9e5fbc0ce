import { defineVerb } from "../verb.ts";

/** For the help only: the entry point runs hooks itself. */
export default defineVerb({
	name: "hook",
	description: "Handle a droid hook event, read as JSON from standard input",
	group: "maintain",
	examples: {
		"bg hook < event.json": "the call of an installed hook",
		'echo \'{"hook_event_name":"SessionEnd","session_id":"x"}\' | bg hook':
			"what the end of the session x does",
	},
	args: {},
});
