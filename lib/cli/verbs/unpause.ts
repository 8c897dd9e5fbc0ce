import { definePauseVerb } from "./pause.ts";

export default definePauseVerb(
	"unpause",
	"Continue tasks, or the whole queue",
	false,
	{
		"bg unpause @last": "its process continues",
		"bg unpause --queue": "queued tasks start again",
	},
);
