/**
 * The directory: every name on disk, atomic writes, locks, look-ups. The only room that knows a
 * file name.
 *
 *     <id>.json            the record            <id>.out    what the task wrote, as it came
 *     .sessions/<key>/<id> which tasks a session has; made before the record
 *     .prompts/<id>        a prompt too long for argv, or private; gone once the task ended
 *     .prompts/<id>.system the system prompt a droid's definition asks for; likewise
 *     .progress/<id>       how far a droid's stream was read, and what it said until there
 *     .locks/<id>/<holder> a lock: held while the folder holds a file
 *     .ends/last           the id of the task that ended last; renamed into place at every end
 *     .broken/             records that could not be read when their end had to be written
 *     .tmp/<holder>        writes on their way
 *     .supervisor.log      faults of supervisors, which have no terminal
 *
 * A record changes in one way only: lock, read, decide, write a temporary file, rename, unlock. A
 * lock is a folder that holds one file, named after its holder. It is taken by renaming a prepared
 * folder onto it (ENOTEMPTY: held), given back by unlinking one's own file, and broken by unlinking
 * the file of a dead holder, which can never hurt anybody else's.
 */
import {
	appendFileSync,
	chmodSync,
	closeSync,
	constants,
	existsSync,
	fstatSync,
	fsyncSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	readSync,
	renameSync,
	rmdirSync,
	rmSync,
	type Stats,
	statSync,
	unlinkSync,
	watch,
	writeFileSync,
	writeSync,
} from "node:fs";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { BgError, codeOf, messageOf } from "./error.ts";
import { formatHolder, liveness, parseHolder, self } from "./process.ts";
import {
	compareIds,
	idPattern,
	idPrefixPattern,
	isFinal,
	parseTask,
	schemaVersion,
	sessionPattern,
	type Task,
} from "./task.ts";

export type Store = { readonly dir: string };

/** A record that could not be read, and why. */
export type Unreadable = { taskId: string; problem: string };

const folders = {
	sessions: ".sessions",
	prompts: ".prompts",
	progress: ".progress",
	locks: ".locks",
	ends: ".ends",
	broken: ".broken",
	temporary: ".tmp",
} as const;

/** How long a verb waits for a lock, in ms. */
const lockPatience = 2000;

const maxLogBytes = 1024 * 1024;

/** `$BG_DIR`, or where the old script kept its tasks. */
export function storeDir(env: NodeJS.ProcessEnv = process.env): string {
	if (env.BG_DIR) return resolve(env.BG_DIR);
	const home = env.HOME || homedir();
	return join(home, ".factory", ".omd", "background-tasks");
}

/**
 * Opens the directory; to write, makes it and its folders and narrows it to its owner.
 * @throws BgError (refused) where somebody else could have put records there.
 */
export function openStore({
	dir = storeDir(),
	write = false,
}: {
	dir?: string;
	write?: boolean;
} = {}): Store {
	if (write)
		making(dir, () => mkdirSync(dir, { recursive: true, mode: 0o700 }));
	else if (!existsSync(dir)) return { dir };
	const mode = checkOwner(dir);
	if (write) {
		if (mode & 0o077) making(dir, () => chmodSync(dir, 0o700));
		for (const name of Object.values(folders)) {
			const folder = join(dir, name);
			making(folder, () => mkdirSync(folder, { recursive: true, mode: 0o700 }));
		}
	}
	return { dir };
}

// --- names ---

export const recordFile = (store: Store, id: string) =>
	`${store.dir}/${checkedId(id)}.json`;

export const outputFile = (store: Store, id: string) =>
	`${store.dir}/${checkedId(id)}.out`;

export const promptFile = (store: Store, id: string) =>
	join(store.dir, folders.prompts, checkedId(id));

export const systemPromptFile = (store: Store, id: string) =>
	`${promptFile(store, id)}.system`;

const progressFile = (store: Store, id: string) =>
	join(store.dir, folders.progress, checkedId(id));

// --- records ---

/**
 * Reads one record.
 * @throws BgError: missing where there is none, refused where it cannot be read.
 */
export function readTask(store: Store, id: string): Task {
	try {
		return loadTask(store, id);
	} catch (error) {
		if (codeOf(error) === "ENOENT") throw noSuchTask(id);
		throw unreadable(store, id, error);
	}
}

/** Changes with every write of a record; undefined where there is none. Cheaper than reading it. */
export function recordVersion(store: Store, id: string): string | undefined {
	const status = statSync(recordFile(store, id), { throwIfNoEntry: false });
	return status && `${status.ino}:${status.mtimeMs}`;
}

/** All records, newest first; those that cannot be read are put into `unreadable`. */
export function* eachTask(
	store: Store,
	unreadable: Unreadable[] = [],
): Generator<Task> {
	for (const id of listIds(store).reverse()) {
		try {
			yield loadTask(store, id);
		} catch (error) {
			// Deleted between the listing and the reading: it is simply not there.
			if (codeOf(error) !== "ENOENT")
				unreadable.push({ taskId: id, problem: messageOf(error) });
		}
	}
}

/** The ids of all records, oldest first. */
export function listIds(store: Store): string[] {
	const ids: string[] = [];
	for (const name of namesIn(store.dir)) {
		if (!name.endsWith(".json")) continue;
		const id = name.slice(0, -".json".length);
		if (idPattern.test(id)) ids.push(id);
	}
	return ids.sort(compareIds);
}

/**
 * The id that a person meant: a whole id, a unique prefix, or `@last`.
 * @throws BgError: usage where it cannot be one, missing where there is none or more than one.
 */
export function resolveId(store: Store, given: string): string {
	if (given === "@last") {
		const newest = listIds(store).at(-1);
		if (!newest) throw new BgError("missing", "no task yet (bg launch)");
		return newest;
	}
	if (!idPrefixPattern.test(given))
		throw new BgError(
			"usage",
			`${JSON.stringify(given)} is not a task id: ids look like bg_19f0c2a4b1c…, a unique beginning will do, @last is the newest`,
		);
	if (idPattern.test(given) && existsSync(recordFile(store, given)))
		return given;
	const found = listIds(store).filter((id) => id.startsWith(given));
	if (found.length > 1)
		throw new BgError(
			"missing",
			`"${given}" could be ${found.length} tasks (${found.slice(0, 3).join(", ")}${found.length > 3 ? ", …" : ""}): type more of it`,
		);
	const [only] = found;
	if (!only) throw noSuchTask(given);
	return only;
}

/** Writes a new record; its place in the session index is made first. */
export function createTask(store: Store, task: Task): void {
	const { id, session_id } = task;
	if (session_id) making(store.dir, () => indexSession(store, session_id, id));
	writeRecord(store, task, true);
}

export type UpdateOptions = {
	/** How long to wait for the lock, in ms. */
	patience?: number;
	/** What to write where the record is gone or broken; without it, that is an error. */
	fallback?: Task;
};

/**
 * Changes a record under its lock. `decide` sees the record as it is now and returns the new one,
 * or undefined to leave it. An end is written through to the disk and told to those who wait.
 * @returns the record as it now is.
 * @throws BgError where the lock is not to be had, or the record is not ours to rewrite.
 */
export function updateTask(
	store: Store,
	id: string,
	decide: (task: Task) => Task | undefined,
	{ patience = lockPatience, fallback }: UpdateOptions = {},
): Task {
	return withLock(store, id, patience, () => {
		const before = readOrReplace(store, id, fallback);
		const after = decide(before);
		if (!after || after === before) return before;
		if ((before.schema ?? 0) > schemaVersion)
			throw new BgError(
				"refused",
				`${id} was written by a newer bg (schema ${before.schema}): update this one`,
			);
		const ended = isFinal(after) && !isFinal(before);
		writeRecord(store, after, ended);
		if (ended) announceEnd(store, id);
		return after;
	});
}

/** Puts a task under a session's key, so that a look-up costs the same with 10 and with 10,000. */
export function indexSession(store: Store, key: string, id: string): void {
	if (!sessionPattern.test(key)) return;
	const folder = join(store.dir, folders.sessions, key);
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	writeFileSync(join(folder, checkedId(id)), "", { mode: 0o600 });
}

// --- what stands beside a record ---

/** Writes a file of the task for its owner alone. */
export function writePrivate(path: string, text: string): void {
	making(path, () => writeFileSync(path, text, { mode: 0o600, flag: "wx" }));
}

/** Forgets what only a running task needs. */
export function removePrompts(store: Store, id: string): void {
	for (const path of [promptFile(store, id), systemPromptFile(store, id)])
		rmSync(path, { force: true });
}

/** Opens a task's output for its process to append to. */
export function openOutput(store: Store, id: string): number {
	const { O_WRONLY, O_APPEND, O_CREAT } = constants;
	return openFile(outputFile(store, id), O_WRONLY | O_APPEND | O_CREAT);
}

/** How many bytes a task has written; 0 where there is no output yet. */
export function outputSize(store: Store, id: string): number {
	return statSync(outputFile(store, id), { throwIfNoEntry: false })?.size ?? 0;
}

/** Bytes `from` up to `to` of a task's output; fewer where it ends sooner. */
export function readOutput(
	store: Store,
	id: string,
	from: number,
	to: number,
): Buffer {
	let fd: number;
	try {
		fd = openFile(outputFile(store, id), constants.O_RDONLY);
	} catch (error) {
		if (codeOf(error) === "ENOENT") return Buffer.alloc(0);
		throw error;
	}
	try {
		const length = Math.max(0, Math.min(to, fstatSync(fd).size) - from);
		const bytes = Buffer.allocUnsafe(length);
		let got = 0;
		while (got < length) {
			const read = readSync(fd, bytes, got, length - got, from + got);
			if (read === 0) break;
			got += read;
		}
		return bytes.subarray(0, got);
	} finally {
		closeSync(fd);
	}
}

/** What an earlier reader noted of a stream; undefined where there is none. */
export function readProgress(store: Store, id: string): unknown {
	try {
		return JSON.parse(readFile(progressFile(store, id)));
	} catch {
		return undefined;
	}
}

/** Notes what a stream said so far. A note is a help, never a truth: a lost one is made again. */
export function writeProgress(store: Store, id: string, note: unknown): void {
	try {
		replaceFile(store, progressFile(store, id), JSON.stringify(note), false);
	} catch {}
}

/** Notes a fault of a supervisor, which has nobody to tell. */
export function logFault(store: Store, line: string): void {
	const path = join(store.dir, ".supervisor.log");
	try {
		const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
		if (size < maxLogBytes)
			appendFileSync(path, `${new Date().toISOString()} ${line}\n`, {
				mode: 0o600,
			});
	} catch {}
}

// --- waiting ---

/**
 * Calls back after every end of a task in this directory. Arm it first, then read, then wait: so
 * nothing falls between. Where the system cannot watch, the caller's own slow look has to do.
 */
export function watchEnds(store: Store, onEnd: () => void): () => void {
	try {
		const watcher = watch(join(store.dir, folders.ends), onEnd);
		watcher.on("error", () => watcher.close());
		return () => watcher.close();
	} catch {
		return () => {};
	}
}

// --- internal ---

const noSuchTask = (id: string) =>
	new BgError("missing", `no task "${id}" (bg list shows them)`);

function unreadable(store: Store, id: string, error: unknown): BgError {
	return new BgError(
		"refused",
		`the record of ${id} cannot be read: ${messageOf(error)} (mend or remove ${recordFile(store, id)})`,
	);
}

function checkedId(id: string): string {
	if (!idPattern.test(id)) throw new Error(`not a task id: ${id}`);
	return id;
}

function namesIn(dir: string): string[] {
	try {
		return readdirSync(dir);
	} catch (error) {
		if (codeOf(error) === "ENOENT") return [];
		throw new BgError("refused", `unable to read ${dir}: ${messageOf(error)}`);
	}
}

/** Runs what makes something on disk; a failure is the machine's, and said as such. */
function making<T>(path: string, act: () => T): T {
	try {
		return act();
	} catch (error) {
		throw new BgError(
			"refused",
			`unable to write ${path}: ${messageOf(error)}`,
		);
	}
}

/** Refuses a directory in which another user could have put records; returns its mode. */
function checkOwner(dir: string): number {
	const uid = process.geteuid?.() ?? 0;
	const link = statOrRefuse(dir, lstatSync);
	if (link.isSymbolicLink() && link.uid !== uid && link.uid !== 0)
		throw new BgError(
			"refused",
			`${dir} is a link that another user made: set BG_DIR to a folder of yours`,
		);
	const status = statOrRefuse(dir, statSync);
	if (!status.isDirectory())
		throw new BgError("refused", `${dir} is not a folder: set BG_DIR to one`);
	if (status.uid !== uid)
		throw new BgError(
			"refused",
			`${dir} belongs to another user (uid ${status.uid}): set BG_DIR to a folder of yours`,
		);
	if (status.mode & 0o022)
		throw new BgError(
			"refused",
			`${dir} can be written by others: chmod 700 it once you trust what is in it`,
		);
	return status.mode;
}

function statOrRefuse(dir: string, read: (path: string) => Stats): Stats {
	try {
		return read(dir);
	} catch (error) {
		throw new BgError("refused", `unable to use ${dir}: ${messageOf(error)}`);
	}
}

/** @throws Error where there is no record of that id, with code ENOENT where there is no file. */
function loadTask(store: Store, id: string): Task {
	const task = parseTask(readFile(recordFile(store, id)));
	if (task.id !== id) throw new Error(`it is that of ${task.id}`);
	return task;
}

/** Reads a file of the store: of a pipe nothing is waited for, a link is an error. */
function readFile(path: string): string {
	const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
	const flag = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
	return readFileSync(path, { encoding: "utf8", flag });
}

/** Opens a file of the store. A link is not followed, a pipe not waited for: neither is ours. */
function openFile(path: string, flags: number): number {
	const { O_NOFOLLOW, O_NONBLOCK } = constants;
	const fd = openSync(path, flags | O_NOFOLLOW | O_NONBLOCK, 0o600);
	if (fstatSync(fd).isFile()) return fd;
	closeSync(fd);
	throw new BgError("refused", `${path} is not a file`);
}

/** The record; where it is gone or broken and the caller knows better, the caller's. */
function readOrReplace(store: Store, id: string, fallback?: Task): Task {
	try {
		return readTask(store, id);
	} catch (error) {
		if (!fallback || !(error instanceof BgError)) throw error;
		if (error.exit === "refused")
			renameSync(
				recordFile(store, id),
				join(store.dir, folders.broken, `${id}.${Date.now()}.json`),
			);
		return fallback;
	}
}

function writeRecord(store: Store, task: Task, durable: boolean): void {
	const text = `${JSON.stringify(task, null, 1)}\n`;
	making(recordFile(store, task.id), () =>
		replaceFile(store, recordFile(store, task.id), text, durable),
	);
}

let nonce = 0;
const ownName = () => formatHolder(self(), String(nonce++));

/** Replaces a file as a whole: whoever reads sees the old one or the new one. */
function replaceFile(
	store: Store,
	path: string,
	text: string,
	durable: boolean,
): void {
	const temporary = join(store.dir, folders.temporary, ownName());
	const fd = openSync(temporary, "wx", 0o600);
	try {
		const bytes = Buffer.from(text);
		for (let done = 0; done < bytes.length; )
			done += writeSync(fd, bytes, done);
		if (durable) fsyncSync(fd);
	} catch (error) {
		unlinkSync(temporary);
		throw error;
	} finally {
		closeSync(fd);
	}
	renameSync(temporary, path);
}

function announceEnd(store: Store, id: string): void {
	try {
		replaceFile(store, join(store.dir, folders.ends, "last"), `${id}\n`, false);
	} catch {
		// Those who wait look once a second as well.
	}
}

function withLock<T>(
	store: Store,
	id: string,
	patience: number,
	act: () => T,
): T {
	const lock = join(store.dir, folders.locks, checkedId(id));
	const holder = ownName();
	takeLock(store, lock, holder, patience);
	try {
		return act();
	} finally {
		rmSync(join(lock, holder), { force: true });
		// Only an empty folder goes: whoever took the lock meanwhile keeps it.
		try {
			rmdirSync(lock);
		} catch {}
	}
}

function takeLock(
	store: Store,
	lock: string,
	holder: string,
	patience: number,
): void {
	const prepared = join(store.dir, folders.temporary, holder);
	try {
		mkdirSync(prepared, { mode: 0o700 });
		writeFileSync(join(prepared, holder), "", { mode: 0o600 });
	} catch (error) {
		rmSync(prepared, { recursive: true, force: true });
		throw new BgError("refused", `unable to lock ${lock}: ${messageOf(error)}`);
	}
	const deadline = performance.now() + patience;
	for (let pause = 1; ; pause = Math.min(pause * 2, 20)) {
		try {
			renameSync(prepared, lock);
			return;
		} catch (error) {
			const code = codeOf(error);
			const held = code === "ENOTEMPTY" || code === "EEXIST";
			if (!held || performance.now() > deadline) {
				rmSync(prepared, { recursive: true, force: true });
				throw new BgError(
					"refused",
					held
						? `unable to lock ${lock}: held by ${holdersOf(lock)} for more than ${patience} ms (try again)`
						: `unable to lock ${lock}: ${messageOf(error)}`,
				);
			}
		}
		if (!breakDeadLock(lock)) sleepSync(pause);
	}
}

/** Frees a lock of its dead holders; true where there was one. */
function breakDeadLock(lock: string): boolean {
	let broken = false;
	for (const name of namesIn(lock)) {
		const holder = parseHolder(name);
		if (!holder || liveness(holder) !== "gone") continue;
		rmSync(join(lock, name), { force: true });
		broken = true;
	}
	return broken;
}

function holdersOf(lock: string): string {
	const names = namesIn(lock).map((name) => {
		const holder = parseHolder(name);
		if (!holder) return `the unknown file ${name}`;
		return liveness(holder) === "elsewhere"
			? `process ${holder.pid} on ${holder.machine}`
			: `process ${holder.pid}`;
	});
	return names.join(", ") || "nobody any more";
}

function sleepSync(ms: number): void {
	Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
