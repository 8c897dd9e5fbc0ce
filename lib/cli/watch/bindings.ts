/** The table of keys of `bg watch`. The keys, the help and the line of hints are derived from it. Pure. */
import type { WatchState } from "./state.ts";

type Binding = {
	/** Names of keys, see input.ts. */
	keys: readonly string[];
	/** The keys as the help shows them. */
	label: string;
	/** What they do, in the help; in a few words, in the line of hints. */
	text: string;
	hint?: string;
	/** The verb that they run. A key whose verb does not exist does nothing and is not shown. */
	verb?: string;
	does: string;
};

/** The groups of the help, in order. */
export const groups = {
	move: "Move",
	task: "The selected task",
	queue: "The queue",
	watch: "bg watch",
} as const;

export const bindings = {
	move: [
		{
			keys: ["down", "j"],
			label: "↓ j",
			text: "next task or line",
			does: "down",
		},
		{
			keys: ["up", "k"],
			label: "↑ k",
			text: "previous task or line",
			does: "up",
		},
		{
			keys: ["pagedown", "space"],
			label: "PgDn space",
			text: "next page",
			does: "pageDown",
		},
		{
			keys: ["pageup", "b"],
			label: "PgUp b",
			text: "previous page",
			does: "pageUp",
		},
		{
			keys: ["home", "g"],
			label: "Home g",
			text: "first task or line",
			does: "first",
		},
		{
			keys: ["end", "G"],
			label: "End G",
			text: "last task; follow output",
			does: "last",
		},
		{
			keys: ["enter", "right"],
			label: "Enter →",
			text: "output, whole screen",
			hint: "⏎ output",
			does: "open",
		},
		{
			keys: ["escape", "left"],
			label: "Esc ←",
			text: "back; clear the filter",
			does: "back",
		},
		{
			keys: ["tab"],
			label: "Tab",
			text: "list or output",
			does: "switchFocus",
		},
		{
			keys: ["J"],
			label: "J",
			text: "output: next line",
			does: "outputDown",
		},
		{
			keys: ["K"],
			label: "K",
			text: "output: previous line",
			does: "outputUp",
		},
		{
			keys: ["/"],
			label: "/",
			text: "filter; in output search",
			hint: "/ filter",
			does: "find",
		},
		{
			keys: ["n"],
			label: "n",
			text: "next match",
			does: "nextMatch",
		},
		{ keys: ["N"], label: "N", text: "previous match", does: "previousMatch" },
	],
	task: [
		{
			keys: ["o"],
			label: "o",
			text: "output in $PAGER",
			verb: "output",
			does: "page",
		},
		{
			keys: ["d"],
			label: "d",
			text: "changes in its worktree",
			verb: "diff",
			does: "diff",
		},
		{
			keys: ["p"],
			label: "p",
			text: "pause, unpause",
			hint: "p pause",
			verb: "pause",
			does: "pause",
		},
		{
			keys: ["c"],
			label: "c",
			text: "cancel (asks)",
			hint: "c cancel",
			verb: "cancel",
			does: "cancel",
		},
		{
			keys: ["r"],
			label: "r",
			text: "retry as a new task",
			hint: "r retry",
			verb: "retry",
			does: "retry",
		},
		{
			keys: ["R"],
			label: "R",
			text: "resume with a prompt",
			verb: "resume",
			does: "resume",
		},
		{
			keys: ["m"],
			label: "m",
			text: "send it a message",
			hint: "m message",
			verb: "send",
			does: "send",
		},
	],
	queue: [
		{
			keys: ["P"],
			label: "P",
			text: "pause, unpause the queue",
			hint: "P queue",
			verb: "pause",
			does: "pauseQueue",
		},
		{
			keys: ["+", "="],
			label: "+",
			text: "one more may run",
			verb: "limit",
			does: "raiseLimit",
		},
		{
			keys: ["-"],
			label: "-",
			text: "one less may run",
			verb: "limit",
			does: "lowerLimit",
		},
	],
	watch: [
		{
			keys: ["?"],
			label: "?",
			text: "this list",
			hint: "? keys",
			does: "help",
		},
		{
			keys: ["ctrl-l"],
			label: "Ctrl-L",
			text: "draw again",
			does: "redraw",
		},
		{ keys: ["ctrl-z"], label: "Ctrl-Z", text: "suspend", does: "suspend" },
		{
			keys: ["q"],
			label: "q",
			text: "quit; in output back",
			hint: "q quit",
			does: "quit",
		},
		{ keys: ["ctrl-c"], label: "Ctrl-C", text: "quit", does: "leave" },
	],
} as const satisfies Record<keyof typeof groups, readonly Binding[]>;

export type Command = (typeof bindings)[keyof typeof bindings][number]["does"];

const allBindings: readonly (Binding & { does: Command })[] =
	Object.values(bindings).flat();

type Verbs = Pick<WatchState, "verbs">;

const isOffered = ({ verb }: Binding, { verbs }: Verbs) =>
	verb === undefined || verbs.has(verb);

/** What a key does; undefined if nothing. */
export const findCommand = (key: string, state: Verbs): Command | undefined =>
	allBindings.find((each) => each.keys.includes(key) && isOffered(each, state))
		?.does;

/** The line of hints, most needed first. */
export function listHints(state: Verbs): string[] {
	const hinted = allBindings.filter(
		(each) => each.hint !== undefined && isOffered(each, state),
	);
	const rank = ({ does }: (typeof hinted)[number]) =>
		does === "help" ? 0 : does === "quit" ? 1 : 2;
	return hinted
		.toSorted((a, b) => rank(a) - rank(b))
		.flatMap(({ hint }) => hint ?? []);
}

/** The help: groups with their keys. */
export const listHelp = (
	state: Verbs,
): { title: string; keys: { label: string; text: string }[] }[] =>
	(Object.keys(groups) as (keyof typeof groups)[]).map((group) => ({
		title: groups[group],
		keys: bindings[group].filter((each) => isOffered(each, state)),
	}));
