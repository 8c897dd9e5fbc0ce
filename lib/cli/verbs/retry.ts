import { planRetry } from "../../control/rerun.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { readTask, resolveTaskId } from "../../store/records.ts";
import { launchAndReply, launchReplyFlags } from "../launch-flags.ts";
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
		const plan = planRetry(readReconciled(args.id));
		return launchAndReply([{ plan }], args);
	},
});

export function readReconciled(given: string) {
	const store = openStore({ write: true });
	return reconcileTask(store, readTask(store, resolveTaskId(store, given)));
}
