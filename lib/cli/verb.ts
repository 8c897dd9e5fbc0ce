/**
 * What a verb is: a citty command with examples, and its own way to read argv where the common rule
 * does not do. Help, completions and the man page are derived from it, so each thing is said once.
 */
import type { ParsedArgs } from "citty";
import { usage } from "../error.ts";
import { type Args, type ParsedArguments, suggestWord } from "./arguments.ts";

/** How `bg --help` groups the verbs; a group without words is only named there. */
export const groups = {
	start: "Start tasks",
	look: "Look at them",
	steer: "Steer them",
	keep: "Keep house",
	more: "For programs and shells",
} as const;

export type Group = keyof typeof groups;

/** A line to type, and what it does. */
export type Example = readonly [line: string, does: string];

export type Verb<T extends Args = Args> = {
	meta: { name: string; description: string };
	args: T;
	examples: readonly [Example, ...Example[]];
	/** Where the verb's arguments do not follow the common rule. */
	read?: (argv: readonly string[]) => ParsedArguments;
	/** Returns an exit code where it is not 0; without it the door does the work. */
	run?: (context: { args: ParsedArgs<T>; verbs: VerbTable }) => unknown;
};

/** All verbs in the order of the help; one is loaded when it is called for. */
export type VerbTable = Readonly<
	Record<string, { group: Group; load: () => Promise<{ default: Verb }> }>
>;

/** A verb that is loaded, with its place in the help. */
export type LoadedVerb = Verb & { group: Group };

/** Loads them all: for what speaks of each. */
export const loadVerbs = (verbs: VerbTable): Promise<LoadedVerb[]> =>
	Promise.all(
		Object.values(verbs).map(async ({ group, load }) => ({
			...(await load()).default,
			group,
		})),
	);

/** Loads one verb. @throws BgError (usage) that names the verb which was probably meant. */
export const loadVerb = async (verbs: VerbTable, name: string): Promise<Verb> =>
	(await findVerb(verbs, name).load()).default;

/** A verb whose `run` knows its arguments; the table does not. */
export const defineVerb = <const T extends Args>(verb: Verb<T>): Verb =>
	verb as unknown as Verb;

/** @throws BgError (usage) that names the verb which was probably meant. */
export function findVerb(verbs: VerbTable, name: string): VerbTable[string] {
	const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
	if (verb) return verb;
	const help =
		suggestWord(name, Object.keys(verbs)) || " (bg --help lists them)";
	throw usage(`there is no verb ${JSON.stringify(name)}${help}`);
}
