import { createReader } from "../../install/apply.ts";
import { planUninstall } from "../../install/install.ts";
import { toLine } from "../../print/text.ts";
import { confirm, yesFlag } from "../reply.ts";
import { defineVerb } from "../verb.ts";
import { parseTarget, replyChanges, targetFlags } from "./install.ts";

export default defineVerb({
	name: "uninstall",
	description: "Remove what install wrote",
	group: "maintain",
	examples: {
		"bg uninstall --dry-run": "shows what would be removed",
		"bg uninstall --project": "removes it from ./.factory",
	},
	args: { ...targetFlags, ...yesFlag },
	run: async ({ args }) => {
		const target = parseTarget(args);
		const plan = planUninstall(target, createReader(target));
		const changed = plan.filter(({ action }) =>
			["change", "remove"].includes(action),
		);
		const question = () =>
			changed.length
				? `remove bg from ${toLine(target.folder, 1000)} (${changed.length} files)?`
				: undefined;
		if (!args["dry-run"] && !(await confirm(args, question))) return false;
		await replyChanges(args, { target, plan });
		return true;
	},
});
