/**
 * Files outside the store, which droid, a person or a checkout may have made. They are replaced as a
 * whole, never through a link that somebody else could have set: in a home one's own links count, in
 * a project none does, for they came with it.
 */
import {
	closeSync,
	existsSync,
	fchmodSync,
	fsyncSync,
	lstatSync,
	mkdirSync,
	openSync,
	readdirSync,
	readFileSync,
	realpathSync,
	renameSync,
	rmSync,
	type Stats,
	statSync,
	writeFileSync,
} from "node:fs";
import { dirname, join, relative } from "node:path";
import { refused, wrapWriteErrors } from "../error.ts";
import { isCompiled, isSource, programFile } from "../process/self.ts";
import {
	discard,
	removeEmptyFolder,
	uniqueHolderName,
} from "../store/files.ts";
import { removeDeadClaims } from "../store/locks.ts";
import { type InstallTarget, listFolders } from "./droid-files.ts";
import type {
	FileChange,
	FileState,
	InstallProgram,
	ReadPath,
} from "./install.ts";

/** This program. @throws BgError (refused) where it runs from its source. */
export function readOwnProgram(): InstallProgram {
	const file = programFile();
	if (isSource())
		throw refused(
			`${file} is a source, and install copies one file: npm run build, then dist/bg install`,
		);
	const name = isCompiled() ? "bg" : "bg.mjs";
	return { name, bytes: readFileSync(file) };
}

/** Looks at files of a target. The answer throws BgError (refused) where a path is not ours to use. */
export const createReader =
	(target: InstallTarget): ReadPath =>
	(path) => {
		if (!isOwnPath(target, path)) return undefined;
		const status = statSync(path);
		if (!status.isFile()) throw pathError(path, "is not a file: move it away");
		return { bytes: readFileSync(path), mode: status.mode & 0o777 };
	};

/** Carries a plan out. What it took away may leave folders empty; those go too. */
export function applyChanges(
	target: InstallTarget,
	plan: readonly FileChange[],
): void {
	const readPath = createReader(target);
	for (const { path, action, next, before } of plan) {
		if (action === "same" || action === "foreign") continue;
		const now = readPath(path)?.bytes;
		if (before && now ? !before.equals(now) : before !== now)
			throw pathError(path, "was changed meanwhile: try again");
		wrapWriteErrors(path, () => {
			if (action === "remove") rmSync(path);
			else if (next) replaceOwnFile(path, next, before !== undefined);
		});
	}
	if (plan.some(({ action }) => action === "remove"))
		for (const folder of listFolders(target)) removeEmptyFolder(folder);
}

// --- internal ---

const pathError = (path: string, problem: string) =>
	refused(`${path} ${problem}`);

/** Whether there is something at a path. @throws BgError where it, or what leads to it, is not ours. */
function isOwnPath({ kind, folder }: InstallTarget, path: string): boolean {
	const parts = relative(folder, path).split("/");
	for (let count = 0; count <= parts.length; count++) {
		const at = [folder, ...parts.slice(0, count)].join("/");
		const status = lstatSync(at, { throwIfNoEntry: false });
		if (!status) return false;
		assertPathOwner(at, status);
		if (!status.isSymbolicLink()) continue;
		if (kind !== "user")
			throw pathError(at, "is a link: put the file itself there, or remove it");
		if (!existsSync(at))
			throw pathError(at, "is a link that leads nowhere: remove it");
		assertPathOwner(at, statSync(at));
	}
	return true;
}

function assertPathOwner(path: string, { uid }: Stats): void {
	if (uid !== process.geteuid?.())
		throw pathError(
			path,
			`belongs to another user (uid ${uid}): call bg as that user`,
		);
}

/** Writes beside and renames: a program that runs goes on, a reader sees the old file or the new. */
function replaceOwnFile(
	path: string,
	{ bytes, mode }: FileState,
	isThere: boolean,
): void {
	mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
	const place = isThere ? realpathSync(path) : path;
	const folder = dirname(place);
	// What an install that is gone was about to write.
	removeDeadClaims(folder, readdirSync(folder));
	const temporary = join(folder, uniqueHolderName());
	const fd = openSync(temporary, "wx", mode);
	try {
		writeFileSync(fd, bytes);
		if (isThere) fchmodSync(fd, mode);
		fsyncSync(fd);
		renameSync(temporary, place);
	} catch (error) {
		discard(temporary);
		throw error;
	} finally {
		closeSync(fd);
	}
}
