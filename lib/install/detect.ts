/**
 * Whether droid knows bg, and whether what it knows is what install would write now. Nothing is
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
	type InstallProgram,
	planInstall,
	planUninstall,
	type ReadPath,
} from "./install.ts";

export type Installation = {
	kind: InstallTarget["kind"];
	/** The folder, or the name of a plugin. */
	where: string;
	/** A file that install would write; undefined where all is as it should be. */
	outdatedFile?: string;
};

/**
 * Every place droid knows bg from.
 * @throws BgError (refused) where a file of the user's is broken or not ours.
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
	const { kind, folder: where } = target;
	const readPath = createReader(target);
	if (!isInstalledIn(target, readPath)) return [];
	const program = findProgram(target, readPath);
	const [first] = program
		? planInstall(target, program, readPath).filter(isDue)
		: [{ path: join(where, "hooks", programNames[0]) }];
	return [{ kind, where, ...(first && { outdatedFile: first.path }) }];
}

/** Whether anything of bg's is there. Where a project is not for install to write, none of it is. */
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

/** The program that is installed; this one where both have the same form. */
function findProgram(
	{ folder }: InstallTarget,
	readPath: ReadPath,
): InstallProgram | undefined {
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
			return [{ kind: "plugin" as const, where: `plugin ${pluginId}` }];
		} catch {
			// What cannot be read is no plugin of ours.
			return [];
		}
	});
}
