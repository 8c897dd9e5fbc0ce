import { version } from "../../../package.json" with { type: "json" };
import { usage } from "../../error.ts";
import { writeAll } from "../../print/text.ts";
import { renderOverview, renderVerb } from "../help/help.ts";
import { defineVerb, flag, loadVerb, loadVerbs, optional } from "../verb.ts";

export default defineVerb({
	name: "help",
	description: "List the verbs, or show the help of one",
	group: "maintain",
	examples: {
		"bg help wait": "the same as bg wait --help",
		"bg help --man > bg.1": "for man ./bg.1",
	},
	args: {
		verb: optional("the verb (an overview of all)", {
			from: "verbs",
		}),
		man: flag("the man page"),
	},
	run: async ({ args, data: verbs }) => {
		if (args.verb !== undefined && args.man)
			throw usage("--man takes no verb: bg help --man");
		if (args.verb !== undefined)
			writeAll(1, renderVerb(await loadVerb(verbs, args.verb)));
		else if (args.man) {
			const { renderMan } = await import("../help/man.ts");
			writeAll(1, renderMan(await loadVerbs(verbs), version));
		} else writeAll(1, renderOverview(await loadVerbs(verbs), version));
	},
});
