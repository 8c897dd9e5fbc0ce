/** Notices changes of the names in a folder by its mtime, without listing it. */
import { lstatSync } from "node:fs";

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
		const status = lstatSync(this.#path, { throwIfNoEntry: false });
		const mtimeMs = status?.mtimeMs;
		const isSame = mtimeMs === this.#before;
		const isSettled = Math.abs(Date.now() - (mtimeMs ?? 0)) > unsettledMs;
		this.#before = isSettled ? mtimeMs : Number.NaN;
		return !isSame;
	}
}
