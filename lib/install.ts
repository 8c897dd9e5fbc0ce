/**
 * What install and uninstall make of the files that are there: a plan, which outside.ts carries out.
 * Pure.
 *
 * Measured on droid 0.215.0: it reads `hooks.json`, else `hooks/hooks.json`; an event that is not in
 * there it takes from `settings.json`. An event of ours put into the one would silence theirs in the
 * other, so each event is put where droid finds it now.
 */
import { join } from "node:path";
import { BgError } from "./error.ts";
import { events } from "./events.ts";
import type { Edit, Edited } from "./jsonc.ts";
import {
	hookPlaces,
	layoutOf,
	marker,
	programNames,
	type Target,
} from "./layout.ts";
import { eventsIn, mergeHooks, type Place, unmergeHooks } from "./merge.ts";

/** This program, as it is copied. */
export type Program = { name: (typeof programNames)[number]; bytes: Buffer };

/** A file as it is, or as it will be. */
export type Found = { bytes: Buffer; mode: number };

/** What stands at a path; undefined where nothing does. */
export type Look = (path: string) => Found | undefined;

export type Change = {
	path: string;
	/** `same`: it is as it should be. `foreign`: somebody else's, or kept by its user. */
	action: "create" | "change" | "remove" | "same" | "foreign";
	/** What it will hold, and its mode. */
	next?: Found;
	/** What it held when this was planned, where there was anything. */
	before?: Buffer;
	edits?: Edit[];
};

/**
 * What is to be made and changed, in this order: a hook never names a program that is not there.
 * @throws BgError (refused) where droid's file is broken, or the program's place is taken.
 */
export function planInstall(
	target: Target,
	program: Program,
	look: Look,
): Change[] {
	const { root, hook, assets } = layoutOf(target, program.name);
	const path = join(root, "hooks", program.name);
	const own = put(look, path, { bytes: program.bytes, mode: 0o755 });
	if (own.action === "foreign")
		throw new BgError(
			"refused",
			`${path} is not bg's: move it away; nothing was changed`,
		);
	const hooks = hookFiles(target, look).map(({ place, events: wanted }) =>
		edit(look, place, (text) =>
			mergeHooks(text, place, wanted, hook(place.path)),
		),
	);
	const others = programNames.filter((name) => name !== program.name);
	return [
		own,
		...assets.map(([at, text]) =>
			put(look, at, { bytes: Buffer.from(text), mode: 0o644 }),
		),
		...hooks,
		...others
			.flatMap((name) => remove(look, join(root, "hooks", name)))
			.filter(({ action }) => action === "remove"),
	];
}

/** What is to be taken away. @throws BgError (refused) where droid's file is broken. */
export function planUninstall(target: Target, look: Look): Change[] {
	const { root, assets } = layoutOf(target, "bg");
	const hooks = hookPlaces(target)
		.filter(({ path }) => look(path))
		.map((place) => edit(look, place, (text) => unmergeHooks(text, place)))
		.filter(({ action }) => action !== "same");
	return [
		...hooks,
		...[...assets].reverse().flatMap(([path]) => remove(look, path)),
		...programNames.flatMap((name) => remove(look, join(root, "hooks", name))),
	];
}

// --- internal ---

/** The files that get our events: each event goes where droid looks for it now. */
function hookFiles(
	target: Target,
	look: Look,
): { place: Place; events: string[] }[] {
	const wanted = Object.keys(events);
	const [first, legacy, settings] = hookPlaces(target) as [
		Place,
		Place?,
		Place?,
	];
	const main =
		legacy && !look(first.path) && look(legacy.path) ? legacy : first;
	const known = settings ? eventsAt(look, settings) : [];
	const theirs = known.length ? eventsAt(look, main) : [];
	const isInSettings = (event: string) =>
		known.includes(event) && !theirs.includes(event);
	return [
		{ place: main, events: wanted.filter((each) => !isInSettings(each)) },
		{ place: settings ?? main, events: wanted.filter(isInSettings) },
	].filter((file) => file.events.length > 0);
}

/** The events of a file; none where it is broken, for then droid passes over it. */
function eventsAt(look: Look, place: Place): string[] {
	const text = look(place.path)?.bytes.toString();
	try {
		return text === undefined ? [] : eventsIn(text, place);
	} catch (error) {
		if (error instanceof BgError && place.under) return [];
		throw error;
	}
}

const emptyTable = "{}\n";

function edit(
	look: Look,
	{ path }: Place,
	change: (text: string) => Edited,
): Change {
	const found = look(path);
	const before = found?.bytes;
	if (before && !Buffer.from(before.toString()).equals(before))
		throw new BgError(
			"refused",
			`${path} is not UTF-8: mend it first; nothing was changed`,
		);
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

function put(look: Look, path: string, next: Found): Change {
	const found = look(path);
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

function remove(look: Look, path: string): Change[] {
	const found = look(path);
	if (!found) return [];
	const before = found.bytes;
	const isOwn = before.includes(marker);
	return [
		isOwn ? { path, action: "remove", before } : { path, action: "foreign" },
	];
}
