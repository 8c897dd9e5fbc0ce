/**
 * Whether droid knows bg, and whether what it knows is what install would write now. Nothing is
 * changed. Measured on droid 0.215.0: an installed plugin is a file that names its folder.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { isRefusal } from "./error.ts";
import {
	type Change,
	type Look,
	type Program,
	planInstall,
	planUninstall,
} from "./install.ts";
import { droidFolder, programNames, type Target } from "./layout.ts";
import { lookIn, ownProgram } from "./outside.ts";
import { currentFolder } from "./runtime.ts";
import { isSource } from "./self.ts";

export type Installed = {
	kind: Target["kind"];
	/** The folder, or the name of a plugin. */
	where: string;
	/** A file that install would write; undefined where all is as it should be. */
	due?: string;
};

/**
 * Every place droid knows bg from.
 * @throws BgError (refused) where a file of the user's is broken or not ours.
 */
export function findInstalled(): Installed[] {
	const user: Target = { kind: "user", folder: droidFolder() };
	const here = currentFolder();
	const targets = [user];
	if (here !== undefined && user.folder !== join(here, ".factory"))
		targets.push({ kind: "project", folder: join(here, ".factory") });
	return [...targets.flatMap(inTarget), ...installedPlugins()];
}

// --- internal ---

function inTarget(target: Target): Installed[] {
	const { kind, folder: where } = target;
	const look = lookIn(target);
	if (!isIn(target, look)) return [];
	const program = programIn(target, look);
	const [first] = program
		? planInstall(target, program, look).filter(isDue)
		: [{ path: join(where, "hooks", programNames[0]) }];
	return [{ kind, where, ...(first && { due: first.path }) }];
}

/** Whether anything of bg's is there. Where a project is not for install to write, none of it is. */
function isIn(target: Target, look: Look): boolean {
	try {
		return planUninstall(target, look).some(isDue);
	} catch (error) {
		if (target.kind === "project" && isRefusal(error)) return false;
		throw error;
	}
}

const isDue = ({ action }: Change) => action !== "same" && action !== "foreign";

/** The program that is installed; this one where both have the same form. */
function programIn({ folder }: Target, look: Look): Program | undefined {
	const own = isSource() ? undefined : ownProgram();
	for (const name of programNames) {
		const found = look(join(folder, "hooks", name));
		if (found) return own?.name === name ? own : { name, bytes: found.bytes };
	}
	return undefined;
}

const Plugin = v.object({ pluginId: v.pipe(v.string(), v.startsWith("bg@")) });

function installedPlugins(): Installed[] {
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
