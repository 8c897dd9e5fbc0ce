import { readOnlyTools } from "../../droid/definitions/definition.ts";
import { type KnownDroid, listDroids } from "../../droid/definitions/find.ts";
import { isTerminal, toLine } from "../../print/text.ts";
import { currentFolder } from "../../process/runtime.ts";
import { formatFlags, isJsonWanted, writeJson } from "../reply.ts";
import { defineVerb } from "../verb.ts";

export default defineVerb({
	name: "droids",
	description: "List the droids, with their purpose and tools",
	group: "inspect",
	examples: {
		"bg droids": "those of the project, of your home, and the built-in ones",
		"bg droids --json": "the same with all their tools",
	},
	args: formatFlags,
	run: async ({ args }) => {
		const droids = listDroids(currentFolder() ?? "/");
		if (isJsonWanted(args)) writeJson({ droids: droids.map(toJsonDroid) });
		else await printTable(droids);
	},
});

// --- internal ---

/** A droid in a JSON reply: all but its system prompt. */
const toJsonDroid = (droid: KnownDroid) => ({
	name: droid.name,
	purpose: droid.description ?? "",
	tools: droid.tools ?? "all",
	model: droid.model ?? "inherit",
	...(droid.reasoningEffort && { effort: droid.reasoningEffort }),
	origin: droid.origin,
	...(droid.path && { path: droid.path }),
	...(droid.warnings.length && { warnings: droid.warnings }),
});

function describeTools({ tools }: KnownDroid): string {
	if (!tools) return "all";
	const others = tools.filter((tool) => !readOnlyTools.includes(tool));
	return tools.length - others.length === readOnlyTools.length
		? ["read-only", ...others].join(",")
		: tools.join(",");
}

/** Prints one line a droid, which a terminal does not wrap. */
async function printTable(droids: readonly KnownDroid[]): Promise<void> {
	const { formatTable } = await import("../../print/table.ts");
	const { fitText } = await import("../../print/width.ts");
	const { readTerminalSize } = await import("../../print/terminal.ts");
	const { writeAll } = await import("../../print/text.ts");
	const rows = droids.map((droid) => [
		droid.name,
		droid.origin,
		[droid.model ?? "inherit", droid.reasoningEffort].filter(Boolean).join(" "),
		describeTools(droid),
		toLine(droid.warnings.join("; ") || (droid.description ?? "")),
	]);
	const table = formatTable([
		["DROID", "ORIGIN", "MODEL", "TOOLS", "PURPOSE"],
		...rows,
	]);
	const width = isTerminal(1) ? readTerminalSize().columns : 500;
	for (const line of table.split("\n"))
		writeAll(1, `${fitText(line, width)}\n`);
}
