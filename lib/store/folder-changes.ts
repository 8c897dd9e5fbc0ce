/** Notices changes of the names in a folder by its mtime, without listing it. */
import { closeSync, fstatSync, openSync } from "node:fs";
import { ifExists } from "../error.ts";

/** How long after its last change a folder counts as changing, in ms: file times are that coarse. */
const unsettledMs = 3000;

/** Tells whether the names in a folder may have changed since the last call. */
export class FolderChanges {
	readonly #path: string;
	#before: number | undefined = Number.NaN;

	constructor(path: string) {
		this.#path = path;
	}

	mayHaveChanged(): boolean {
		const mtimeMs = ifExists(() => readChangeTime(this.#path));
		const isSame = mtimeMs === this.#before;
		const isSettled = Math.abs(Date.now() - (mtimeMs ?? 0)) > unsettledMs;
		this.#before = isSettled ? mtimeMs : Number.NaN;
		return !isSame;
	}
}

// --- internal ---

/** Opens the folder: on a network file system that asks the server, where a mere lstat may answer from a cache. */
function readChangeTime(path: string): number {
	const fd = openSync(path, "r");
	try {
		return fstatSync(fd).mtimeMs;
	} finally {
		closeSync(fd);
	}
}
