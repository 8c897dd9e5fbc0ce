import { planRetry } from "../../control/rerun.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { readTask, resolveTaskId } from "../../store/records.ts";
import { launchAndReply, launchReplyFlags } from "../launch-flags.ts";
import { defineVerb, required } from "../verb.ts";

export default defineVerb({
	name: "retry",
	description: "Run a task again, as a new task",
	group: "start",
	examples: {
		"bg retry @last": "the same call as a new task",
		"bg retry -q 3f2a": "a task by the end of its id; prints only the new id",
	},
	args: {
		id: required("task id", { from: "tasks" }),
		...launchReplyFlags,
	},
	run: ({ args }) => {
		const plan = planRetry(readReconciled(args.id));
		launchAndReply([{ plan }], args);
	},
});

export function readReconciled(given: string) {
	const store = openStore({ write: true });
	return reconcileTask(store, readTask(store, resolveTaskId(store, given)));
}
