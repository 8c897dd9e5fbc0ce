/** Holds a lock of a store in place of bg (lib/store/locks.ts). */
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { removeEmptyFolder } from "../../lib/store/files.ts";

/**
 * Takes a lock for this process, a living holder, as soon as nobody holds it.
 * @param name a task's id or a shared lock.
 * @returns what releases it.
 */
export function holdLock(dir: string, name: string): () => void {
	const lock = join(dir, ".locks", name);
	const holder = claimName(identifySelf(), crypto.randomUUID());
	const prepared = join(dir, ".tmp", holder);
	mkdirSync(join(dir, ".locks"), { recursive: true });
	mkdirSync(prepared, { recursive: true });
	writeFileSync(join(prepared, holder), "");
	const deadline = performance.now() + 10_000;
	for (;;) {
		try {
			renameSync(prepared, lock);
			break;
		} catch (error) {
			if (performance.now() < deadline) Bun.sleepSync(1);
			else {
				rmSync(prepared, { recursive: true });
				throw error;
			}
		}
	}
	return () => {
		rmSync(join(lock, holder));
		// A waiting process may hold the lock by now: only an empty folder is removed.
		removeEmptyFolder(lock);
	};
}
