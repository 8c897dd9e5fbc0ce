/**
 * Reads argv by the definitions of a citty command. citty's own parser accepts unknown flags, takes the last
 * of two values, drops a positional that begins with `--no-`, treats a missing value as "", and loads
 * `node:util`, a tenth of the time of a launch. Here unknown flags are errors with a suggestion, and no
 * byte of a positional or of text after `--` changes.
 */
import type { ArgDef } from "citty";
import { usage } from "../error.ts";
import { suggestWord } from "../print/text.ts";

/** The source of an argument's values for completion: fixed words, or a kind of thing. */
export type ValueSource =
	| readonly string[]
	| "tasks"
	| "unfinished"
	| "files"
	| "folders"
	| "commands"
	| "verbs";

/**
 * A flag or positional. `multiple`: its values arrive as one string (see splitValues). `inline`: the value
 * is optional and only accepted as `--name=value`; without one it is "". `dashes`: it comes after `--`.
 * `from`: the source of its values for completion.
 */
export type Arg = ArgDef & {
	alias?: string;
	multiple?: boolean;
	inline?: boolean;
	dashes?: boolean;
	from?: ValueSource;
};

export type Args = Record<string, Arg>;

/** Separates the values of a `multiple` argument. argv cannot contain a NUL. */
const separator = "\0";

export const joinValues = (values: readonly string[]) => values.join(separator);

export function splitValues(joined: string | undefined): string[] {
	return joined === undefined ? [] : joined.split(separator);
}

/** A checked call: the definitions that its arguments follow, and the values by name. */
export type CheckedCall = {
	args: Args;
	values: Record<string, string | true | undefined>;
};

/**
 * Checks a verb's arguments.
 * @throws BgError (usage) naming the argument that is unknown, missing or not accepted.
 */
export function checkArguments(
	verb: string,
	args: Args,
	argv: readonly string[],
): CheckedCall {
	const flags = selectFlags(args);
	const values: CheckedCall["values"] = {};
	const positionals: string[] = [];
	for (const token of tokenize(flags, argv)) {
		if (token.kind === "positional") {
			positionals.push(token.value);
			continue;
		}
		const { name, raw } = token;
		if (raw === "--help" || raw === "-h")
			return { args, values: { help: true } };
		const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
		if (!flag) {
			const names = Object.keys(flags).map((each) => `--${each}`);
			const hint = suggestWord(raw, names) || ` (bg ${verb} --help lists them)`;
			throw usage(
				`bg ${verb} has no flag ${raw}${hint}${describeDashes(verb, args)}`,
			);
		}
		if (flag.type === "boolean") {
			if (token.value !== undefined) throw usage(`${raw} takes no value`);
			values[name] = true;
			continue;
		}
		const value = token.value ?? (flag.inline ? "" : undefined);
		if (value === undefined)
			throw usage(`${raw} needs a value (bg ${verb} --help)`);
		const earlier = values[name];
		if (earlier !== undefined && !flag.multiple)
			throw usage(`${raw} is given twice`);
		values[name] =
			earlier === undefined ? value : `${earlier}${separator}${value}`;
	}
	const hasDoubt = argv.some((word) => /^-\S*=.*\s/s.test(word));
	const dashes = hasDoubt ? describeDashes(verb, args) : "";
	Object.assign(values, matchPositionals({ verb, args, dashes }, positionals));
	return { args, values };
}

/** Refuses an empty value: an unset shell variable must not select everything. */
export function refuseEmpty(flag: string, given?: string) {
	if (given === "")
		throw usage(`${flag} is empty: give a value, or omit the flag`);
	return given;
}

/**
 * Checks that a flag was given one of a list of words.
 * @throws BgError (usage) that names them all.
 */
export function parseChoice<T extends string>(
	name: string,
	words: readonly T[],
	given: string | undefined,
): T | undefined {
	const word = words.find((each) => each === given);
	if (given !== undefined && !word)
		throw usage(`${name} takes ${words.join(", ")}`);
	return word;
}

/** The flags among a verb's arguments. */
export function selectFlags(args: Args): Args {
	return Object.fromEntries(
		Object.entries(args).filter(([, { type }]) => type !== "positional"),
	);
}

/**
 * Splits argv into tokens and accepts errors; node:util's tokens do not know `inline` flags. A word that
 * begins with `-` is a flag. A word with white space and a lone `-` are text, and so is all after `--`.
 */
export function tokenize(flags: Args, argv: readonly string[]): Token[] {
	const tokens: Token[] = [];
	const names = new Map<string, string>();
	for (const [name, { alias }] of Object.entries(flags)) {
		names.set(`--${name}`, name);
		if (alias) names.set(`-${alias}`, name);
	}
	for (let index = 0; index < argv.length; index++) {
		const word = argv[index] ?? "";
		if (word === "--") {
			for (let at = index + 1; at < argv.length; at++)
				tokens.push({ kind: "positional", value: argv[at] ?? "", index: at });
			break;
		}
		const [, raw = word, , inline] = /^([^=]+)(=(.*))?$/s.exec(word) ?? [];
		const name = names.get(raw);
		// The value of a flag may have white space: `--tag=a b`.
		const isGiven = name !== undefined && inline !== undefined;
		if (!/^-\S/.test(word) || (/\s/.test(word) && !isGiven)) {
			tokens.push({ kind: "positional", value: word, index });
			continue;
		}
		const flag = name === undefined ? undefined : flags[name];
		const takesNext = flag?.type === "string" && !flag.inline;
		const value = inline ?? (takesNext ? argv[++index] : undefined);
		const unknown = raw.startsWith("--") ? raw.slice(2) : raw;
		tokens.push({ kind: "flag", name: name ?? unknown, raw, value });
	}
	return tokens;
}

// --- internal ---

/** A word of argv: a positional with its index, or a flag with its value if it has one. */
type Token =
	| { kind: "positional"; value: string; index: number }
	| { kind: "flag"; name: string; raw: string; value: string | undefined };

/**
 * Assigns positionals to names in order; a `multiple` one takes all that remain. `dashes` ends the error for
 * one that is missing.
 */
function matchPositionals(
	{ verb, args, dashes }: { verb: string; args: Args; dashes: string },
	positionals: readonly string[],
): CheckedCall["values"] {
	const left = [...positionals];
	const values: CheckedCall["values"] = {};
	for (const [name, arg] of Object.entries(args)) {
		if (arg.type !== "positional") continue;
		if (left.length)
			values[name] = arg.multiple ? joinValues(left.splice(0)) : left.shift();
		else if (arg.required !== false)
			throw usage(
				`bg ${verb} needs <${name}>: ${arg.description ?? ""}${dashes}`,
			);
	}
	const [extra] = left;
	if (extra === undefined) return values;
	throw usage(
		`bg ${verb} does not take ${JSON.stringify(extra)} (bg ${verb} --help)`,
	);
}

/** What to do with text that looks like a flag, if the verb takes text. */
function describeDashes(verb: string, args: Args): string {
	if (verb === "run") return ": put -- before the command";
	const takesText = Object.values(args).some(
		({ type, from }) => type === "positional" && !from,
	);
	return takesText ? ": put -- before it if it is text" : "";
}
