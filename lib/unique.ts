/** Keys of tasks (`--unique`): which task was launched last under one. */
import { rmSync } from "node:fs";
import { codeOf } from "./error.ts";
import { namesIn, readFile, replaceFile } from "./files.ts";
import { withLock } from "./lock.ts";
import { inStore, type Store, uniqueFile } from "./names.ts";
import { idPattern } from "./patterns.ts";

export function holdKey(store: Store, key: string, id: string): void {
	replaceFile(store, fileOf(store, key), id, false);
}

export function readKey(store: Store, key: string): string | undefined {
	return readId(store, fileOf(store, key));
}

/** Removes the keys of tasks that are over: such a key is free, whatever its file says. */
export function sweepKeys(store: Store, isOver: (id: string) => boolean): void {
	const files = namesIn(store, inStore(store, "unique")).map((hash) =>
		uniqueFile(store, hash),
	);
	if (files.length === 0) return;
	withLock(store, "unique", lockPatience, () => {
		for (const file of files) {
			const id = readId(store, file);
			if (!id || isOver(id)) rmSync(file, { force: true });
		}
	});
}

// --- internal ---

/** How long to wait for who launches with a key, in ms. */
const lockPatience = 5000;

function readId(store: Store, file: string): string | undefined {
	try {
		const id = readFile(store, file);
		return idPattern.test(id) ? id : undefined;
	} catch (error) {
		if (codeOf(error) === "ENOENT") return undefined;
		throw error;
	}
}

/** A key is any text; a name on disk is not. (node:crypto is dear, and few launches have a key.) */
function fileOf(store: Store, key: string): string {
	const { createHash } = process.getBuiltinModule("node:crypto");
	return uniqueFile(store, createHash("sha256").update(key).digest("hex"));
}
