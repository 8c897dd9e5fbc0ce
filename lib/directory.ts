/**
 * The directory of the store: made for its owner alone, refused where somebody else could have put
 * records there.
 */
import {
	appendFileSync,
	chmodSync,
	existsSync,
	lstatSync,
	mkdirSync,
	type Stats,
	statSync,
} from "node:fs";
import { BgError, messageOf } from "./error.ts";
import { making, namesIn } from "./files.ts";
import {
	type Faulty,
	folders,
	logFile,
	type Store,
	storeDir,
} from "./names.ts";
import { markIndexWhole } from "./sessions.ts";

const maxLogBytes = 1024 * 1024;

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
		const isNew = !existsSync(`${dir}/${folders.sessions}`);
		if (mode & 0o077) making(dir, () => chmodSync(dir, 0o700));
		for (const name of Object.values(folders)) {
			const folder = `${dir}/${name}`;
			if (existsSync(folder)) continue;
			making(folder, () => mkdirSync(folder, { recursive: true, mode: 0o700 }));
		}
		const isEmpty = isNew && !namesIn(dir).some((name) => /\.json$/.test(name));
		if (isEmpty) making(dir, () => markIndexWhole({ dir }));
	}
	return { dir };
}

/** Notes a fault of a supervisor or a hook, which have nobody to tell. */
export function logFault(store: Store, who: Faulty, line: string): void {
	const path = logFile(store, who);
	try {
		const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
		if (size < maxLogBytes)
			appendFileSync(path, `${new Date().toISOString()} ${line}\n`, {
				mode: 0o600,
			});
	} catch {}
}

// --- internal ---

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
			`${dir} can be written by others: once you trust what is in it, chmod 700 ${dir}`,
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
