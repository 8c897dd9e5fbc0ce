/**
 * The session index: which tasks a session has, so that a look-up costs the same with 10 tasks and
 * with 10,000.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { inStore, type Store } from "./names.ts";
import { sessionPattern } from "./task.ts";

/** Puts a task under a session's key, so that a look-up costs the same with 10 and with 10,000. */
export function indexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	const folder = `${inStore(store, "sessions")}/${key}`;
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	writeFileSync(`${folder}/${id}`, "", { mode: 0o600 });
}
