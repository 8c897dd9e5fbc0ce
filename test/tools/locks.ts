/** Locks of tasks that a living process, the test itself, holds. */
import {
	existsSync,
	mkdirSync,
	renameSync,
	rmSync,
	writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { afterTest } from "./concurrent.ts";
import { type Sandbox, until } from "./harness.ts";

export type HeldLock = { isHeld: () => boolean; release: () => void };

/** Takes the lock of a task's record, and holds it until it is released or the test ends. */
export async function holdLock(box: Sandbox, id: string): Promise<HeldLock> {
	const holder = claimName(identifySelf(), `test-${id}`);
	const prepared = join(box.dir, ".tmp", holder);
	const lock = join(box.dir, ".locks", id);
	const claim = join(lock, holder);
	mkdirSync(prepared);
	writeFileSync(join(prepared, holder), "");
	await until(() => {
		try {
			renameSync(prepared, lock);
			return true;
		} catch {
			return false;
		}
	}, `the lock of ${id}`);
	const release = () => rmSync(claim, { force: true });
	afterTest(release);
	return { isHeld: () => existsSync(claim), release };
}
