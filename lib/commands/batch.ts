import { isJsonWanted, warn } from "../answer.ts";
import { planBatch } from "../batch.ts";
import { readTextFile } from "../check.ts";
import { exitCodes } from "../error.ts";
import { launchPlans } from "../launch.ts";
import { toJson, toLine, writeAll } from "../print.ts";
import { printLaunched, toLaunchReply } from "./launch.ts";

/** `launch --batch`: answers one line a task, in the order of the batch. */
export function launchBatch(
	path: string,
	format: { quiet?: boolean; json?: boolean; text?: boolean },
): number {
	const named = planBatch(readTextFile("--batch", path));
	const launched = launchPlans(named.map(({ plan }) => plan));
	const asJson = !format.quiet && isJsonWanted(format);
	printLaunched(launched, () => {
		const lines = launched.map((each, index) => {
			const { name } = named[index] ?? {};
			const { id, description } = each.task;
			if (asJson)
				return toJson({ ...toLaunchReply(each), ...(name && { name }) });
			for (const warning of each.warnings) warn(warning);
			return format.quiet ? id : `${id}  ${toLine(description, 60)}`;
		});
		writeAll(1, lines.map((line) => `${line}\n`).join(""));
	});
	return exitCodes.ok;
}
