/**
 * Plans what install and uninstall change in the files that exist; install/apply.ts applies a plan.
 * Pure.
 *
 * Measured on droid 0.215.0: it reads `hooks.json`, else `hooks/hooks.json`; it takes an event that
 * is missing there from `settings.json`. So an entry in the first file hides the user's entry in the
 * other. Each event is therefore added to the file where droid finds it now.
 */
import { BgError, refused } from "../error.ts";
import { hookEvents } from "../hook/events.ts";
import {
	type InstallTarget,
	listDroidFiles,
	listHookFiles,
	marker,
	type ProgramName,
} from "./droid-files.ts";
import {
	addHooks,
	type HookFile,
	listEvents,
	removeHooks,
} from "./hook-entries.ts";
import type { EditedText, TextEdit } from "./json-edit.ts";

/** The program that is installed. */
export type InstallProgram = { name: ProgramName; bytes: Buffer };

/** The content and mode of a file, before or after the change. */
export type FileState = { bytes: Buffer; mode: number };

/** Reads a file; undefined if it does not exist. */
export type ReadPath = (path: string) => FileState | undefined;

export type FileChange = {
	path: string;
	/** `same`: up to date. `foreign`: not written by bg, or its marker was removed. */
	action: "create" | "change" | "remove" | "same" | "foreign";
	next?: FileState;
	/** The content when this was planned, if the file existed. */
	before?: Buffer;
	edits?: TextEdit[];
};

/**
 * Plans an installation. The program comes first: a hook never names a missing program.
 * @throws BgError (refused) if a file of droid's is broken, or the program's path is taken.
 */
export function planInstall(
	target: InstallTarget,
	program: InstallProgram,
	readPath: ReadPath,
): FileChange[] {
	const { programs, hook, assets } = listDroidFiles(target, program.name);
	const path = programs[program.name];
	const own = planFile(readPath, path, { bytes: program.bytes, mode: 0o755 });
	if (own.action === "foreign")
		throw refused(
			`${path} was not written by bg: move it away; nothing was changed`,
		);
	const hooks = assignEvents(target, readPath).map(({ file, events }) =>
		planEdit(readPath, file.path, (text) =>
			addHooks(text, file, { events, command: hook(file.path) }),
		),
	);
	return [
		own,
		...assets.map(([at, text]) =>
			planFile(readPath, at, { bytes: Buffer.from(text), mode: 0o644 }),
		),
		...hooks,
		...Object.values(programs)
			.filter((each) => each !== path)
			.flatMap((each) => planRemoval(readPath, each))
			.filter(({ action }) => action === "remove"),
	];
}

/** Plans the removal of an installation. @throws BgError (refused) if a file of droid's is broken. */
export function planUninstall(
	target: InstallTarget,
	readPath: ReadPath,
): FileChange[] {
	const { programs, assets } = listDroidFiles(target, "bg");
	const assetPaths = assets.map(([path]) => path).reverse();
	const hooks = listHookFiles(target)
		.filter(({ path }) => readPath(path))
		.map((file) =>
			planEdit(readPath, file.path, (text) => removeHooks(text, file)),
		)
		.filter(({ action }) => action !== "same");
	const removals = [...assetPaths, ...Object.values(programs)].flatMap((path) =>
		planRemoval(readPath, path),
	);
	return [...hooks, ...removals];
}

// --- internal ---

/** Assigns each event to the file that droid reads it from now. */
function assignEvents(target: InstallTarget, readPath: ReadPath) {
	const events = Object.keys(hookEvents);
	const [first, legacy, settings] = listHookFiles(target);
	const main =
		legacy && !readPath(first.path) && readPath(legacy.path) ? legacy : first;
	const inSettings = settings ? listEventsIn(readPath, settings) : [];
	const inMain = inSettings.length ? listEventsIn(readPath, main) : [];
	const isInSettings = (event: string) =>
		inSettings.includes(event) && !inMain.includes(event);
	return [
		{ file: main, events: events.filter((each) => !isInSettings(each)) },
		{ file: settings ?? main, events: events.filter(isInSettings) },
	].filter((each) => each.events.length > 0);
}

/** The events of a file; none if settings are broken, because droid then ignores them. */
function listEventsIn(readPath: ReadPath, file: HookFile): string[] {
	const text = readPath(file.path)?.bytes.toString();
	try {
		return text === undefined ? [] : listEvents(text, file);
	} catch (error) {
		if (error instanceof BgError && file.under) return [];
		throw error;
	}
}

const emptyTable = "{}\n";

function planEdit(
	readPath: ReadPath,
	path: string,
	change: (text: string) => EditedText,
): FileChange {
	const found = readPath(path);
	const before = found?.bytes;
	if (before && !Buffer.from(before.toString()).equals(before))
		throw refused(`${path} is not UTF-8: fix it first; nothing was changed`);
	const { text, edits } = change(before?.toString() ?? emptyTable);
	if (before && edits.length === 0) return { path, action: "same" };
	if (before && text === emptyTable) return { path, action: "remove", before };
	return {
		path,
		action: before ? "change" : "create",
		next: { bytes: Buffer.from(text), mode: found?.mode ?? 0o644 },
		edits,
		before,
	};
}

function planFile(
	readPath: ReadPath,
	path: string,
	next: FileState,
): FileChange {
	const found = readPath(path);
	if (!found) return { path, action: "create", next };
	// Keep the mode that the owner chose, but a program must be executable.
	const mode = found.mode | (next.mode & 0o100);
	const before = found.bytes;
	const isSame = before.equals(next.bytes);
	if (isSame && mode === found.mode) return { path, action: "same" };
	if (!isSame && !before.includes(marker)) return { path, action: "foreign" };
	return { path, action: "change", next: { ...next, mode }, before };
}

function planRemoval(readPath: ReadPath, path: string): FileChange[] {
	const before = readPath(path)?.bytes;
	if (!before) return [];
	return before.includes(marker)
		? [{ path, action: "remove", before }]
		: [{ path, action: "foreign" }];
}
