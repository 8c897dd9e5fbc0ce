/**
 * The text of `bg --help` and `bg help <verb>`: all verbs by group on one screen, or one verb with its
 * arguments and examples. Derived from the verbs, as the man page (man.ts) is. Pure.
 */
import type { Arg } from "../arguments.ts";
import { groups, type Verb } from "../verb.ts";

/** The width of the smallest supported terminal. */
const screenColumns = 80;

/** All verbs, two on a line if both fit: 24 lines with one more verb than there are now. */
export function renderOverview(verbs: readonly Verb[], version: string) {
	return [
		`bg ${version}: background tasks for coding agents`,
		"usage: bg <verb> …   (bg help <verb> shows all of one verb, with examples)",
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
	return [
		...indentText(formatSynopsis(verb), "usage: "),
		"",
		`${verb.description}.`,
		...formatSection(listPositionals(verb)),
		...formatSection(listFlags(verb)),
		...Object.entries(verb.notes ?? {}).flatMap(([title, rows]) => [
			"",
			...indentText(`${title}:`, ""),
			...formatSection(rows).slice(1),
		]),
		"",
		"examples:",
		...Object.entries(verb.examples).flatMap(([line, effect]) => [
			`  ${line}`,
			`      ${effect}`,
		]),
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
	return ["bg", verb.name]
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
const formatCell = ({ name, description }: Verb) =>
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

/** Wraps text behind a label to the width of a screen; the other lines are indented as far. */
function indentText(text: string, label: string): string[] {
	const most = screenColumns - label.length - 1;
	const line = new RegExp(`\\S.{0,${most}}(?= |$)|\\S+`, "g");
	const indent = " ".repeat(label.length);
	const lines = text.match(line) ?? [""];
	return lines.map((each, at) => (at ? indent : label) + each);
}

function formatSection(rows: readonly (readonly [string, string])[]): string[] {
	if (rows.length === 0) return [];
	const lines = rows.flatMap(([name, description]) => {
		const head = `  ${name}`.padEnd(indentColumns);
		return head.length === indentColumns && head.endsWith(" ")
			? indentText(description, head)
			: [head.trimEnd(), ...indentText(description, " ".repeat(indentColumns))];
	});
	return ["", ...lines];
}
