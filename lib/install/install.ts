/**
 * What install and uninstall make of the files that are there: a plan, which install/apply.ts carries out.
 * Pure.
 *
 * Measured on droid 0.215.0: it reads `hooks.json`, else `hooks/hooks.json`; an event that is not in
 * there it takes from `settings.json`. An event of ours put into the one would silence theirs in the
 * other, so each event is put where droid finds it now.
 */
import { join } from "node:path";
import { BgError, refused } from "../error.ts";
import { hookEvents } from "../hook/events.ts";
import {
	type InstallTarget,
	listDroidFiles,
	listHookFiles,
	marker,
	programNames,
} from "./droid-files.ts";
import {
	addHooks,
	type HookFile,
	listEvents,
	removeHooks,
} from "./hook-entries.ts";
import type { EditedText, TextEdit } from "./json-edit.ts";

/** This program, as it is copied. */
export type InstallProgram = {
	name: (typeof programNames)[number];
	bytes: Buffer;
};

/** A file as it is, or as it will be. */
export type FileState = { bytes: Buffer; mode: number };

/** What stands at a path; undefined where nothing does. */
export type ReadPath = (path: string) => FileState | undefined;

export type FileChange = {
	path: string;
	/** `same`: it is as it should be. `foreign`: somebody else's, or kept by its user. */
	action: "create" | "change" | "remove" | "same" | "foreign";
	/** What it will hold, and its mode. */
	next?: FileState;
	/** What it held when this was planned, where there was anything. */
	before?: Buffer;
	edits?: TextEdit[];
};

/**
 * What is to be made and changed, in this order: a hook never names a program that is not there.
 * @throws BgError (refused) where droid's file is broken, or the program's place is taken.
 */
export function planInstall(
	target: InstallTarget,
	program: InstallProgram,
	readPath: ReadPath,
): FileChange[] {
	const { root, hook, assets } = listDroidFiles(target, program.name);
	const path = join(root, "hooks", program.name);
	const own = planFile(readPath, path, { bytes: program.bytes, mode: 0o755 });
	if (own.action === "foreign")
		throw refused(`${path} is not bg's: move it away; nothing was changed`);
	const hooks = assignEvents(target, readPath).map(
		({ place, events: wanted }) =>
			planEdit(readPath, place, (text) =>
				addHooks(text, place, wanted, hook(place.path)),
			),
	);
	const others = programNames.filter((name) => name !== program.name);
	return [
		own,
		...assets.map(([at, text]) =>
			planFile(readPath, at, { bytes: Buffer.from(text), mode: 0o644 }),
		),
		...hooks,
		...others
			.flatMap((name) => planRemoval(readPath, join(root, "hooks", name)))
			.filter(({ action }) => action === "remove"),
	];
}

/** What is to be taken away. @throws BgError (refused) where droid's file is broken. */
export function planUninstall(
	target: InstallTarget,
	readPath: ReadPath,
): FileChange[] {
	const { root, assets } = listDroidFiles(target, "bg");
	const hooks = listHookFiles(target)
		.filter(({ path }) => readPath(path))
		.map((place) =>
			planEdit(readPath, place, (text) => removeHooks(text, place)),
		)
		.filter(({ action }) => action !== "same");
	return [
		...hooks,
		...[...assets].reverse().flatMap(([path]) => planRemoval(readPath, path)),
		...programNames.flatMap((name) =>
			planRemoval(readPath, join(root, "hooks", name)),
		),
	];
}

// --- internal ---

/** The files that get our events: each event goes where droid looks for it now. */
function assignEvents(
	target: InstallTarget,
	readPath: ReadPath,
): { place: HookFile; events: string[] }[] {
	const wanted = Object.keys(hookEvents);
	const [first, legacy, settings] = listHookFiles(target) as [
		HookFile,
		HookFile?,
		HookFile?,
	];
	const main =
		legacy && !readPath(first.path) && readPath(legacy.path) ? legacy : first;
	const known = settings ? listEventsAt(readPath, settings) : [];
	const foreignEvents = known.length ? listEventsAt(readPath, main) : [];
	const isInSettings = (event: string) =>
		known.includes(event) && !foreignEvents.includes(event);
	return [
		{ place: main, events: wanted.filter((each) => !isInSettings(each)) },
		{ place: settings ?? main, events: wanted.filter(isInSettings) },
	].filter((file) => file.events.length > 0);
}

/** The events of a file; none where it is broken, for then droid passes over it. */
function listEventsAt(readPath: ReadPath, place: HookFile): string[] {
	const text = readPath(place.path)?.bytes.toString();
	try {
		return text === undefined ? [] : listEvents(text, place);
	} catch (error) {
		if (error instanceof BgError && place.under) return [];
		throw error;
	}
}

const emptyTable = "{}\n";

function planEdit(
	readPath: ReadPath,
	{ path }: HookFile,
	change: (text: string) => EditedText,
): FileChange {
	const found = readPath(path);
	const before = found?.bytes;
	if (before && !Buffer.from(before.toString()).equals(before))
		throw refused(`${path} is not UTF-8: mend it first; nothing was changed`);
	const { text, edits } = change(before?.toString() ?? emptyTable);
	if (before && edits.length === 0) return { path, action: "same" };
	if (before && text === emptyTable) return { path, action: "remove", before };
	return {
		path,
		action: before ? "change" : "create",
		next: { bytes: Buffer.from(text), mode: found?.mode ?? 0o644 },
		edits,
		...(before && { before }),
	};
}

function planFile(
	readPath: ReadPath,
	path: string,
	next: FileState,
): FileChange {
	const found = readPath(path);
	if (!found) return { path, action: "create", next };
	// Who may read it is its owner's choice; a program must run.
	const mode = found.mode | (next.mode & 0o100);
	const isSame = found.bytes.equals(next.bytes);
	if (isSame && mode === found.mode) return { path, action: "same" };
	if (!isSame && !found.bytes.includes(marker))
		return { path, action: "foreign" };
	return {
		path,
		action: "change",
		next: { bytes: next.bytes, mode },
		before: found.bytes,
	};
}

function planRemoval(readPath: ReadPath, path: string): FileChange[] {
	const found = readPath(path);
	if (!found) return [];
	const before = found.bytes;
	const isOwn = before.includes(marker);
	return [
		isOwn ? { path, action: "remove", before } : { path, action: "foreign" },
	];
}
