import { exitCodes } from "../../error.ts";
import { runChecks } from "../../install/doctor.ts";
import { formatTable, toLine } from "../../print/text.ts";
import { formatFlags, reply } from "../reply.ts";
import { defineVerb } from "../verb.ts";

export default defineVerb({
	meta: {
		name: "doctor",
		description: "Check the installation, and print a fix for each problem",
	},
	group: "maintain",
	examples: [["bg doctor", "a line for each thing bg needs"]],
	args: formatFlags,
	run: async ({ args }) => {
		const checks = await runChecks();
		const ok = checks.every((each) => each.ok);
		reply(args, { ok, checks }, () => {
			const line = (text: string) => toLine(text, 1000);
			return formatTable(
				checks.flatMap((each) => [
					[each.ok ? "✔" : "✖", each.check, line(each.says)],
					...(each.ok ? [] : [["", "", `→ ${line(each.fix)}`]]),
				]),
			);
		});
		return ok ? exitCodes.ok : exitCodes.failed;
	},
});
