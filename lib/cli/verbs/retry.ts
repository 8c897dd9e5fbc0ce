import { planRetry } from "../../control/rerun.ts";
import { launchAndReply, launchReplyFlags } from "../launch-flags.ts";
import { openTask } from "../tasks.ts";
import { defineVerb, required } from "../verb.ts";

export default defineVerb({
	name: "retry",
	description: "Launch a task again, as a new task",
	group: "start",
	examples: {
		"bg retry @last": "the same call as a new task",
	},
	args: {
		id: required("task id", { from: "tasks" }),
		...launchReplyFlags,
	},
	run: ({ args }) => {
		const plan = planRetry(openTask(args.id, { write: true }).task);
		launchAndReply([{ plan }], args);
	},
});
