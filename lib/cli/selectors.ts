/**
 * Tasks that a call names by ids or by selectors: one table of flags and one way to read them, for every verb.
 * Selectors combine with AND; the values of a repeated one combine with OR. In a session (`BG_SESSION_ID`),
 * verbs that stop or change tasks select only tasks of that session unless `--session` names another one.
 */
import { BgError, usage } from "../error.ts";
import { toAbsolute } from "../process/runtime.ts";
import { quoteForShell } from "../process/self.ts";
import { reconcileTasks } from "../prune/reconcile.ts";
import type { Store } from "../store/paths.ts";
import {
	findAncestors,
	iterateTasks,
	resolveTaskId,
} from "../store/records.ts";
import { followSession } from "../store/sessions/session-index.ts";
import { statuses, type Task } from "../task/schema.ts";
import {
	matchesSelectors,
	parseStatuses,
	type Selectors,
} from "../task/selectors.ts";
import { taskVariable } from "../task/variables.ts";
import { refuseEmpty, splitValues } from "./arguments.ts";
import { flag, option } from "./verb.ts";

const narrowingFlags = {
	session: option("id", "tasks of this parent session"),
	tag: option("tag", "tasks with this tag; repeated: with one of them", {
		multiple: true,
	}),
	status: option(
		"status",
		"tasks of this status; more: comma-separated or repeated",
		{ from: statuses, multiple: true },
	),
	cwd: option("dir", "tasks that run in this folder", { from: "folders" }),
} as const;

/** The selectors of verbs that show tasks. */
export const selectorFlags = {
	...narrowingFlags,
	all: flag("all tasks, of all sessions, archived ones included"),
} as const;

/** The selectors of verbs that stop or change tasks. */
export const ownSelectorFlags = {
	...narrowingFlags,
	all: flag("all tasks that it applies to (in a session: its own)"),
} as const;

type SelectorName = keyof typeof selectorFlags;
export const selectorNames = Object.keys(selectorFlags) as SelectorName[];

export type SelectorArguments = {
	session?: string | undefined;
	tag?: string | undefined;
	status?: string | undefined;
	cwd?: string | undefined;
	all?: boolean | undefined;
};

/** Whether a call has a selector. */
export const hasSelectors = (args: SelectorArguments): boolean =>
	selectorNames.some((name) => isGiven(args, name));

/** Checks the values of selectors. @throws BgError (usage). */
export function parseSelectors(args: SelectorArguments): Selectors & {
	session: string | undefined;
} {
	const wanted = parseStatuses(splitValues(args.status));
	if (!wanted) throw usage(`--status takes ${statuses.join(", ")}`);
	const cwd = refuseEmpty("--cwd", args.cwd);
	return {
		session: refuseEmpty("--session", args.session),
		tags: splitValues(args.tag).map((tag) => refuseEmpty("--tag", tag) ?? ""),
		statuses: wanted,
		cwd: cwd && normalizeFolder(toAbsolute("--cwd", cwd)),
		archived: args.all ?? false,
	};
}

/**
 * Builds the check whether a reconciled task matches.
 * @param usualSession the session that counts without `--session`.
 */
export function createMatcher(
	store: Store,
	{ session, ...selectors }: ReturnType<typeof parseSelectors>,
	usualSession?: string,
): (task: Task) => boolean {
	const owner = session ?? usualSession;
	const isOwned = owner ? followSession(store, owner) : undefined;
	return (task) =>
		matchesSelectors(task, selectors) && (!isOwned || isOwned(task));
}

/** The selectors of a call as they are typed: `--tag nightly --all`. */
export function formatSelectors(args: SelectorArguments): string[] {
	return selectorNames.flatMap((name) => {
		const value = args[name];
		if (!isGiven(args, name)) return [];
		if (typeof value !== "string") return [`--${name}`];
		return splitValues(value).flatMap((each) => [
			`--${name}`,
			quoteForShell(each),
		]);
	});
}

export type NamingOptions = {
	/** The name of the verb, for errors. */
	verb: string;
	/** What the verb applies to: `unfinished task`. */
	what: string;
	applies: (task: Task) => boolean;
	/** Whether it stops or changes tasks: see the head of this file. */
	acts?: boolean;
	/** Whether the end of an id is matched among unfinished tasks only. */
	unfinished?: boolean;
};

/**
 * The ids of the tasks that a call names, each once: those given, or those that match the selectors, oldest first. A
 * verb that acts leaves out the task it runs in and the ancestors of that.
 * @throws BgError: usage if the call has neither ids nor selectors, or both; missing if nothing matches a tag, a
 * status or a folder and the verb acts.
 */
export function nameTasks(
	store: Store,
	args: SelectorArguments & { ids?: string | undefined },
	{ verb, what, applies, acts = false, unfinished = false }: NamingOptions,
): string[] {
	const given = splitValues(args.ids);
	checkNaming(verb, args);
	if (given.length)
		return [
			...new Set(given.map((id) => resolveTaskId(store, id, { unfinished }))),
		];
	const own = acts ? process.env.BG_SESSION_ID || undefined : undefined;
	const matches = createMatcher(store, parseSelectors(args), own);
	const left = acts
		? findAncestors(store, process.env[taskVariable])
		: new Set<string>();
	const found = iterateTasks(store, [], { archived: !acts && args.all });
	const ids: string[] = [];
	for (const task of reconcileTasks(store, filter(found, applies)))
		if (applies(task) && matches(task) && !left.has(task.id)) ids.push(task.id);
	if (acts && ids.length === 0 && isNarrow(args)) throw noMatch(what, args);
	return ids.reverse();
}

/** Checks that a call has either ids or selectors. @throws BgError (usage). */
export function checkNaming(
	verb: string,
	args: SelectorArguments & { ids?: string | undefined },
): void {
	const flags = selectorNames.map((name) => `--${name}`).join(" ");
	refuseBoth(verb, args);
	if (args.ids === undefined && !hasSelectors(args))
		throw usage(
			`bg ${verb} needs <ids>: task ids, or selectors instead (${flags})`,
		);
}

/** Refuses ids together with selectors. @throws BgError (usage). */
export function refuseBoth(
	verb: string,
	args: SelectorArguments & { ids?: string | undefined },
): void {
	if (args.ids !== undefined && hasSelectors(args))
		throw usage(
			`bg ${verb} takes ids or ${formatSelectors(args)[0]}, not both: a selector names all tasks that match`,
		);
}

/** Whether a call has a selector that nothing may match by mistake: a session or a store may just be empty. */
export const isNarrow = (args: SelectorArguments): boolean =>
	(["tag", "status", "cwd"] as const).some((name) => isGiven(args, name));

/** The error for selectors that match nothing. */
export const noMatch = (what: string, args: SelectorArguments) =>
	new BgError(
		"missing",
		`no ${what} matches ${formatSelectors(args).join(" ")} (bg list shows all)`,
	);

// --- internal ---

const normalizeFolder = (path: string) =>
	process.getBuiltinModule("node:path").resolve(path);

const isGiven = (args: SelectorArguments, name: SelectorName) =>
	args[name] !== undefined && args[name] !== false;

function* filter<T>(
	all: Iterable<T>,
	includes: (each: T) => boolean,
): Generator<T> {
	for (const each of all) if (includes(each)) yield each;
}
