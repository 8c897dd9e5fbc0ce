import { planRetry } from "../../control/rerun.ts";
import { writeAll } from "../../print/text.ts";
import { reconcileTask } from "../../prune/reconcile.ts";
import { openStore } from "../../store/directory.ts";
import { iterateTasks, readTask, resolveTaskId } from "../../store/records.ts";
import { autonomies } from "../../task/schema.ts";
import { isFinal } from "../../task/states.ts";
import { splitValues } from "../arguments.ts";
import {
	launchAndReply,
	launchReplyFlags,
	rerunEngineFlags,
	tokensFlag,
} from "../launch-flags.ts";
import { isJsonWanted } from "../reply.ts";
import {
	checkNaming,
	hasSelectors,
	nameTasks,
	ownSelectorFlags,
} from "../selectors.ts";
import { defineVerb, option, optional } from "../verb.ts";

export default defineVerb({
	name: "retry",
	description: "Run tasks again, as new tasks",
	group: "start",
	examples: {
		"bg retry @last": "the same call as a new task",
		"bg retry @last --model MODEL --autonomy high":
			"the same with another model and more autonomy",
		"bg retry --status error --tag nightly":
			"failed tasks with that tag that were not retried yet",
	},
	args: {
		ids: optional("task ids", { multiple: true, from: "tasks" }),
		...ownSelectorFlags,
		droid: option("name", "another droid"),
		autonomy: option(
			"level",
			"another autonomy; inside a task at most its own",
			{
				from: autonomies,
			},
		),
		model: option("name", "another model"),
		"max-tokens": tokensFlag,
		...rerunEngineFlags,
		...launchReplyFlags,
	},
	run: ({ args }) => {
		checkNaming("retry", args);
		const store = openStore({ write: true });
		const isMany = hasSelectors(args) || splitValues(args.ids).length > 1;
		const retried = new Set(
			hasSelectors(args)
				? [...iterateTasks(store)].map(({ retry_of }) => retry_of)
				: [],
		);
		const ids = nameTasks(store, args, {
			verb: "retry",
			what: "finished task that was not retried",
			applies: (task) =>
				isFinal(task) && task.kind !== "native" && !retried.has(task.id),
			acts: true,
		});
		const { droid, autonomy, model } = args;
		const plans = ids.map((id) => ({
			plan: planRetry(
				reconcileTask(store, readTask(store, id)),
				{ droid, autonomy, model, "max-tokens": args["max-tokens"] },
				{ on: args.on, engineArgs: args["engine-args"] },
			),
		}));
		if (plans.length === 0 && !isJsonWanted(args))
			writeAll(1, "nothing to retry\n");
		return launchAndReply(plans, args, { isBatch: isMany });
	},
});

export function readReconciled(given: string) {
	const store = openStore({ write: true });
	return reconcileTask(store, readTask(store, resolveTaskId(store, given)));
}
