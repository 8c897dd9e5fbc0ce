import { parseDurationFlag, parseSizeFlag } from "../../control/schedule.ts";
import { exitCodes, usage } from "../../error.ts";
import { cleanUpTasks } from "../../prune/cleanup.ts";
import { openStore } from "../../store/directory.ts";
import {
	addId,
	confirm,
	formatFlags,
	isJsonWanted,
	openProgressLine,
	replyToPerson,
	warn,
	yesFlag,
} from "../reply.ts";
import { createMatcher, parseSelectors, selectorFlags } from "../selectors.ts";
import { defineVerb, flag, option } from "../verb.ts";

const weekMs = 7 * 86_400_000;

export default defineVerb({
	name: "cleanup",
	description: "Remove finished tasks, from the list or from the disk",
	group: "maintain",
	examples: {
		"bg cleanup": "hides finished tasks from bg list; deletes no file",
		"bg cleanup --status error --tag nightly":
			"only the tasks that failed with that tag",
		"bg cleanup --delete --older-than 30d":
			"deletes old tasks with their outputs",
	},
	args: {
		...selectorFlags,
		delete: flag("also delete finished tasks with their outputs"),
		"older-than": option(
			"7d",
			"with --delete, only tasks that ended longer ago (7d)",
		),
		"max-size": option(
			"1G",
			"with --delete, the oldest tasks, until this size is left",
		),
		"dry-run": flag("change nothing, show what would happen"),
		...yesFlag,
		...formatFlags,
	},
	run: async ({ args }) => {
		const [age, size] = [args["older-than"], args["max-size"]];
		if (!args.delete && (age !== undefined || size !== undefined))
			throw usage(
				"--older-than and --max-size limit what --delete deletes: add --delete",
			);
		const maxSize = parseSizeFlag("--max-size", size);
		const olderThan =
			parseDurationFlag("--older-than", age) ??
			(args.delete && maxSize === undefined ? weekMs : undefined);
		const isDryRun = args["dry-run"] ?? false;
		const selectors = parseSelectors(args);
		const store = openStore({ write: !isDryRun });
		const line = await openProgressLine();
		const onProgress = (done: number, all: number) =>
			line?.show(`cleaning up: ${done} of ${all}`);
		// A task that is archived already may be deleted.
		const includes = createMatcher(store, { ...selectors, archived: true });
		const options = { includes, olderThan, maxSize, onProgress };
		const cleanUp = (dryRun: boolean) => {
			const cleaned = cleanUpTasks(store, { ...options, dryRun });
			line?.clear();
			return cleaned;
		};
		const askToDelete = () => {
			const { deleted, freedBytes } = cleanUp(true);
			if (deleted.length === 0) return undefined;
			const tasks =
				deleted.length === 1
					? "1 finished task with its output"
					: `${deleted.length} finished tasks with their outputs`;
			return `delete ${tasks} (${freedBytes} bytes)?`;
		};
		if (args.delete && !isDryRun && !(await confirm(args, askToDelete)))
			return false;
		const cleaned = cleanUp(isDryRun);
		const { archived, deleted, freedBytes, kept } = cleaned;
		const json = {
			...cleaned,
			kept: kept.map(addId),
			...(isDryRun && { dryRun: true }),
		};
		await replyToPerson(args, json, ({ log }) => {
			const prefix = isDryRun ? "would be " : "";
			log(
				`${archived.length} ${prefix}archived (bg list --all shows them), ${deleted.length} ${prefix}deleted, ${freedBytes} bytes ${prefix}freed`,
			);
		});
		if (!isJsonWanted(args)) for (const { note } of kept) warn(note);
		if (kept.length) return exitCodes.refused;
	},
});
