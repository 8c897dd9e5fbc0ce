/** The rows about batches: against task-spooler, without inotify, and beside a lock that is held. */
import {
	closeSync,
	readdirSync,
	readFileSync,
	realpathSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { findOnPath } from "../../lib/process/executables.ts";
import { checkLiveness } from "../../lib/process/identity.ts";
import type { Task } from "../../lib/task/schema.ts";
import { isFinal } from "../../lib/task/states.ts";
import { exhaustInotify } from "../tools/inotify.ts";
import { holdLock } from "../tools/locks.ts";
import { median, type Ratio, read } from "./method.ts";
import { type Bench, openStore, pause, until } from "./setup.ts";
import { makePipe, openWritable, readPipe } from "./tasks.ts";

const slots = 4;

/**
 * Times `true` many times, with stores in a folder, from the first launch to the last end: one batch of
 * bg, and one call of `tsp` for each task, because it has no batches. Undefined without tsp.
 */
export async function compareDrain(
	bench: Bench,
	{ folder, count }: { folder: string; count: number },
): Promise<Ratio | undefined> {
	const tsp = findOnPath("tsp");
	if (!tsp) return undefined;
	const batch = writeBatch(bench, count);
	const ours: number[] = [];
	const theirs: number[] = [];
	for (let round = 0; round < (bench.size.isSmall ? 1 : 7); round++) {
		ours.push(timeBatch(bench, batch, folder));
		theirs.push(timeSpooler(bench, tsp, count, folder));
		// Lets this process handle a signal, which synchronous calls prevent.
		await Bun.sleep(0);
	}
	return ratioOf(ours, theirs);
}

/**
 * Times a batch while this user has no inotify instance left, against the same with inotify.
 * @returns the ratio, and how many instances were taken.
 */
export async function compareShortage(
	bench: Bench,
	count: number,
): Promise<Ratio & { held: number }> {
	const batch = writeBatch(bench, count);
	const without: number[] = [];
	const withInotify: number[] = [];
	let held = 0;
	for (let round = 0; round < (bench.size.isSmall ? 1 : 3); round++) {
		withInotify.push(timeBatch(bench, batch));
		const shortage = await exhaustInotify();
		try {
			held = shortage.held;
			without.push(timeBatch(bench, batch));
		} finally {
			await shortage.end();
		}
	}
	return { ...ratioOf(without, withInotify), held };
}

/**
 * Launches two tasks in a batch, one with a timeout of 1.5 s. This process holds the lock of the other one
 * for `holdMs`; that one ends `endMs` after the start.
 * @returns when the process of the first one is stopped, in seconds from its start.
 */
export async function timeTimeout(
	bench: Bench,
	{ holdMs, endMs }: { holdMs: number; endMs: number },
): Promise<number> {
	const { store, env } = openStore(bench, "timeout");
	const pipe = makePipe(bench);
	const batch = join(bench.base, "timeout.jsonl");
	const lines = [
		{ description: "x", command: ["sleep", "60"], timeout: "1.5s" },
		{ description: "x", command: readPipe(pipe) },
	];
	writeFileSync(batch, lines.map((line) => JSON.stringify(line)).join("\n"));
	const argv = [bench.bg, "launch", "-q", "--batch", batch];
	const [timed = "", sibling = ""] = read(bench, { argv, env }).split("\n");
	const task = (id: string): Task =>
		JSON.parse(readFileSync(join(store, `${id}.json`), "utf8"));
	const started = await until(() => task(timed).process, "a start");
	const startedAt = Date.parse(task(timed).started_at ?? "");
	const fd = await until(() => openWritable(pipe), "the sibling to read");
	const release = holdLock(store, sibling);
	const timer = setTimeout(release, holdMs);
	try {
		await pause(bench, startedAt + endMs - Date.now());
		writeSync(fd, "\n");
		await until(
			() => checkLiveness(started) === "gone",
			"the timeout",
			holdMs + 30_000,
		);
		const seconds = (Date.now() - startedAt) / 1000;
		const areFinal = () => [timed, sibling].every((id) => isFinal(task(id)));
		await until(areFinal, "the end of both", holdMs + 30_000);
		if (task(timed).reason !== "timeout")
			throw new Error(`it ended by ${task(timed).reason}`);
		return seconds;
	} finally {
		clearTimeout(timer);
		closeSync(fd);
	}
}

/** Where a store may be. What a file costs depends on the file system more than on the disk. */
export type FileSystem = { folder: string; name: string; isTmpfs: boolean };

/**
 * A folder on a disk and one on tmpfs, as far as this machine has them; TMPDIR chooses the disk. Without
 * /proc, that folder alone.
 */
export function listFileSystems(): FileSystem[] {
	const all = [tmpdir(), "/var/tmp", "/dev/shm"].flatMap((folder) => {
		const name = describeFileSystem(folder);
		return name ? [{ folder, name, isTmpfs: name === "tmpfs" }] : [];
	});
	const disk = all.find(({ isTmpfs }) => !isTmpfs);
	const tmpfs = all.find(({ isTmpfs }) => isTmpfs);
	const found = [disk, tmpfs].filter((each) => each !== undefined);
	const unknown = { folder: tmpdir(), name: "unknown disk", isTmpfs: false };
	return found.length ? found : [unknown];
}

/** Writes a batch of `true`. Returns its path. */
export function writeBatch({ base }: Bench, count: number): string {
	const path = join(base, `batch-${count}.jsonl`);
	const line = `${JSON.stringify({ description: "x", command: ["true"] })}\n`;
	writeFileSync(path, line.repeat(count));
	return path;
}

// --- internal ---

/** Times a batch in a new store, from its launch until `bg wait` returns. */
function timeBatch(bench: Bench, batch: string, folder?: string): number {
	const { env } = openStore(bench, "batch", folder);
	const limited = { ...env, BG_MAX_RUNNING: String(slots) };
	const start = performance.now();
	const argv = [bench.bg, "launch", "-q", "--batch", batch];
	read(bench, { argv, env: limited });
	read(bench, { argv: [bench.bg, "wait"], env });
	return performance.now() - start;
}

/** Times the same by task-spooler, which writes the output of each task to TMPDIR. */
function timeSpooler(
	bench: Bench,
	tsp: string,
	count: number,
	folder: string,
): number {
	const { store, env } = openStore(bench, "tsp", folder);
	const server = { ...env, TMPDIR: store, TS_SOCKET: join(store, "socket") };
	const call = (script: string) =>
		read(bench, {
			argv: ["sh", "-c", script, tsp, String(count)],
			env: server,
		});
	call(`"$0" -S ${slots}`);
	const start = performance.now();
	call('i=0; while [ $i -lt $1 ]; do "$0" true; i=$((i+1)); done; "$0" -w');
	const spent = performance.now() - start;
	call('"$0" -K');
	return spent;
}

/** The ratio of two medians. */
function ratioOf(ours: readonly number[], theirs: readonly number[]): Ratio {
	const [a, b] = [median(ours), median(theirs)];
	return { ratio: a / b, ours: a, theirs: b };
}

/** Names the file system of a folder, and for ext4 whether it has a journal; undefined if unknown. */
function describeFileSystem(folder: string): string | undefined {
	try {
		const path = realpathSync(folder);
		// The last mount of the longest path is the one in use.
		const mount = readFileSync("/proc/self/mounts", "utf8")
			.split("\n")
			.map((line) => line.split(" ").map(unescapeOctal))
			.filter(([, at = ""]) => isWithin(path, at))
			.reduce((best, each) =>
				(each[1] ?? "").length >= (best[1] ?? "").length ? each : best,
			);
		const [device = "", , type = ""] = mount;
		if (type !== "ext4") return type;
		const journal = hasJournal(device);
		if (journal === undefined) return type;
		return `${type} ${journal ? "with" : "without"} a journal`;
	} catch {
		return undefined;
	}
}

/** Whether a mounted device has a journal, which the kernel lists as `<device>-<inode>`. */
function hasJournal(device: string): boolean | undefined {
	try {
		const journals = readdirSync("/proc/fs/jbd2");
		if (journals.length === 0) return false;
		const name = basename(realpathSync(device));
		return journals.some((each) => each.replace(/-\d+$/, "") === name);
	} catch {
		return undefined;
	}
}

const isWithin = (path: string, mount: string) =>
	mount === "/" || path === mount || path.startsWith(`${mount}/`);

/** The kernel writes a space in a path as `\040`. */
const unescapeOctal = (text: string) =>
	text.replace(/\\(\d{3})/g, (_, code) =>
		String.fromCharCode(Number.parseInt(code, 8)),
	);
