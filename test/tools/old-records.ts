/** Stores as the script before bg left them: records without a schema, no index. */
import { mkdirSync, writeFileSync } from "node:fs";
import { openStore } from "../../lib/store/directory.ts";
import type { Store } from "../../lib/store/paths.ts";
import { listSessionTasks } from "../../lib/store/sessions/session-index.ts";
import { sandbox } from "./harness.ts";

export const idOf = (n: number) => `bg_${n.toString(16).padStart(12, "0")}`;
export const sessionOf = (n: number) =>
	`ses_${n.toString(16).padStart(12, "0")}`;

/** Fills a folder as the old script did; `isUnfinished` says which tasks still run. */
export function writeOldRecords(
	dir: string,
	count: number,
	isUnfinished: (n: number) => boolean,
): void {
	mkdirSync(dir, { mode: 0o755 });
	for (let n = 0; n < count; n++)
		writeFileSync(
			`${dir}/${idOf(n)}.json`,
			`{"id":"${idOf(n)}","session_id":"${sessionOf(n)}","description":"task ${n}","status":"${isUnfinished(n) ? "running" : "completed"}","result":null}`,
		);
}

/** A store with such records. */
export function oldStore(
	count: number,
	isUnfinished: (n: number) => boolean,
): Store {
	const { dir } = sandbox();
	writeOldRecords(dir, count, isUnfinished);
	return openStore({ dir, write: true });
}

export const isFound = (store: Store, n: number) =>
	listSessionTasks(store, sessionOf(n)).includes(idOf(n));
