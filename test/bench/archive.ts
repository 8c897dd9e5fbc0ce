/** The stores of the rows about the archive: finished `true` tasks, written directly, as bg leaves them. */
import { lstatSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { openStore as openDirectory } from "../../lib/store/directory.ts";
import {
	archivedRecord,
	archiveFolder,
	outputBeside,
	recordFile,
} from "../../lib/store/paths.ts";
import { createSessionId } from "../../lib/task/ids.ts";
import type { Task } from "../../lib/task/schema.ts";
import { read } from "./method.ts";
import { type Bench, openStore, readRecords, until } from "./setup.ts";

/** How many finished tasks stay in the folder. */
export const kept = 1000;

/** How long after the one before each task was launched, in ms. */
const stepMs = 2000;

/** Where finished tasks are: in the folder, or all but the newest in the archive. */
export type Placement = "folder" | "archive";

/** Writes finished `true` tasks with their empty outputs, copied from one that bg ran. */
export async function writeTrueTasks(
	bench: Bench,
	dir: string,
	{ count, placement }: { count: number; placement: Placement },
): Promise<void> {
	const store = openDirectory({ dir, write: true });
	const parts = splitTemplate(await runTrue(bench));
	const newest = Date.now() - 60_000;
	const folders = new Set<string>();
	for (let number = 0; number < count; number++) {
		const ms = newest - (count - number) * stepMs;
		const id = `bg_${ms.toString(16)}${(number % 0x800000).toString(16).padStart(6, "0")}`;
		const isArchived = placement === "archive" && number < count - kept;
		const folder = archiveFolder(store, id);
		if (isArchived && !folders.has(folder)) {
			mkdirSync(folder, { recursive: true, mode: 0o700 });
			folders.add(folder);
		}
		const path = isArchived ? archivedRecord(store, id) : recordFile(store, id);
		const [before, between, after] = parts;
		const text = `${before}${id}${between}${createSessionId(id)}${after}`;
		writeFileSync(path, text, { mode: 0o600 });
		writeFileSync(outputBeside(path), "", { mode: 0o600 });
	}
}

/**
 * The disk space of a store in bytes, without the records and the outputs: of all other files and of the folders;
 * and apart from that, of the folders that hold only records and outputs.
 */
export function measureOverhead(dir: string): {
	overhead: number;
	names: number;
} {
	let [overhead, names] = [0, 0];
	const add = (folder: string) => {
		const { blocks } = lstatSync(folder);
		const isOfRecords = folder === dir || folder.includes("/.archive");
		if (isOfRecords) names += blocks * 512;
		else overhead += blocks * 512;
		for (const entry of readdirSync(folder, { withFileTypes: true })) {
			const path = `${folder}/${entry.name}`;
			if (entry.isDirectory()) add(path);
			else if (!/^bg_.*\.(json|out)$/.test(entry.name))
				overhead += lstatSync(path).blocks * 512;
		}
	};
	add(dir);
	return { overhead, names };
}

// --- internal ---

/** The record of a `true` task, whose processes are gone. */
function runTrue(bench: Bench): Promise<Task> {
	const { store, env } = openStore(bench, "true");
	read(bench, { argv: [bench.bg, "run", "-q", "x", "--", "true"], env });
	return until(
		() => readRecords(store).find(({ status }) => status === "completed"),
		"a finished task",
	);
}

/** The text of a record around its id and its session. */
function splitTemplate(task: Task): [string, string, string] {
	const marked = {
		...task,
		id: "\u0001",
		session_id: "\u0002",
		completed_at: new Date(Date.now() - 3_600_000).toISOString(),
	};
	const [before = "", rest = ""] = JSON.stringify(marked, null, 1).split(
		"\\u0001",
	);
	const [between = "", after = ""] = rest.split("\\u0002");
	return [before, between, `${after}\n`];
}
