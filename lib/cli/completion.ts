/**
 * What a shell may offer at a place of a command line, and the scripts that ask for it. A script
 * knows nothing of bg: at each key it calls bg back with the words so far, so it cannot grow old.
 * Answers are lines, a value and what it is about with a tab between; `:files` and the like ask the
 * shell for what it knows itself. Pure.
 */

import { toLine } from "../print/text.ts";
import { quoteForShell } from "../process/self.ts";
import {
	type Arg,
	type Args,
	selectFlags,
	tokenize,
	type ValueSource,
} from "./arguments.ts";
import bash from "./assets/completion.bash.txt" with { type: "text" };
import fish from "./assets/completion.fish.txt" with { type: "text" };
import zsh from "./assets/completion.zsh.txt" with { type: "text" };

const scripts = { bash, zsh, fish } as const;

export type Shell = keyof typeof scripts;
export const shells = Object.keys(scripts) as [Shell, ...Shell[]];

/** The script for a shell; in it this very program is called, whatever `bg` means there. */
export function renderScript(shell: Shell, program: readonly string[]): string {
	const quoted = program.map((word) => quoteWord(shell, word)).join(" ");
	return scripts[shell].replaceAll("PROGRAM", () => quoted);
}

/** One that can be chosen. */
export type Choice = { value: string; about: string };

/** What may stand at a place: of these words, or of a source, the ones that begin like this. */
export type CompletionPlace = {
	from: readonly Choice[] | ValueSource;
	typed: string;
	/** What stands before it in the same word, and stays. */
	before: string;
	/** What was given already. */
	given: readonly string[];
};

const emptyPlace: CompletionPlace = {
	from: [],
	typed: "",
	before: "",
	given: [],
};

/** What may stand at the last of a verb's words, which is still being typed. */
export function findPlace(
	args: Args,
	words: readonly string[],
): CompletionPlace {
	const flags = selectFlags(args);
	const typed = words.at(-1) ?? "";
	const before = words.slice(0, -1);
	const tokens = tokenize(flags, before);
	const last = tokens.at(-1);
	if (last?.kind === "flag") {
		const flag = flags[last.name];
		if (flag?.type === "string" && !flag.inline && last.value === undefined)
			return findPlaceInValue(flag, typed);
	}
	const dashes = before.indexOf("--");
	if (typed.startsWith("-") && dashes < 0) {
		const [, name = "", value] = /^--([^=]+)=(.*)$/s.exec(typed) ?? [];
		if (value !== undefined)
			return Object.hasOwn(flags, name)
				? findPlaceInValue(flags[name] as Arg, value, `--${name}=`)
				: emptyPlace;
		const given = tokens.flatMap((token) =>
			token.kind === "flag" && !flags[token.name]?.multiple
				? [`--${token.name}`]
				: [],
		);
		const from = Object.entries(flags).map(([flag, { description }]) => ({
			value: `--${flag}`,
			about: description ?? "",
		}));
		const help = { value: "--help", about: "all of this verb" };
		return { from: [...from, help], typed, before: "", given };
	}
	const given = tokens.flatMap((token) =>
		token.kind === "positional" ? [token.value] : [],
	);
	const from = findPositional(args, given.length, dashes >= 0)?.from ?? [];
	const isCommand = from === "commands" && dashes < before.length - 1;
	return { from: isCommand ? "files" : from, typed, before: "", given };
}

/** The words of a place that go on as it begins, as lines; `choices` are those of its source. */
export function renderChoices(
	{ typed, before, given }: CompletionPlace,
	choices: readonly Choice[],
): string {
	return choices
		.filter(({ value }) => value.startsWith(typed) && !given.includes(value))
		.map(({ value, about }) => {
			const words = about && `\t${toLine(about, 60)}`;
			return `${before}${value}${words}\n`;
		})
		.join("");
}

// --- internal ---

/** The value of a flag, or the last of those between commas. */
function findPlaceInValue(
	flag: Arg,
	typed: string,
	before = "",
): CompletionPlace {
	const at = typed.lastIndexOf(",") + 1;
	return {
		from: flag.from ?? [],
		typed: typed.slice(at),
		before: before + typed.slice(0, at),
		given: typed.slice(0, at).split(","),
	};
}

/** The positional whose turn it is; the one that takes many stays so. */
function findPositional(
	args: Args,
	count: number,
	behindDashes: boolean,
): Arg | undefined {
	const all = Object.values(args).filter(({ type }) => type === "positional");
	const many = all.findIndex(({ multiple }) => multiple);
	const last = all.find(({ dashes }) => dashes);
	const next = all[many < 0 ? count : Math.min(many, count)];
	return (behindDashes && last) || (next?.dashes ? undefined : next);
}

/** One word of a shell, nothing of it obeyed. */
function quoteWord(shell: Shell, word: string): string {
	const quoted = quoteForShell(word);
	return shell === "fish" && quoted !== word
		? `'${word.replace(/[\\']/g, "\\$&")}'`
		: quoted;
}
