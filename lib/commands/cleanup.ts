import { answer, formatFlags, progressLine, remark } from "../answer.ts";
import { durationOf } from "../arguments.ts";
import { cleanUp } from "../cleanup.ts";
import { openStore } from "../directory.ts";
import { BgError, exitCodes } from "../error.ts";
import { parseSize } from "../print.ts";
import { defineVerb } from "../verb.ts";

const week = 7 * 86_400_000;

export const cleanup = defineVerb({
	meta: {
		name: "cleanup",
		description: "Take finished tasks off the list; no file is deleted",
	},
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
			throw new BgError(
				"usage",
				"--older-than and --max-size say what --delete deletes: add --delete",
			);
		const olderThan = durationOf("--older-than", age);
		const maxSize = size === undefined ? undefined : parseSize(size);
		if (size !== undefined && maxSize === undefined)
			throw new BgError("usage", `--max-size ${size}: it takes 64M or 1G`);
		const dryRun = args["dry-run"] ?? false;
		const store = openStore({ write: !dryRun });
		const usual = args.delete && maxSize === undefined ? week : undefined;
		const line = await progressLine();
		const cleaned = cleanUp(store, {
			olderThan: olderThan ?? usual,
			maxSize,
			dryRun,
			onLook: (done, all) => line?.show(`cleaning up: ${done} of ${all}`),
		});
		line?.clear();
		const { archived, deleted, freedBytes, kept } = cleaned;
		answer(args, { ...cleaned, ...(dryRun && { dryRun }) }, () => {
			const would = dryRun ? "would be " : "";
			return `${archived.length} ${would}put away (bg list --all shows them), ${deleted.length} ${would}deleted, ${freedBytes} bytes ${would}freed`;
		});
		for (const { note } of kept) remark(note);
		return kept.length ? exitCodes.refused : exitCodes.ok;
	},
});
