import { version } from "../../../package.json" with { type: "json" };
import { usage } from "../../error.ts";
import { writeAll } from "../../print/text.ts";
import { renderOverview, renderVerb } from "../help.ts";
import { defineVerb, loadVerb, loadVerbs } from "../verb.ts";

export default defineVerb({
	meta: { name: "help", description: "Say what bg can do, or all of one verb" },
	examples: [
		["bg help wait", "the same as bg wait --help"],
		["bg help --man > bg.1", "for a folder of man pages: man ./bg.1"],
	],
	args: {
		verb: {
			type: "positional",
			required: false,
			from: "verbs",
			description: "the verb; without, all in short",
		},
		man: { type: "boolean", description: "all of all verbs, as a man page" },
	},
	run: async ({ args, verbs }) => {
		if (args.verb !== undefined && args.man)
			throw usage("--man is of all verbs: bg help --man");
		if (args.verb !== undefined)
			writeAll(1, renderVerb(await loadVerb(verbs, args.verb)));
		else if (args.man) {
			const { renderMan } = await import("../man.ts");
			writeAll(1, renderMan(await loadVerbs(verbs), version));
		} else writeAll(1, renderOverview(await loadVerbs(verbs), version));
	},
});
