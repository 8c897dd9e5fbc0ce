import { createReader } from "../../install/apply.ts";
import { planUninstall } from "../../install/install.ts";
import { defineVerb } from "../verb.ts";
import { parseTarget, replyChanges, targetFlags } from "./install.ts";

export default defineVerb({
	meta: {
		name: "uninstall",
		description: "Remove what install wrote",
	},
	group: "maintain",
	examples: [
		["bg uninstall --dry-run", "what would go"],
		["bg uninstall --project", "out of ./.factory"],
	],
	args: targetFlags,
	run: ({ args }) => {
		const target = parseTarget(args);
		replyChanges(target, planUninstall(target, createReader(target)), args, {});
	},
});
