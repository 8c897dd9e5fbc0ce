/**
 * The text of `bg --help` and `bg help <verb>`: all verbs by group on one screen, or one verb with its
 * arguments and examples. Derived from the verbs, as the man page (man.ts) is. Pure.
 */
import type { Arg } from "../arguments.ts";
import { groups, type Verb } from "../verb.ts";

/** The width of the smallest supported terminal. */
const screenColumns = 80;

/** All verbs, two on a line if both fit: 24 lines with three more verbs than there are now. */
export function renderOverview(
	verbs: readonly Verb[],
	version: string,
): string {
	return [
		`bg ${version}: background tasks for coding agents`,
		"usage: bg <verb> …   (bg help <verb> shows all of one verb, with examples)",
		"",
		...Object.entries(groups).flatMap(([group, title]) => [
			title,
			...pairCells(
				verbs.filter((verb) => verb.group === group).map(formatCell),
			),
		]),
		"",
	].join("\n");
}

/** One verb: synopsis, description, arguments, examples. */
export function renderVerb(verb: Verb): string {
	const { examples, meta } = verb;
	return [
		...wrapWords(`usage: ${formatSynopsis(verb)}`, 0, 7),
		"",
		`${meta.description}.`,
		...formatSection(listPositionals(verb)),
		...formatSection(listFlags(verb)),
		"",
		"examples:",
		...examples.flatMap(([line, effect]) => [`  ${line}`, `      ${effect}`]),
		"",
	].join("\n");
}

/** A verb's synopsis: `bg status <id> [flags]`. */
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

/** A verb's positionals in order, each with its description. */
export const listPositionals = ({ args }: Verb): [string, string][] =>
	Object.entries(args).flatMap(([name, arg]) =>
		arg.type === "positional" ? [[name, describeArgument(arg)]] : [],
	);

/** A verb's flags as they are typed, each with its description. */
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

/** A verb in the overview: its name, and its description up to the first comma. */
const formatCell = ({ meta: { name, description } }: Verb) =>
	`  ${name.padEnd(10)} ${description.replace(/,.*/, "")}`;

/** Puts two cells on a line if each fits half a screen. */
function pairCells(cells: readonly string[]): string[] {
	const half = screenColumns / 2;
	const lines: string[] = [];
	for (let at = 0; at < cells.length; at++) {
		const [first = "", second = ""] = cells.slice(at, at + 2);
		const isPair = second && first.length < half && second.length <= half;
		lines.push(isPair ? first.padEnd(half) + second : first);
		if (isPair) at++;
	}
	return lines;
}

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
	const lines = rows.flatMap(([name, description]) => {
		const head = `  ${name}`;
		const [first = "", ...more] = wrapWords(
			description,
			indentColumns,
			indentColumns,
		);
		return head.length < indentColumns - 1
			? [head + first.slice(head.length), ...more]
			: [head, first, ...more];
	});
	return ["", ...lines];
}

/** Breaks text into lines of the width of a screen, the first and the others indented as given. */
function wrapWords(text: string, first: number, others: number): string[] {
	const lines: string[] = [];
	let line = " ".repeat(first);
	for (const word of text.split(" ")) {
		const next = line.trim() ? `${line} ${word}` : line + word;
		if (next.length <= screenColumns || !line.trim()) line = next;
		else {
			lines.push(line);
			line = " ".repeat(others) + word;
		}
	}
	return [...lines, line];
}
