/**
 * Reads and writes the files of an installation. They lie outside the store, and droid, a person or a
 * checkout may have made them. A file is replaced as a whole. In a home, links of the user are
 * followed; in a project no link is followed, because it came with the checkout.
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
import { version } from "../../package.json" with { type: "json" };
import { ifExists, refused, wrapWriteErrors } from "../error.ts";
import { isCompiled, isSource, programFile } from "../process/self.ts";
import {
	discard,
	removeEmptyFolder,
	uniqueHolderName,
} from "../store/files.ts";
import { removeDeadClaims } from "../store/locks.ts";
import { type InstallTarget, listFolders, marker } from "./droid-files.ts";
import type {
	FileChange,
	FileState,
	InstallProgram,
	ReadPath,
} from "./install.ts";

/** Reads this program. @throws BgError (refused) if it runs from its source. */
export function readOwnProgram(): InstallProgram {
	const file = programFile();
	if (isSource())
		throw refused(
			`${file} is source code, and install copies one file: npm run build, then dist/bg install`,
		);
	const name = isCompiled() ? "bg" : "bg.mjs";
	return { name, bytes: readFileSync(file) };
}

/**
 * Chooses the program for a target. A project gets the script, which runs on every platform, if one of this version
 * lies beside the executable.
 * @throws BgError (refused) if this program runs from its source.
 */
export function chooseProgram({ kind }: InstallTarget): InstallProgram {
	const own = readOwnProgram();
	if (kind !== "project" || own.name !== "bg") return own;
	const path = join(dirname(programFile()), "bg.mjs");
	const bytes = ifExists(() => readFileSync(path));
	const isSame = [marker, `"${version}"`].every((each) =>
		bytes?.includes(each),
	);
	return bytes && isSame ? { name: "bg.mjs", bytes } : own;
}

/** Returns a reader of a target's files. It throws BgError (refused) for a path that bg must not use. */
export const createReader =
	(target: InstallTarget): ReadPath =>
	(path) => {
		if (!isOwnPath(target, path)) return undefined;
		const status = statSync(path);
		if (!status.isFile()) throw refused(`${path} is not a file: move it away`);
		return { bytes: readFileSync(path), mode: status.mode & 0o777 };
	};

/** Applies a plan. Removes the folders that become empty. */
export function applyChanges(
	target: InstallTarget,
	plan: readonly FileChange[],
): void {
	const readPath = createReader(target);
	for (const { path, action, next, before } of plan) {
		if (action === "same" || action === "foreign") continue;
		const now = readPath(path)?.bytes;
		if (before && now ? !before.equals(now) : before !== now)
			throw refused(`${path} was changed meanwhile: try again`);
		wrapWriteErrors(path, () => {
			if (action === "remove") rmSync(path);
			else if (next) replaceOwnFile(path, next, before !== undefined);
		});
	}
	if (plan.some(({ action }) => action === "remove"))
		for (const folder of listFolders(target)) removeEmptyFolder(folder);
}

// --- internal ---

/** Whether a path exists. @throws BgError (refused) if it or a folder above it must not be used. */
function isOwnPath({ kind, folder }: InstallTarget, path: string): boolean {
	const parts = relative(folder, path).split("/");
	for (let count = 0; count <= parts.length; count++) {
		const at = [folder, ...parts.slice(0, count)].join("/");
		const status = lstatSync(at, { throwIfNoEntry: false });
		if (!status) return false;
		assertPathOwner(at, status);
		if (!status.isSymbolicLink()) continue;
		if (kind !== "user")
			throw refused(`${at} is a link: put the file itself there, or remove it`);
		if (!existsSync(at)) throw refused(`${at} is a broken link: remove it`);
		assertPathOwner(at, statSync(at));
	}
	return true;
}

function assertPathOwner(path: string, { uid }: Stats): void {
	if (uid !== process.geteuid?.())
		throw refused(
			`${path} belongs to another user (uid ${uid}): call bg as that user`,
		);
}

/**
 * Writes a file beside the old one and renames it: a running program is not disturbed, and a reader
 * sees the old file or the new one.
 */
function replaceOwnFile(
	path: string,
	{ bytes, mode }: FileState,
	isThere: boolean,
): void {
	mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
	const file = isThere ? realpathSync(path) : path;
	const folder = dirname(file);
	// Removes what an install left that was killed.
	removeDeadClaims(folder, readdirSync(folder));
	const temporary = join(folder, uniqueHolderName());
	const fd = openSync(temporary, "wx", mode);
	try {
		writeFileSync(fd, bytes);
		if (isThere) fchmodSync(fd, mode);
		fsyncSync(fd);
		renameSync(temporary, file);
	} catch (error) {
		discard(temporary);
		throw error;
	} finally {
		closeSync(fd);
	}
}
