/** Resolves an id that a person typed to the id of a task. Pure: the caller lists the ids. */
import { BgError, usage } from "../error.ts";
import { idEndPattern, idPattern, idPrefixPattern } from "./ids.ts";

/** The tasks that an id may mean. */
export type IdSource = {
	/** Whether there is a task with this id. */
	has: (id: string) => boolean;
	/** Lists the tasks of the folder, or of the folder and the archive that begin with a text; oldest first. */
	list: (prefix?: string) => string[];
	/** Which of the tasks, oldest first by their ids, was launched last. */
	findNewest: (ids: readonly string[]) => string | undefined;
	/** Whether a task has certainly ended. */
	hasEnded: (id: string) => boolean;
};

export type ResolveOptions = {
	/** Whether an end is matched among unfinished tasks only: for verbs that stop or change a task. */
	unfinished?: boolean;
};

/** The most tasks that the error for an ambiguous id names. */
const maxCandidates = 10;

/**
 * Resolves a whole id, a unique beginning, the unique end of an id in the folder (4 hex digits or more), or
 * `@last`.
 * @throws BgError: usage if it cannot be an id, missing if it matches no task or more than one.
 */
export function resolveId(
	given: string,
	{ has, list, findNewest, hasEnded }: IdSource,
	{ unfinished = false }: ResolveOptions = {},
): string {
	if (given === "@last") {
		const newest = findNewest(list()) ?? findNewest(list("bg_"));
		if (newest) return newest;
		throw missing("no task yet (bg launch and bg run make some)");
	}
	const isEnd = idEndPattern.test(given);
	if (!isEnd && !idPrefixPattern.test(given))
		throw usage(
			`${JSON.stringify(given)} is not a task id: give an id such as bg_19f0c2a4b1c…, a unique beginning of one, a unique end (4 digits or more), or @last for the newest`,
		);
	if (idPattern.test(given) && has(given)) return given;
	const mayMean = (id: string) =>
		id.endsWith(given) && !(unfinished && hasEnded(id));
	const matches = isEnd ? list().filter(mayMean) : list(given);
	const [only, another] = matches;
	const what = isEnd && unfinished ? "unfinished task" : "task";
	if (!only) throw missing(`no ${what} "${given}" (bg list shows them)`);
	if (!another) return only;
	const shown = matches.slice(-maxCandidates);
	const more = matches.length > shown.length ? ["…"] : [];
	throw missing(
		`"${given}" could be ${matches.length} tasks (${[...more, ...shown].join(", ")}): type more of it (bg list shows them)`,
	);
}

// --- internal ---

const missing = (message: string) => new BgError("missing", message);
