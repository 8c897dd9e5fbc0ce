/**
 * Finds the installations of bg, and whether they are as install would write them now. Nothing is
 * changed. Measured on droid 0.215.0: an installed plugin is a file that names its folder.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { isRefusal } from "../error.ts";
import { currentFolder } from "../process/runtime.ts";
import { isSource } from "../process/self.ts";
import { createReader, readOwnProgram } from "./apply.ts";
import {
	droidFolder,
	type InstallTarget,
	programNames,
} from "./droid-files.ts";
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

const Plugin = v.object({ pluginId: v.pipe(v.string(), v.startsWith("bg@")) });

function listInstalledPlugins(): Installation[] {
	const folder = join(droidFolder(), "plugins", "installed_plugins");
	if (!existsSync(folder)) return [];
	return readdirSync(folder).flatMap((name) => {
		try {
			const { pluginId } = v.parse(
				Plugin,
				JSON.parse(readFileSync(join(folder, name), "utf8")),
			);
			return [{ kind: "plugin" as const, location: `plugin ${pluginId}` }];
		} catch {
			// A file that cannot be read is not a plugin of bg.
			return [];
		}
	});
}
