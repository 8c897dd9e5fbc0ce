/**
 * A verb: the arguments and the run of a citty command, with its group, its examples, and its own argv reader if the common rule does not
 * apply. Help, completion and the man page are derived from it.
 */
import type { CommandDef } from "citty";
import { usage } from "../error.ts";
import { suggestWord } from "../print/text.ts";
import {
	type Arg,
	type Args,
	type CheckedCall,
	checkArguments,
} from "./arguments.ts";

/** The groups of `bg --help` in order, with their titles. */
export const groups = {
	start: "Start tasks",
	inspect: "Inspect tasks",
	control: "Control tasks",
	maintain: "Install and maintain",
} as const;

/** `run` may return an exit code, or false for `failed`; `data` of its context is the VerbTable. */
export type Verb<T extends Args = Args> = Pick<CommandDef<T>, "run"> & {
	name: string;
	/** The overview shows it up to its first comma. */
	description: string;
	group: keyof typeof groups;
	args: T;
	/** Whether it replies in text in a pipe too; `--json` chooses JSON. */
	repliesInText?: boolean;
	/** Lines to type, and the effect of each. */
	examples: Readonly<Record<string, string>>;
	/** Paragraphs of its help after the flags: a title, and entries with what they mean. */
	notes?: Readonly<Record<string, readonly (readonly [string, string])[]>>;
	/** Checks argv for a verb to which checkArguments does not apply. */
	read?: (argv: readonly string[]) => CheckedCall;
};

/** All verbs in the order of the help. Each is loaded on demand. */
export type VerbTable = Readonly<
	Record<string, () => Promise<{ default: Verb }>>
>;

/** Defines a verb: its `run` has typed arguments, the result has the type of the table. */
export const defineVerb = <const T extends Args>(verb: Verb<T>): Verb =>
	verb as unknown as Verb;

type ArgOptions = Pick<
	Arg,
	"alias" | "multiple" | "inline" | "dashes" | "from"
>;

/** Defines a flag without a value. */
export const flag = (description: string, options?: ArgOptions) =>
	({ ...options, type: "boolean", description }) as const;

/** Defines a flag with a value; `valueHint` stands for the value in the help. */
export const option = (
	valueHint: string,
	description: string,
	options?: ArgOptions,
) => ({ ...options, type: "string", valueHint, description }) as const;

/** Defines a positional that must be given. */
export const required = (description: string, options?: ArgOptions) =>
	({ ...options, type: "positional", required: true, description }) as const;

/** Defines a positional that may be omitted. */
export const optional = (description: string, options?: ArgOptions) =>
	({ ...options, type: "positional", required: false, description }) as const;

export const loadVerbs = (verbs: VerbTable): Promise<Verb[]> =>
	Promise.all(Object.keys(verbs).map((name) => loadVerb(verbs, name)));

/** Verbs of other programs, and the call that does it here. */
export const foreignVerbs = {
	add: "bg run starts a command, bg launch a droid",
	exec: "bg run starts a command, bg launch a droid",
	start: "bg run starts a command, bg launch a droid",
	ls: "bg list",
	ps: "bg list",
	show: "bg status ID",
	inspect: "bg status ID",
	log: "bg output ID",
	logs: "bg output ID",
	tail: "bg output ID --follow",
	follow: "bg output ID --follow",
	kill: "bg cancel ID",
	stop: "bg cancel ID",
	restart: "bg retry ID",
	rm: "bg cleanup takes finished tasks off the list, bg cancel ID stops one",
	remove:
		"bg cleanup takes finished tasks off the list, bg cancel ID stops one",
	clean: "bg cleanup",
	top: "bg watch",
	parallel: "bg limit running N",
} as const satisfies Record<string, string>;

/** @throws BgError (usage) that names the verb that is meant, or the most similar one. */
export async function loadVerb(verbs: VerbTable, name: string): Promise<Verb> {
	const load = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
	if (load) return (await load()).default;
	const meant = Object.entries(foreignVerbs).find(([each]) => each === name);
	if (meant)
		throw usage(`there is no verb ${JSON.stringify(name)}: ${meant[1]}`);
	const hint =
		suggestWord(name, Object.keys(verbs)) || " (bg --help lists them)";
	throw usage(`there is no verb ${JSON.stringify(name)}${hint}`);
}

/** Checks the arguments of a verb. @throws BgError (usage). */
export const checkCall = (verb: Verb, argv: readonly string[]): CheckedCall =>
	verb.read?.(argv) ?? checkArguments(verb.name, verb.args, argv);
