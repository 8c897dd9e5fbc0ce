/**
 * Launches under way. A launch leaves names on disk before its records: places in the queue, keys,
 * prompts. Until the last record is there, a file named after the launching process says whose
 * names those are, so that nobody sweeps them away, however long it takes and whatever the clock
 * says. The file of a launcher that died stands for nothing, and is swept itself.
 */
import { codeOf } from "./error.ts";
import { discard, namesIn, ownName, readFile, writePrivate } from "./files.ts";
import { inStore, type Store } from "./names.ts";
import { liveness, parseHolder } from "./process.ts";

/** Does all of a launch that makes names of these ids. */
export function whileLaunching<T>(
	store: Store,
	ids: readonly string[],
	act: () => T,
): T {
	const claim = `${inStore(store, "launches")}/${ownName()}`;
	try {
		writePrivate(claim, ids.join("\n"));
		return act();
	} finally {
		// If this fails, a sweep removes it once this process has exited.
		discard(claim);
	}
}

/**
 * The file of the launch that a task without a record belongs to. Ask before the record is looked
 * for: it may come in between.
 */
export function findLaunch(store: Store, id: string): string | undefined {
	const folder = inStore(store, "launches");
	const name = namesIn(store, folder).find((each) => {
		const launcher = parseHolder(each);
		if (!launcher || liveness(launcher) === "gone") return false;
		try {
			return readFile(store, `${folder}/${each}`).split("\n").includes(id);
		} catch (error) {
			if (codeOf(error) === "ENOENT") return false;
			throw error;
		}
	});
	return name && `${folder}/${name}`;
}

/** Whether a task that has no record may be about to get one. */
export const isBeingLaunched = (store: Store, id: string) =>
	findLaunch(store, id) !== undefined;
