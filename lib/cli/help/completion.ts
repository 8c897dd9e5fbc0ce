/**
 * Completion of a command line, and the shell scripts that call it. A script holds no verb or flag: it calls
 * bg with the words so far, so it works with every version. The reply is lines of a value, a tab and a
 * description; `:files`, `:folders` and `:commands` tell the shell to complete these itself. Pure.
 */

import { toLine } from "../../print/text.ts";
import { quoteForShell } from "../../process/self.ts";
import {
	type Arg,
	type Args,
	selectFlags,
	tokenize,
	type ValueSource,
} from "../arguments.ts";
import bash from "./assets/completion.bash.txt" with { type: "text" };
import fish from "./assets/completion.fish.txt" with { type: "text" };
import zsh from "./assets/completion.zsh.txt" with { type: "text" };

const scripts = { bash, zsh, fish } as const;

export type Shell = keyof typeof scripts;
export const shells = Object.keys(scripts) as [Shell, ...Shell[]];

/** The script for a shell. It calls this program by its path, since `bg` is a shell builtin. */
export function renderScript(shell: Shell, program: readonly string[]): string {
	const quoted = program.map((word) => quoteWord(shell, word)).join(" ");
	return scripts[shell].replaceAll("PROGRAM", () => quoted);
}

export type Choice = { value: string; about: string };

/** What can be completed at a place: the values of a list or source that begin with `typed`. */
export type CompletionPlace = {
	from: readonly Choice[] | ValueSource;
	typed: string;
	/** The part of the same word before `typed`, which is kept. */
	before: string;
	/** Values that were given already, which are not offered again. */
	given: readonly string[];
};

/** The completion of a verb's last word, which is still being typed. */
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
		if (value !== undefined) {
			const flag = Object.hasOwn(flags, name) ? flags[name] : undefined;
			return findPlaceInValue(flag, value, `--${name}=`);
		}
		const given = tokens.flatMap((token) =>
			token.kind === "flag" && !flags[token.name]?.multiple
				? [`--${token.name}`]
				: [],
		);
		const from = Object.entries(flags).map(([flag, { description }]) => ({
			value: `--${flag}`,
			about: description ?? "",
		}));
		const help = { value: "--help", about: "show the help of this verb" };
		return { from: [...from, help], typed, before: "", given };
	}
	const given = tokens.flatMap((token) =>
		token.kind === "positional" ? [token.value] : [],
	);
	const from = findPositional(args, given.length, dashes >= 0)?.from ?? [];
	const isCommand = from === "commands" && dashes < before.length - 1;
	return { from: isCommand ? "files" : from, typed, before: "", given };
}

/** The choices that begin with the typed text, as lines. `choices` are the values of the source. */
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

/** The value of a flag, or the last of comma-separated values. */
function findPlaceInValue(flag: Arg | undefined, typed: string, before = "") {
	const at = typed.lastIndexOf(",") + 1;
	return {
		from: flag?.from ?? [],
		typed: typed.slice(at),
		before: before + typed.slice(0, at),
		given: typed.slice(0, at).split(","),
	};
}

/** The positional at an index; a `multiple` one also takes all later indexes. */
function findPositional(args: Args, count: number, afterDashes: boolean) {
	const all = Object.values(args).filter(({ type }) => type === "positional");
	const many = all.findIndex(({ multiple }) => multiple);
	const last = all.find(({ dashes }) => dashes);
	const next = all[many < 0 ? count : Math.min(many, count)];
	return (afterDashes && last) || (next?.dashes ? undefined : next);
}

/** Quotes a word for a shell. */
function quoteWord(shell: Shell, word: string): string {
	const quoted = quoteForShell(word);
	return shell === "fish" && quoted !== word
		? `'${word.replace(/[\\']/g, "\\$&")}'`
		: quoted;
}
