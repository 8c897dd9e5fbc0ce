import { answer, formatFlags } from "../answer.ts";
import { examine } from "../doctor.ts";
import { exitCodes } from "../error.ts";
import { formatTable, toLine } from "../print.ts";
import { defineVerb } from "../verb.ts";

export const doctor = defineVerb({
	meta: {
		name: "doctor",
		description: "Say whether all is well, and what mends what is not",
	},
	examples: [["bg doctor", "a line for each thing bg needs"]],
	args: formatFlags,
	run: async ({ args }) => {
		const checks = await examine();
		const ok = checks.every((each) => each.ok);
		answer(args, { ok, checks }, () => {
			const line = (text: string) => toLine(text, 1000);
			return formatTable(
				checks.flatMap((each) => [
					[each.ok ? "✔" : "✖", each.check, line(each.says)],
					...(each.ok ? [] : [["", "", `→ ${line(each.mend)}`]]),
				]),
			);
		});
		return ok ? exitCodes.ok : exitCodes.failed;
	},
});
