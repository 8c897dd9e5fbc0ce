/** The checks of `bg doctor` that look at the directory of the tasks. Nothing is changed. */
import {
	existsSync,
	lstatSync,
	readdirSync,
	statfsSync,
	statSync,
} from "node:fs";
import { join } from "node:path";
import { quoteForShell } from "../process/self.ts";
import { checkSupervision, describeSupervision } from "../prune/supervision.ts";
import { readLimits } from "../spawn/limits.ts";
import { isQueuePaused } from "../spawn/slots.ts";
import { openStore } from "../store/directory.ts";
import { maxFileBytes, readFile } from "../store/files.ts";
import {
	homeFolder,
	logFile,
	recordFile,
	type Store,
	storeDir,
} from "../store/paths.ts";
import { iterateTasks, type UnreadableRecord } from "../store/records.ts";
import type { Task } from "../task/schema.ts";
import { isFinal } from "../task/states.ts";
import { type Finding, failed, formatFix, passed } from "./finding.ts";

/** The directory; undefined where there is none yet. */
export function openOwnStore(): Store | undefined {
	const store = openStore();
	return existsSync(store.dir) ? store : undefined;
}

/** Nobody else may write to any part of it; see assertOwned of store/files.ts. */
export function suggestStoreFix(): string {
	if (!process.env.BG_DIR && !homeFolder())
		return 'export BG_DIR="$PWD/bg-tasks"';
	const dir = storeDir();
	const isFolder = existsSync(`${dir}/.`);
	return isFolder
		? `chmod -R u+rwX,go-w ${quoteForShell(dir)}`
		: "unset BG_DIR";
}

export function checkStore(): Finding {
	const store = openOwnStore();
	if (!store) return passed(`none yet: ${storeDir()}`);
	const { dir } = store;
	const mode = statSync(dir).mode & 0o777;
	return mode & 0o077
		? failed(
				`${dir} can be read by others (mode ${mode.toString(8)})`,
				`chmod 700 ${quoteForShell(dir)}`,
			)
		: passed(`${dir}, for its owner alone`);
}

export function checkTasks(): Finding {
	const store = openOwnStore();
	const unreadable: UnreadableRecord[] = [];
	const tasks = store ? [...iterateTasks(store, unreadable)] : [];
	const open = tasks.filter((task) => !isFinal(task));
	const [broken] = unreadable;
	if (store && broken) {
		const path = quoteForShell(recordFile(store, broken.taskId));
		return failed(
			`${unreadable.length} records cannot be read: ${broken.problem}`,
			`mv ${path} ${path}.broken`,
		);
	}
	const named = (wanted: string) =>
		open
			.filter((task) => checkSupervision(task) === wanted)
			.map(({ id }: Task) => id);
	const [lost, orphaned] = [named("lost"), named("orphaned")];
	if (lost.length)
		return failed(`lost: ${joinFirst(lost)}`, formatFix("prune"));
	if (orphaned.length)
		return failed(`nobody watches ${joinFirst(orphaned)}`, formatFix("prune"));
	const unclear = open.find((task) => checkSupervision(task) === "unclear");
	if (unclear)
		return failed(
			`${unclear.id}: ${describeSupervision(unclear, "unclear")}`,
			formatFix(`status ${unclear.id}`),
		);
	return passed(`${tasks.length}, ${open.length} not over, none lost`);
}

export function checkQueue(): Finding {
	const store = openOwnStore();
	return store && isQueuePaused(store)
		? failed("paused: nothing new starts", formatFix("unpause --queue"))
		: passed("open");
}

export function checkLimits(): Finding {
	const given = Object.entries(readLimits()).map(
		([name, limit]) => `${name} ${Number.isFinite(limit) ? limit : "none"}`,
	);
	return passed(given.join(", "));
}

export function checkDisk(): Finding {
	const store = openOwnStore();
	const at = store?.dir ?? homeFolder() ?? "/";
	const { bavail, bsize } = statfsSync(at);
	const [used, free] = [store ? measurePath(store.dir) : 0, bavail * bsize];
	const says = `${formatMebibytes(used)} used, ${formatMebibytes(free)} free`;
	return free < minFreeBytes
		? failed(says, formatFix("cleanup --delete --max-size 100M"))
		: passed(says);
}

/** What hooks and supervisors, who have nobody to tell, wrote down. */
export function checkFaults(): Finding {
	const store = openOwnStore();
	if (!store) return passed("none noted");
	const lines = [logFile(store, "hook"), logFile(store, "supervisor")]
		.filter((path) => existsSync(path))
		// The last lines may have passed the limit of a log together.
		.flatMap((path) => readFile(store, path, 2 * maxFileBytes).split("\n"))
		.filter(Boolean);
	const last = lines.sort().at(-1);
	return passed(
		last ? `${lines.length} noted, the last: ${last}` : "none noted",
	);
}

// --- internal ---

/** Less free room than this, in bytes, and records soon cannot be written. */
const minFreeBytes = 64 * 2 ** 20;

const joinFirst = (ids: readonly string[]) =>
	ids.slice(0, 5).join(" ") +
	(ids.length > 5 ? ` and ${ids.length - 5} more` : "");

const formatMebibytes = (bytes: number) => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** A file or all that is in a folder, in bytes. */
function measurePath(path: string): number {
	const status = lstatSync(path, { throwIfNoEntry: false });
	if (!status?.isDirectory()) return status?.size ?? 0;
	return readdirSync(path).reduce(
		(sum, name) => sum + measurePath(join(path, name)),
		0,
	);
}
