/** The checks of `bg doctor` that read the store. Nothing is changed. */
import {
	existsSync,
	lstatSync,
	readdirSync,
	statfsSync,
	statSync,
} from "node:fs";
import { join } from "node:path";
import { errorMessage, isRefusal } from "../error.ts";
import { joinFirst } from "../print/text.ts";
import { formatRoughSize } from "../print/units.ts";
import { quoteForShell } from "../process/self.ts";
import {
	checkSupervision,
	describeSupervision,
	type Supervision,
} from "../prune/supervision.ts";
import { readStoreLimits } from "../spawn/limits.ts";
import { isQueuePaused } from "../spawn/queue.ts";
import { openStore } from "../store/directory.ts";
import { maxFileBytes, readFile } from "../store/files.ts";
import {
	homeFolder,
	type LogSource,
	limitsFile,
	logFile,
	recordFile,
	type Store,
	storeDir,
} from "../store/paths.ts";
import { iterateTasks, type UnreadableRecord } from "../store/records.ts";
import { isFinal } from "../task/states.ts";
import { type FaultCount, type Finding, formatFix } from "./finding.ts";

/** Opens the store; undefined if there is none yet. */
export function findStore(): Store | undefined {
	const store = openStore();
	return existsSync(store.dir) ? store : undefined;
}

/** The command that makes a refused store usable; see assertOwned of store/files.ts. */
export function suggestStoreFix(): string {
	if (!process.env.BG_DIR && !homeFolder())
		return 'export BG_DIR="$PWD/bg-tasks"';
	const dir = storeDir();
	const isFolder = existsSync(`${dir}/.`);
	return isFolder
		? `chmod -R u+rwX,go-w ${quoteForShell(dir)}`
		: "unset BG_DIR";
}

/** Checks that only its owner has access to the store. */
export function checkStore(store: Store | undefined): Finding {
	if (!store) return { says: `none yet: ${storeDir()}` };
	const { dir } = store;
	const mode = statSync(dir).mode & 0o777;
	return mode & 0o077
		? {
				says: `${dir} can be read by others (mode ${mode.toString(8)})`,
				fix: `chmod 700 ${quoteForShell(dir)}`,
			}
		: { says: `${dir} (private)` };
}

/** Checks that every record can be read, and that every unfinished task has a supervisor. */
export function checkTasks(store: Store | undefined): Finding {
	const unreadable: UnreadableRecord[] = [];
	const tasks = store ? [...iterateTasks(store, unreadable)] : [];
	const [broken] = unreadable;
	if (store && broken) {
		const path = quoteForShell(recordFile(store, broken.taskId));
		return {
			says: `${unreadable.length} records cannot be read: ${broken.problem}`,
			fix: `mv ${path} ${path}.broken`,
		};
	}
	const unfinished = tasks.filter((task) => !isFinal(task));
	const supervisions = unfinished.map((task) => checkSupervision(task));
	const listTasks = (wanted: Supervision) =>
		unfinished.filter((_, index) => supervisions[index] === wanted);
	for (const [supervision, problem] of [
		["lost", "lost"],
		["orphaned", "no supervisor"],
	] as const) {
		const ids = listTasks(supervision).map(({ id }) => id);
		if (ids.length)
			return {
				says: `${problem}: ${joinFirst(ids, 5)}`,
				fix: formatFix("prune"),
			};
	}
	const [unclear] = listTasks("unclear");
	if (unclear)
		return {
			says: `${unclear.id}: ${describeSupervision(unclear, "unclear")}`,
			fix: formatFix(`status ${unclear.id}`),
		};
	return {
		says: `${tasks.length}, ${unfinished.length} unfinished, none lost`,
	};
}

/** Checks that the queue is not paused. */
export const checkQueue = (store: Store | undefined): Finding =>
	store && isQueuePaused(store)
		? { says: "paused: no task starts", fix: formatFix("unpause --queue") }
		: { says: "not paused" };

/**
 * Checks that the limits of the store can be read: otherwise no task starts.
 * @param given the limits of the environment.
 */
export function checkStoreLimits(
	store: Store | undefined,
	given: string,
): Finding {
	if (!store) return { says: given };
	try {
		const { running, droid, model } = readStoreLimits(store);
		const set = [
			...(running === undefined ? [] : [["running", running]]),
			...Object.entries(droid).map(([name, count]) => [`droid ${name}`, count]),
			...Object.entries(model).map(([name, count]) => [`model ${name}`, count]),
		].map(([what, count]) => `${what} ${count || "none"}`);
		return {
			says: set.length ? `${set.join(", ")} (bg limit); ${given}` : given,
		};
	} catch (error) {
		if (!isRefusal(error)) throw error;
		const path = quoteForShell(limitsFile(store));
		return { says: errorMessage(error), fix: `mv ${path} ${path}.broken` };
	}
}

/** Checks that the disk of the store has enough free space. */
export function checkDisk(store: Store | undefined): Finding {
	const { bavail, bsize } = statfsSync(store?.dir ?? homeFolder() ?? "/");
	const [used, free] = [store ? measurePath(store.dir) : 0, bavail * bsize];
	const says = `${formatRoughSize(used)} used, ${formatRoughSize(free)} free`;
	return free < minFreeBytes
		? { says, fix: formatFix("cleanup --delete --max-size 100M") }
		: { says };
}

/** Lists the faults that hooks and supervisors logged, each with how often and when last. It never fails. */
export function checkFaults(store: Store | undefined): Finding {
	const lines = (["hook", "supervisor"] as const).flatMap((log) =>
		store ? readLog(store, log) : [],
	);
	lines.sort((a, b) => (a.last < b.last ? -1 : 1));
	const last = lines.at(-1);
	if (!last) return { says: "none logged" };
	const kinds = new Map<string, FaultCount>();
	for (const line of lines) {
		const kind = line.log + nameKind(line.fault);
		kinds.set(kind, { times: (kinds.get(kind)?.times ?? 0) + 1, ...line });
	}
	const faults = [...kinds.values()]
		.sort((a, b) => (a.last < b.last ? 1 : -1))
		.slice(0, maxFaults);
	const says = `${lines.length} logged, the last: ${last.last} ${last.fault}`;
	return { says, faults };
}

// --- internal ---

/** With less free space than this, in bytes, records can soon no longer be written. */
const minFreeBytes = 64 * 2 ** 20;

/** A file or all that is in a folder, in bytes. */
function measurePath(path: string): number {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (!status?.isDirectory()) return status?.size ?? 0;
	return readdirSync(path).reduce(
		(sum, name) => sum + measurePath(join(path, name)),
		0,
	);
}

/** The most kinds of faults that are told. */
const maxFaults = 10;

/** Reads a log of faults; each line has a time and a text. */
function readLog(store: Store, log: LogSource): Omit<FaultCount, "times">[] {
	const path = logFile(store, log);
	if (!existsSync(path)) return [];
	// Processes that write at the same moment may pass the size limit of a log.
	const lines = readFile(store, path, 2 * maxFileBytes).split("\n");
	return lines.filter(Boolean).map((line) => {
		const [, last = "", fault = line] = /^(\d{4}-\S+Z) (.*)$/.exec(line) ?? [];
		return { last, log, fault };
	});
}

/** The text of a fault without what differs each time: ids, and numbers such as pids. */
const nameKind = (fault: string) => fault.replace(/bg_[0-9a-f]+|\d+/g, "#");
