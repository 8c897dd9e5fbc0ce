import { definePauseVerb } from "./pause.ts";

export default definePauseVerb(
	"unpause",
	"Let tasks go on, or the queue",
	false,
	[
		["bg unpause @last", "it goes on"],
		["bg unpause --queue", "the next one starts"],
	],
);
