import { definePauseVerb } from "./pause.ts";

export default definePauseVerb({
	name: "unpause",
	description: "Continue paused tasks, or the queue",
	paused: false,
	examples: {
		"bg unpause @last": "its process continues",
		"bg unpause --all": "all paused tasks",
		"bg unpause --queue": "queued tasks start again",
	},
});
