/** Finds the droid program and the definitions of droids. */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorCode, errorMessage, refused } from "../error.ts";
import { findOnPath, isExecutable } from "../process/executables.ts";
import { toAbsolute } from "../process/runtime.ts";
import { programFile } from "../process/self.ts";
import { homeFolder } from "../store/paths.ts";
import { type DroidDefinition, parseDefinition } from "./definition.ts";

/**
 * Finds droid: `$BG_DROID`, else `droid` on PATH. An absolute path.
 * @throws BgError (refused) that says how to install it.
 */
export function findDroid(): string {
	const given = process.env.BG_DROID;
	const file = given
		? resolve(toAbsolute("BG_DROID", given))
		: findOnPath("droid");
	if (file && isExecutable(file)) return file;
	throw refused(
		given
			? `BG_DROID is ${given}, which is not an executable file: set it to the path of droid, or unset it`
			: "no droid on PATH: npm install -g droid, or set BG_DROID to it",
	);
}

/** The folders of definitions, in search order: project, home, the plugin that contains this program. */
function listDefinitionFolders(cwd: string): string[] {
	const folders: string[] = [];
	for (let at = cwd; ; at = dirname(at)) {
		folders.push(join(at, ".factory", "droids"));
		if (statSync(join(at, ".git"), { throwIfNoEntry: false })) break;
		if (dirname(at) === at) {
			folders.length = 1;
			break;
		}
	}
	const home = homeFolder();
	if (home) folders.push(join(home, ".factory", "droids"));
	folders.push(resolve(dirname(programFile()), "..", "droids"));
	return folders;
}

const maxDefinitionBytes = 1024 * 1024;

/** Finds and parses the definition of a droid; undefined if there is none. Adds to `warnings`. */
export function findDefinition(
	droid: string,
	cwd: string,
	warnings: string[],
): DroidDefinition | undefined {
	for (const folder of listDefinitionFolders(cwd)) {
		const path = join(folder, `${droid}.md`);
		try {
			const status = statSync(path, { throwIfNoEntry: false });
			if (!status) continue;
			if (!status.isFile() || status.size > maxDefinitionBytes)
				throw new Error("not a file of at most 1 MiB");
			const definition = parseDefinition(readFileSync(path, "utf8"));
			for (const each of definition.warnings)
				warnings.push(`droid "${droid}": ${each} (${path})`);
			return definition;
		} catch (error) {
			if (errorCode(error) === "ENOTDIR") continue;
			warnings.push(
				`droid "${droid}": unable to read ${path}: ${errorMessage(error)}`,
			);
			return undefined;
		}
	}
	warnings.push(
		`no definition of droid "${droid}" (.factory/droids/${droid}.md): it runs as a plain droid`,
	);
	return undefined;
}
