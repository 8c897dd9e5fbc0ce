import { runChecks } from "../../install/doctor.ts";
import type { FaultCount } from "../../install/finding.ts";
import { formatTable } from "../../print/table.ts";
import { toLine } from "../../print/text.ts";
import { formatAge } from "../../print/units.ts";
import { formatFlags, replyToPerson } from "../reply.ts";
import { defineVerb } from "../verb.ts";

export default defineVerb({
	name: "doctor",
	description: "Check the installation, and print a fix for each problem",
	group: "maintain",
	examples: {
		"bg doctor": "shows one line per check, and a command for each problem",
		"bg doctor --json": "the same for a program: the command is in fix",
	},
	args: formatFlags,
	run: async ({ args }) => {
		const checks = await runChecks();
		const ok = checks.every((each) => each.ok);
		await replyToPerson(args, { ok, checks }, (consola) => {
			const rows = checks.flatMap((each) => [
				{
					type: each.ok ? "success" : "fail",
					cells: [each.check, each.says],
				} as const,
				...(each.faults ?? []).map(
					(fault) => ({ type: "info", cells: ["", tellFault(fault)] }) as const,
				),
				...(each.ok
					? []
					: [{ type: "info", cells: ["", `→ ${each.fix}`] } as const]),
			]);
			const table = formatTable(
				rows.map(({ cells }) => cells.map((cell) => toLine(cell, 1000))),
			);
			for (const [at, line] of table.split("\n").entries())
				consola[rows[at]?.type ?? "log"](line);
		});
		return ok;
	},
});

// --- internal ---

/** A fault with how often and when last: `3 ×, last 2h ago, hook: …`. */
function tellFault({ times, last, log, fault }: FaultCount): string {
	const ms = Date.now() - Date.parse(last);
	const when = Number.isNaN(ms) ? "" : `, last ${formatAge(ms)} ago`;
	return `${times} ×${when}, ${log}: ${fault}`;
}
