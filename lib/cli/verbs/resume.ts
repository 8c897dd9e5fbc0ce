import { planResume } from "../../control/rerun.ts";
import {
	launchAndReply,
	launchReplyFlags,
	rerunEngineFlags,
	tokensFlag,
} from "../launch-flags.ts";
import { defineVerb, flag, required } from "../verb.ts";
import { readReconciled } from "./retry.ts";

export default defineVerb({
	name: "resume",
	description: "Continue a droid's session, as a new task",
	group: "start",
	examples: {
		'bg resume @last "Now write a test for it."':
			"the newest droid continues its session",
		'bg resume --fork @last "Try it another way."':
			"a copy of the session continues; the first one stays",
	},
	args: {
		id: required("task id", { from: "tasks" }),
		prompt: required("what the droid is to do next"),
		fork: flag("in a copy of the session; the original is unchanged"),
		"max-tokens": tokensFlag,
		...rerunEngineFlags,
		...launchReplyFlags,
	},
	run: ({ args }) => {
		const task = readReconciled(args.id);
		const plan = planResume(task, args.prompt, {
			fork: args.fork ?? false,
			maxTokens: args["max-tokens"],
			engine: { on: args.on, engineArgs: args["engine-args"] },
		});
		return launchAndReply([{ plan }], args);
	},
});
