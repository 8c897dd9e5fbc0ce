/**
 * What `bg --help` and `bg help <verb>` say: all verbs by group on one screen, and all of one verb.
 * Derived from the verbs themselves; the man page (cli/man.ts) says the same. Pure.
 */
import type { Arg } from "./arguments.ts";
import { groups, type LoadedVerb, type Verb } from "./verb.ts";

/** Columns of the smallest terminal that is thought of. */
const screenColumns = 80;

/** All verbs, so that they fit 24 lines. */
export function renderOverview(
	verbs: readonly LoadedVerb[],
	version: string,
): string {
	const entries = Object.keys(groups).flatMap((group) => {
		const members = verbs.filter((verb) => verb.group === group);
		if (group === "more")
			return [[group, members.map(({ meta }) => meta.name).join(", ")]];
		return members.map(({ meta }, index) => [
			index === 0 ? group : "",
			meta.name.padEnd(10) + meta.description,
		]);
	});
	return [
		`bg ${version}: background tasks for coding agents`,
		"usage: bg <verb> …   (bg help <verb> says all of one, with examples)",
		"",
		...entries.map(
			([group = "", restIndent]) => `${group.padEnd(6)} ${restIndent}`,
		),
		"",
	].join("\n");
}

/** All of one verb: how it is called, what it takes, examples. */
export function renderVerb(verb: Verb): string {
	const { examples, meta } = verb;
	const [takes, flags] = [listPositionals(verb), listFlags(verb)];
	return [
		...wrapWords(`usage: ${formatSynopsis(verb)}`, 0, 7),
		"",
		`${meta.description}.`,
		...formatSection(takes),
		...formatSection(flags),
		"",
		"examples:",
		...examples.flatMap(([line, does]) => [`  ${line}`, `      ${does}`]),
		"",
	].join("\n");
}

/** How a verb is called: `bg status <id> [flags]`. */
export function formatSynopsis(verb: Verb): string {
	const words = Object.entries(verb.args).flatMap(([name, arg]) =>
		arg.type === "positional" ? [formatPositional(name, arg)] : [],
	);
	const dashes = words.findIndex((word) => word.startsWith("-- "));
	const at = dashes < 0 ? words.length : dashes;
	const flags = listFlags(verb).length ? ["[flags]"] : [];
	return ["bg", verb.meta.name]
		.concat(words.slice(0, at), flags, words.slice(at))
		.join(" ");
}

/** What it takes in order, and what each is. */
export const listPositionals = ({ args }: Verb): [string, string][] =>
	Object.entries(args).flatMap(([name, arg]) =>
		arg.type === "positional" ? [[name, describeArgument(arg)]] : [],
	);

/** Its flags as they are typed, and what each does. */
export const listFlags = ({ args }: Verb): [string, string][] =>
	Object.entries(args).flatMap(([name, arg]) => {
		if (arg.type === "positional") return [];
		const alias = "alias" in arg && arg.alias ? `-${arg.alias}, ` : "";
		const hint =
			arg.type === "boolean" ? "" : `<${formatValueHint(arg, name)}>`;
		const value = hint && (arg.inline ? `[=${hint}]` : ` ${hint}`);
		return [[`${alias}--${name}${value}`, arg.description ?? ""]];
	});

// --- internal ---

const formatValueHint = ({ from, valueHint }: Arg, name: string) =>
	typeof from === "object" ? from.join("|") : (valueHint ?? name);

function describeArgument(arg: Arg): string {
	const values = typeof arg.from === "object" ? `${arg.from.join(", ")}: ` : "";
	return values + (arg.description ?? "");
}

function formatPositional(name: string, arg: Arg): string {
	const words = name.replaceAll("_", " ") + (arg.multiple ? "…" : "");
	const positional = arg.required === false ? `[${words}]` : `<${words}>`;
	return arg.dashes ? `-- ${positional}` : positional;
}

const indentColumns = 27;

function formatSection(rows: readonly [string, string][]): string[] {
	if (rows.length === 0) return [];
	const lines = rows.flatMap(([name, says]) => {
		const head = `  ${name}`;
		const [first = "", ...more] = wrapWords(says, indentColumns, indentColumns);
		return head.length < indentColumns - 1
			? [head + first.slice(head.length), ...more]
			: [head, first, ...more];
	});
	return ["", ...lines];
}

/** Breaks words into lines of the width of a screen; the first is indented as well. */
function wrapWords(text: string, first: number, restIndent: number): string[] {
	const lines: string[] = [];
	let line = " ".repeat(first);
	for (const word of text.split(" ")) {
		const next = line.trim() ? `${line} ${word}` : line + word;
		if (next.length <= screenColumns || !line.trim()) line = next;
		else {
			lines.push(line);
			line = " ".repeat(restIndent) + word;
		}
	}
	return [...lines, line];
}
