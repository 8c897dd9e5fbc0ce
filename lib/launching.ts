/**
 * Launches under way. A launch leaves names on disk before its records: places in the queue, keys,
 * prompts. Until the last record is there, a file named after the launching process says whose
 * names those are, so that nobody sweeps them away, however long it takes and whatever the clock
 * says. The file of a launcher that died stands for nothing, and is swept itself.
 */
import { errorCode } from "./error.ts";
import {
	discard,
	listNames,
	readFile,
	uniqueHolderName,
	writePrivateFile,
} from "./files.ts";
import { folderPath, type Store } from "./names.ts";
import { checkLiveness, parseClaimName } from "./process.ts";

/** Does all of a launch that makes names of these ids. */
export function withPendingLaunch<T>(
	store: Store,
	ids: readonly string[],
	action: () => T,
): T {
	const claim = `${folderPath(store, "launches")}/${uniqueHolderName()}`;
	try {
		writePrivateFile(claim, ids.join("\n"));
		return action();
	} finally {
		// If this fails, a sweep removes it once this process has exited.
		discard(claim);
	}
}

/**
 * The file of the launch that a task without a record belongs to. Ask before the record is looked
 * for: it may come in between.
 */
export function findPendingLaunch(
	store: Store,
	id: string,
): string | undefined {
	const folder = folderPath(store, "launches");
	const name = listNames(store, folder).find((each) => {
		const launcher = parseClaimName(each);
		if (!launcher || checkLiveness(launcher) === "gone") return false;
		try {
			return readFile(store, `${folder}/${each}`).split("\n").includes(id);
		} catch (error) {
			if (errorCode(error) === "ENOENT") return false;
			throw error;
		}
	});
	return name && `${folder}/${name}`;
}

/** Whether a task that has no record may be about to get one. */
export const isLaunchPending = (store: Store, id: string) =>
	findPendingLaunch(store, id) !== undefined;
