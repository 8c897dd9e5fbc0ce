import { expect, test } from "bun:test";
import { readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { claimName, identifySelf } from "../../lib/process/identity.ts";
import { openStore } from "../../lib/store/directory.ts";
import {
	keepClaims,
	LockHeldError,
	withLock,
	withLockAsync,
} from "../../lib/store/locks.ts";
import { lockFolder } from "../../lib/store/paths.ts";
import { sandbox } from "../tools/harness.ts";
import { addTask } from "../tools/hooks.ts";

const open = () => {
	const store = openStore({ dir: sandbox().dir, write: true });
	const [first, second] = [addTask(store), addTask(store)].map((name) => ({
		name,
		timeoutMs: 0,
	}));
	if (!first || !second) throw new Error("no task");
	const namesIn = (folder: string) => readdirSync(join(store.dir, folder));
	return { store, first, second, namesIn };
};

test("a process that keeps its claims locks with the same folder again, and leaves nothing", async () => {
	const { store, first, second, namesIn } = open();
	const end = keepClaims();
	const seen: string[] = [];
	const note = () => void seen.push(...namesIn(`.locks/${first.name}`));
	try {
		await withLockAsync(store, first, note);
		await withLockAsync(store, first, note);
		expect(seen[1]).toBe(seen[0] as string);
		// Two at once need two.
		await withLockAsync(store, first, () =>
			withLockAsync(store, second, () => {}),
		);
		expect(namesIn(".tmp")).toHaveLength(2);
		expect(namesIn(".locks")).toEqual([]);
	} finally {
		end();
	}
	expect(namesIn(".tmp")).toEqual([]);
	await withLockAsync(store, first, note);
	expect(seen[2]).not.toBe(seen[0]);
	expect([...namesIn(".tmp"), ...namesIn(".locks")]).toEqual([]);
});

test("a kept claim holds its lock against others, and not after its release", async () => {
	const { store, first } = open();
	const end = keepClaims();
	try {
		for (let times = 0; times < 2; times++) {
			await withLockAsync(store, first, () =>
				expect(() => withLock(store, first, () => {})).toThrow(LockHeldError),
			);
			expect(withLock(store, first, () => "free")).toBe("free");
		}
	} finally {
		end();
	}
});

test("a lock that was broken stays with its next holder", async () => {
	const { store, first, namesIn } = open();
	const other = claimName(identifySelf(), "another");
	const lock = lockFolder(store, first.name);
	const end = keepClaims();
	try {
		await withLockAsync(store, first, () => {
			const [own = ""] = namesIn(`.locks/${first.name}`);
			rmSync(join(lock, own));
			writeFileSync(join(lock, other), "");
		});
		expect(namesIn(`.locks/${first.name}`)).toEqual([other]);
		rmSync(lock, { recursive: true });
		// It goes on with a new folder.
		expect(await withLockAsync(store, first, () => "locked")).toBe("locked");
	} finally {
		end();
	}
	expect(namesIn(".tmp")).toEqual([]);
});

test("a kept claim that was removed is made again", async () => {
	const { store, first, namesIn } = open();
	const end = keepClaims();
	try {
		await withLockAsync(store, first, () => {});
		const temporary = join(store.dir, ".tmp");
		renameSync(temporary, `${temporary}.gone`);
		openStore({ dir: store.dir, write: true });
		expect(await withLockAsync(store, first, () => "locked")).toBe("locked");
		expect(namesIn(".locks")).toEqual([]);
	} finally {
		end();
	}
});
