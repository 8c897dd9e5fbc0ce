/**
 * Finds the installations of bg, and whether they are as install would write them now. Nothing is
 * changed. Measured on droid 0.215.0: an installed plugin is a file that names its folder, and so is a
 * known marketplace.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { isRefusal } from "../error.ts";
import { hookEvents } from "../hook/events.ts";
import { currentFolder } from "../process/runtime.ts";
import { isSource } from "../process/self.ts";
import { createReader, readOwnProgram } from "./apply.ts";
import {
	droidFolder,
	type InstallTarget,
	listDroidFiles,
	programNames,
} from "./droid-files.ts";
import { addHooks } from "./hook-entries.ts";
import {
	type FileChange,
	planInstall,
	planUninstall,
	type ReadPath,
} from "./install.ts";

export type Installation = {
	kind: InstallTarget["kind"];
	/** The folder, or the name of a plugin. */
	location: string;
	/** A file that install would change; undefined if the installation is up to date. */
	outdatedFile?: string | undefined;
	/** The folder of a plugin's marketplace, if it is on this machine. */
	marketplace?: string | undefined;
};

/**
 * Finds every installation: of the user, of the current project, and as a plugin.
 * @throws BgError (refused) if a file of the user is broken or must not be used.
 */
export function findInstallations(): Installation[] {
	const user: InstallTarget = { kind: "user", folder: droidFolder() };
	const here = currentFolder();
	const targets = [user];
	if (here !== undefined && user.folder !== join(here, ".factory"))
		targets.push({ kind: "project", folder: join(here, ".factory") });
	return [...targets.flatMap(findInTarget), ...listInstalledPlugins()];
}

// --- internal ---

function findInTarget(target: InstallTarget): Installation[] {
	const { kind, folder } = target;
	const readPath = createReader(target);
	if (!isInstalledIn(target, readPath)) return [];
	const program = findProgram(target, readPath);
	const [first] = program
		? planInstall(target, program, readPath).filter(isDue)
		: [{ path: join(folder, "hooks", programNames[0]) }];
	return [{ kind, location: folder, outdatedFile: first?.path }];
}

/** Whether bg wrote anything there. Nothing counts in a project that install would refuse. */
function isInstalledIn(target: InstallTarget, readPath: ReadPath): boolean {
	try {
		return planUninstall(target, readPath).some(isDue);
	} catch (error) {
		if (target.kind === "project" && isRefusal(error)) return false;
		throw error;
	}
}

const isDue = ({ action }: FileChange) =>
	action !== "same" && action !== "foreign";

/** The installed program; if this program has the same form, this one is what install would write. */
function findProgram({ folder }: InstallTarget, readPath: ReadPath) {
	const own = isSource() ? undefined : readOwnProgram();
	for (const name of programNames) {
		const found = readPath(join(folder, "hooks", name));
		if (found) return own?.name === name ? own : { name, bytes: found.bytes };
	}
	return undefined;
}

const Plugin = v.object({
	pluginId: v.pipe(v.string(), v.startsWith("bg@")),
	entry: v.optional(v.object({ installPath: v.optional(v.string()) })),
});

const Marketplace = v.object({
	name: v.string(),
	entry: v.object({ installLocation: v.string() }),
});

function listInstalledPlugins(): Installation[] {
	const plugins = join(droidFolder(), "plugins");
	const markets = readEntries(join(plugins, "known_marketplaces"), Marketplace);
	return readEntries(join(plugins, "installed_plugins"), Plugin).map(
		({ pluginId, entry }) => ({
			kind: "plugin",
			location: `plugin ${pluginId}`,
			outdatedFile: entry?.installPath && findOldHooks(entry.installPath),
			marketplace: markets.find(({ name }) => pluginId === `bg@${name}`)?.entry
				.installLocation,
		}),
	);
}

/** Reads the files of a folder that match a schema. */
function readEntries<T>(folder: string, schema: v.GenericSchema<unknown, T>) {
	if (!existsSync(folder)) return [];
	return readdirSync(folder).flatMap((name) => {
		try {
			const text = readFileSync(join(folder, name), "utf8");
			return [v.parse(schema, JSON.parse(text))];
		} catch {
			// A file that cannot be read is not about bg.
			return [];
		}
	});
}

/** The hooks file of droid's copy of a plugin, if its commands are not those of today. */
function findOldHooks(folder: string): string | undefined {
	const path = join(folder, "hooks", "hooks.json");
	const name = programNames.find((each) =>
		existsSync(join(folder, "hooks", each)),
	);
	if (!name) return path;
	const command = listDroidFiles({ kind: "plugin", folder }, name).hook(path);
	const events = Object.keys(hookEvents);
	try {
		const text = readFileSync(path, "utf8");
		const { edits } = addHooks(text, { path }, { events, command });
		return edits.length ? path : undefined;
	} catch {
		return path;
	}
}
