/** Keys of tasks (`--unique`): which task was launched last under one. */
import { rmSync } from "node:fs";
import { errorCode } from "./error.ts";
import { listNames, readFile, replaceFile } from "./files.ts";
import { withLock } from "./lock.ts";
import { folderPath, type Store, uniqueFile } from "./names.ts";
import { idPattern } from "./patterns.ts";

export function writeKeyHolder(store: Store, key: string, id: string): void {
	replaceFile(store, keyFile(store, key), id, false);
}

export function readKeyHolder(store: Store, key: string): string | undefined {
	return readId(store, keyFile(store, key));
}

/** Removes the keys of tasks that are over: such a key is free, whatever its file says. */
export function sweepKeys(store: Store, isOver: (id: string) => boolean): void {
	const files = listNames(store, folderPath(store, "unique")).map((hash) =>
		uniqueFile(store, hash),
	);
	if (files.length === 0) return;
	withLock(store, "unique", keyLockTimeoutMs, () => {
		for (const file of files) {
			const id = readId(store, file);
			if (!id || isOver(id)) rmSync(file, { force: true });
		}
	});
}

// --- internal ---

/** How long to wait for who launches with a key, in ms. */
const keyLockTimeoutMs = 5000;

function readId(store: Store, file: string): string | undefined {
	try {
		const id = readFile(store, file);
		return idPattern.test(id) ? id : undefined;
	} catch (error) {
		if (errorCode(error) === "ENOENT") return undefined;
		throw error;
	}
}

/** A key is any text; a name on disk is not. (node:crypto is dear, and few launches have a key.) */
function keyFile(store: Store, key: string): string {
	const { createHash } = process.getBuiltinModule("node:crypto");
	return uniqueFile(store, createHash("sha256").update(key).digest("hex"));
}
