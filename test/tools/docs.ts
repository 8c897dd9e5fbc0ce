/** The page for scripts: `npm run docs` writes `.github/SCRIPTING.md` from the shapes, the exit codes and the verbs. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { exitCodeMeanings, variables } from "../../lib/cli/help/man.ts";
import {
	ownSelectorFlags,
	selectorFlags,
	selectorNames,
} from "../../lib/cli/selectors.ts";
import { loadVerbs } from "../../lib/cli/verb.ts";
import { verbs } from "../../lib/cli/verbs.ts";
import { type ExitName, exitCodes } from "../../lib/error.ts";
import { type AnswerEntry, answers } from "./answers.ts";
import { root } from "./harness.ts";
import { recordKeys } from "./record-shape.ts";
import { listKeys, object, type Shape } from "./shapes.ts";

export const scriptingFile = join(root, ".github", "SCRIPTING.md");

/** Makes the page. */
export async function scriptingPage(): Promise<string> {
	const all = await loadVerbs(verbs);
	const selecting = all
		.filter(({ args }) => selectorNames.every((name) => name in args))
		.map(({ name }) => `\`${name}\``);
	const inText = all.filter(({ name }) => !answers[name]);
	return [
		"# bg in scripts",
		"",
		"Written by `npm run docs`. A test compares it with real answers: an answer has no other keys.",
		"",
		"In a pipe an answer is JSON on one line; `--json` and `--text` choose. An error is JSON on stdout where the answer",
		'would be JSON (`{"error": …}`), else a line on stderr. Later versions may add keys. Times are UTC, ISO 8601.',
		"",
		"    id=$(env bg run -q build -- make)     # `env`: shells have a builtin named bg",
		'    env bg wait "$id" --timeout 10m || echo "it failed, or takes longer"',
		"    env bg list --status error | jq -r '.tasks[] | .id + \" \" + .error'",
		"",
		"## Naming tasks",
		"",
		"An id, a unique beginning of it (with `bg_`), a unique end of it (4 digits or more), or `@last`, the newest task.",
		`Instead of ids, these flags select tasks. Together they narrow the selection. Verbs that take them: ${selecting.join(", ")}.`,
		"",
		...toTable(
			["flag", "selects"],
			Object.entries(selectorFlags).map(([name, { description }]) => [
				`\`--${name}\``,
				name === "all"
					? `${description}; of verbs that stop or change tasks: ${ownSelectorFlags.all.description}`
					: description,
			]),
		),
		"",
		"## Exit codes",
		"",
		...toTable(
			["code", "meaning"],
			Object.entries(exitCodeMeanings).map(([name, meaning]) => [
				`${exitCodes[name as ExitName]}`,
				meaning,
			]),
		),
		"",
		"## Environment",
		"",
		...toTable(
			["variable", "meaning"],
			Object.entries(variables).map(([name, meaning]) => [
				`\`${name}\``,
				meaning,
			]),
		),
		"",
		"## Answers",
		"",
		"A key with `?` may be missing. `tasks[].id` is the key `id` of each item of the list `tasks`.",
		`Only text comes from: ${inText.map(({ name }) => `\`${name}\``).join(", ")}.`,
		...groupVerbs().flatMap(([names, entry]) => describeAnswer(names, entry)),
		"",
		"## A record",
		"",
		"One JSON object, in `bg status`, in `bg list --full`, and in `<id>.json` of the store.",
		"",
		...describeKeys(object(recordKeys)),
		"",
	].join("\n");
}

// --- internal ---

/** Verbs with the same answer are told once. */
function groupVerbs(): [string[], AnswerEntry][] {
	const groups = new Map<AnswerEntry, string[]>();
	for (const [name, entry] of Object.entries(answers))
		if (!entry.isUntold)
			groups.set(entry, [...(groups.get(entry) ?? []), name]);
	return [...groups].map(([entry, names]) => [names, entry]);
}

function describeAnswer(
	names: readonly string[],
	{ about, shape, isRecord }: AnswerEntry,
): string[] {
	const own = (path: string) =>
		!isRecord || !Object.hasOwn(recordKeys, path.split(/[.?[]/)[0] ?? "");
	return [
		"",
		`### ${names.join(", ")}`,
		"",
		...(about ? [about, ""] : []),
		...describeKeys(shape, own),
	];
}

const describeKeys = (shape: Shape, includes = (_: string) => true) =>
	toTable(
		["key", "type", "meaning"],
		listKeys(shape)
			.filter(([path]) => includes(path))
			.map(([path, type, meaning]) => [`\`${path}\``, type, meaning]),
	);

function toTable(head: readonly string[], rows: readonly string[][]): string[] {
	const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
	return [line(head), line(head.map(() => "---")), ...rows.map(line)];
}

if (import.meta.main) writeFileSync(scriptingFile, await scriptingPage());
