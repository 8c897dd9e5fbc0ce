/**
 * From argv to the arguments of a verb. A verb is a citty command; what citty's own parser does not
 * do is done here: unknown flags are errors with a suggestion, a flag may be given more than once,
 * and nothing behind `--` is touched.
 */
import type { ArgDef, ArgsDef } from "citty";
import { type BgError, usage } from "../error.ts";

/** Where the values of an argument come from: these words, or what stands for them at hand. */
export type ValueSource =
	| readonly string[]
	| "tasks"
	| "unfinished"
	| "files"
	| "folders"
	| "commands"
	| "verbs";

/**
 * A flag or positional. With `multiple` its values arrive as one string: see splitValues. With
 * `inline` its value may be left out, or follows `=`; left out it is "". With `dashes` it stands
 * behind `--`. A shell completes its values `from` somewhere.
 */
export type Arg = ArgDef & {
	multiple?: boolean;
	inline?: boolean;
	dashes?: boolean;
	from?: ValueSource;
};

export type Args = Record<string, Arg>;

type Flag = Arg & { alias?: string };

/** Between the values of a `multiple` argument: no argument can hold a NUL. */
const separator = "\0";

export const joinValues = (values: readonly string[]) => values.join(separator);

export function splitValues(joined: string | undefined): string[] {
	return joined === undefined ? [] : joined.split(separator);
}

export type ParsedArguments = {
	_: string[];
	[name: string]: string | string[] | boolean | undefined;
};

/**
 * Reads a verb's arguments.
 * @throws BgError (usage) naming what is unknown, missing or too much.
 */
export function parseArguments(
	verb: string,
	definitions: ArgsDef,
	argv: readonly string[],
): ParsedArguments {
	const flags = selectFlags(definitions);
	const parsed: ParsedArguments = { _: [] };
	const tokens = tokenize(flags, argv);
	for (const token of tokens) {
		if (token.kind === "positional") {
			parsed._.push(token.value);
			continue;
		}
		if (token.raw === "--help" || token.raw === "-h")
			return { _: [], help: true };
		const flag = Object.hasOwn(flags, token.name)
			? flags[token.name]
			: undefined;
		if (!flag) throw unknownFlagError(verb, token.raw, Object.keys(flags));
		if (flag.type === "boolean") {
			if (token.value !== undefined) throw usage(`${token.raw} takes no value`);
			parsed[token.name] = true;
			continue;
		}
		if (token.value === undefined && flag.inline) token.value = "";
		if (token.value === undefined)
			throw usage(`${token.raw} needs a value (bg ${verb} --help)`);
		const earlier = parsed[token.name];
		if (earlier !== undefined && !flag.multiple)
			throw usage(`${token.raw} is given twice`);
		parsed[token.name] =
			earlier === undefined
				? token.value
				: `${earlier}${separator}${token.value}`;
	}
	assignPositionals(verb, definitions, parsed);
	return parsed;
}

/** Splits argv at the first `--`; undefined behind it where there is none. */
export function splitAtDashes(
	argv: readonly string[],
): [before: string[], behind: string[] | undefined] {
	const at = argv.indexOf("--");
	return at < 0
		? [[...argv], undefined]
		: [argv.slice(0, at), argv.slice(at + 1)];
}

/** Where the first positional of argv stands: flags and their values come before it. */
export function findFirstPositional(
	definitions: ArgsDef,
	argv: readonly string[],
): number {
	const tokens = tokenize(selectFlags(definitions), argv);
	const first = tokens.find((token) => token.kind === "positional");
	return first?.kind === "positional" ? first.index : argv.length;
}

/** The word of a list that was probably meant, as ` (did you mean …?)`; else nothing. */
export function suggestWord(given: string, words: readonly string[]): string {
	const near = words
		.map((word) => ({ word, distance: measureEditDistance(given, word) }))
		.filter(({ word, distance }) => distance <= Math.max(1, word.length / 3))
		.sort((a, b) => a.distance - b.distance)[0];
	return near ? ` (did you mean ${near.word}?)` : "";
}

/** The value of a flag that may not be empty: a variable nobody set is not "all". */
export function refuseEmpty(
	flag: string,
	given: string | undefined,
): string | undefined {
	if (given === "") throw usage(`${flag} is empty: leave it out, or fill it`);
	return given;
}

/** The flags among a verb's arguments. */
export function selectFlags(definitions: ArgsDef): Record<string, Flag> {
	return Object.fromEntries(
		Object.entries(definitions).filter(([, { type }]) => type !== "positional"),
	) as Record<string, Flag>;
}

/** Takes argv apart, faults and all; node:util can as well, but loading it costs more than a whole launch may. */
export function tokenize(
	flags: Record<string, Flag>,
	argv: readonly string[],
): Token[] {
	const tokens: Token[] = [];
	const aliases = Object.entries(flags).flatMap(([name, { alias }]) =>
		alias ? [[alias, name]] : [],
	);
	const byAlias = Object.fromEntries(aliases);
	for (let index = 0; index < argv.length; index++) {
		const word = argv[index] ?? "";
		if (word === "--") {
			for (let at = index + 1; at < argv.length; at++)
				tokens.push({ kind: "positional", value: argv[at] ?? "", index: at });
			break;
		}
		if (!/^-./.test(word)) {
			tokens.push({ kind: "positional", value: word, index });
			continue;
		}
		const [, raw = "", , inline] = /^([^=]+)(=(.*))?$/s.exec(word) ?? [];
		const name = raw.startsWith("--") ? raw.slice(2) : byAlias[raw.slice(1)];
		const takesNext =
			inline === undefined &&
			name &&
			flags[name]?.type === "string" &&
			!flags[name]?.inline;
		const value = takesNext ? argv[++index] : inline;
		tokens.push({ kind: "flag", name: name ?? raw, raw, value });
	}
	return tokens;
}

// --- internal ---

/** A word of argv: a positional with its place, or a flag with its value where it has one. */
type Token =
	| { kind: "positional"; value: string; index: number }
	| { kind: "flag"; name: string; raw: string; value: string | undefined };

function unknownFlagError(
	verb: string,
	given: string,
	names: string[],
): BgError {
	const flags = names.map((name) => `--${name}`);
	const help = suggestWord(given, flags) || ` (bg ${verb} --help lists them)`;
	return usage(`bg ${verb} has no flag ${given}${help}`);
}

function assignPositionals(
	verb: string,
	definitions: ArgsDef,
	parsed: ParsedArguments,
): void {
	const left = [...parsed._];
	for (const [name, definition] of Object.entries(definitions)) {
		if (definition.type !== "positional") continue;
		if ((definition as Arg).multiple) {
			if (left.length) parsed[name] = joinValues(left.splice(0));
		} else parsed[name] = left.shift();
		if (definition.required !== false && parsed[name] === undefined)
			throw usage(
				`bg ${verb} needs <${name}>: ${definition.description ?? ""}`,
			);
	}
	if (left.length)
		throw usage(
			`bg ${verb} does not take ${JSON.stringify(left[0])}${verb === "run" ? ": the command stands behind --" : ` (bg ${verb} --help)`}`,
		);
}

/** Levenshtein's distance. */
function measureEditDistance(a: string, b: string): number {
	let row = Array.from({ length: b.length + 1 }, (_, index) => index);
	for (const [i, char] of [...a].entries()) {
		const next = [i + 1];
		for (let j = 0; j < b.length; j++)
			next.push(
				Math.min(
					(next[j] ?? 0) + 1,
					(row[j + 1] ?? 0) + 1,
					(row[j] ?? 0) + (char === b[j] ? 0 : 1),
				),
			);
		row = next;
	}
	return row[b.length] ?? 0;
}
