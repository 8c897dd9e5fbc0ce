import { version } from "../../package.json" with { type: "json" };
import { type KnownVerb, renderOverview, renderVerb } from "../help.ts";
import { writeAll } from "../print.ts";
import { defineVerb, findVerb, type VerbTable } from "../verb.ts";

export const help = defineVerb({
	meta: { name: "help", description: "Say what bg can do, or all of one verb" },
	examples: [["bg help wait", "the same as bg wait --help"]],
	args: {
		verb: {
			type: "positional",
			required: false,
			from: "verbs",
			description: "the verb; without, all in short",
		},
	},
	run: async ({ args, verbs }) => {
		writeAll(1, await textOf(verbs, args.verb));
	},
});

// --- internal ---

async function textOf(
	verbs: VerbTable,
	name: string | undefined,
): Promise<string> {
	const names = name === undefined ? Object.keys(verbs) : [name];
	const known: KnownVerb[] = [];
	for (const each of names) {
		const { group, load } = findVerb(verbs, each);
		known.push({ ...(await load()), group });
	}
	const [only] = known;
	return name !== undefined && only
		? renderVerb(only)
		: renderOverview(known, version);
}
