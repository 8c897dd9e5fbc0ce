import { parseDurationFlag } from "../../control/schedule.ts";
import { exitCodes, usage } from "../../error.ts";
import { parseSize } from "../../print/units.ts";
import { cleanUpTasks } from "../../prune/cleanup.ts";
import { openStore } from "../../store/directory.ts";
import { formatFlags, openProgressLine, reply, warn } from "../reply.ts";
import { defineVerb } from "../verb.ts";

const weekMs = 7 * 86_400_000;

export default defineVerb({
	meta: {
		name: "cleanup",
		description: "Archive finished tasks, or delete them with their outputs",
	},
	group: "maintain",
	examples: [
		["bg cleanup", "off the list, not off the disk"],
		["bg cleanup --delete --older-than 30d", "off the disk as well"],
	],
	args: {
		delete: {
			type: "boolean",
			description: "delete finished tasks with their outputs",
		},
		"older-than": {
			type: "string",
			valueHint: "7d",
			description: "with --delete, those that ended longer ago (7d)",
		},
		"max-size": {
			type: "string",
			valueHint: "1G",
			description: "with --delete, the oldest until the rest takes no more",
		},
		"dry-run": { type: "boolean", description: "only say what would happen" },
		...formatFlags,
	},
	run: async ({ args }) => {
		const given = [args["older-than"], args["max-size"]];
		const [age, size] = given;
		if (!args.delete && given.some((each) => each !== undefined))
			throw usage(
				"--older-than and --max-size say what --delete deletes: add --delete",
			);
		const olderThan = parseDurationFlag("--older-than", age);
		const maxSize = size === undefined ? undefined : parseSize(size);
		if (size !== undefined && maxSize === undefined)
			throw usage(`--max-size ${size}: it takes 64M or 1G`);
		const dryRun = args["dry-run"] ?? false;
		const store = openStore({ write: !dryRun });
		const defaultAge =
			args.delete && maxSize === undefined ? weekMs : undefined;
		const line = await openProgressLine();
		const cleaned = cleanUpTasks(store, {
			olderThan: olderThan ?? defaultAge,
			maxSize,
			dryRun,
			onProgress: (done, all) => line?.show(`cleaning up: ${done} of ${all}`),
		});
		line?.clear();
		const { archived, deleted, freedBytes, kept } = cleaned;
		reply(args, { ...cleaned, ...(dryRun && { dryRun }) }, () => {
			const prefix = dryRun ? "would be " : "";
			return `${archived.length} ${prefix}put away (bg list --all shows them), ${deleted.length} ${prefix}deleted, ${freedBytes} bytes ${prefix}freed`;
		});
		for (const { note } of kept) warn(note);
		return kept.length ? exitCodes.refused : exitCodes.ok;
	},
});
