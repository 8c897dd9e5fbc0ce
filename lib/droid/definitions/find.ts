/** Finds the droid program and the definitions of droids. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import {
	BgError,
	errorCode,
	errorMessage,
	refused,
	usage,
} from "../../error.ts";
import { findClosest } from "../../print/text.ts";
import { findOnPath, isExecutable } from "../../process/executables.ts";
import { toAbsolute } from "../../process/runtime.ts";
import { programFile } from "../../process/self.ts";
import { homeFolder } from "../../store/paths.ts";
import { findBuiltIn, listBuiltIns } from "./built-in.ts";
import {
	type DroidDefinition,
	droidNamePattern,
	parseDefinition,
} from "./definition.ts";

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

export type DroidOrigin = "project" | "home" | "plugin" | "built-in";

/** A droid that can be launched by its name. */
export type KnownDroid = DroidDefinition & {
	name: string;
	origin: DroidOrigin;
	/** The file of the definition, unless it is built in. */
	path?: string;
};

/**
 * Finds the definition of a droid: in the project, the home, the plugin, then among the built-in ones.
 * Adds to `warnings`.
 * @throws BgError (usage) that names the closest droid if there is none of this name.
 */
export function findDefinition(
	name: string,
	cwd: string,
	warnings: string[],
): DroidDefinition {
	const found = readDefinition(listFolders(cwd), name);
	if (!found) throw usage(describeUnknown(name, cwd));
	for (const each of found.warnings)
		warnings.push(`droid "${name}": ${each} (${found.path})`);
	return found;
}

/**
 * Lists all droids by name, as a launch in `cwd` finds them. A definition that cannot be read has its
 * problem among its warnings.
 */
export function listDroids(cwd: string): KnownDroid[] {
	const folders = listFolders(cwd);
	return listNames(folders).map((name) => {
		try {
			const found = readDefinition(folders, name);
			if (found) return found;
		} catch (error) {
			if (!(error instanceof BgError)) throw error;
			const warnings = [errorMessage(error)];
			const [first] = folders.filter(({ path }) => hasFile(path, name));
			return { name, origin: first?.origin ?? "home", body: "", warnings };
		}
		return { name, origin: "built-in", body: "", warnings: [] };
	});
}

// --- internal ---

type Folder = { origin: DroidOrigin; path: string };

/** The folders of definitions, in search order: project, home, the plugin that contains this program. */
function listFolders(cwd: string): Folder[] {
	const project: string[] = [];
	for (let at = cwd; ; at = dirname(at)) {
		project.push(join(at, ".factory", "droids"));
		if (statSync(join(at, ".git"), { throwIfNoEntry: false })) break;
		if (dirname(at) === at) {
			project.length = 1;
			break;
		}
	}
	const home = homeFolder();
	const plugin = resolve(dirname(programFile()), "..", "droids");
	const own = home && join(home, ".factory", "droids");
	return [
		...project
			.filter((path) => path !== own)
			.map((path) => ({ origin: "project" as const, path })),
		...(own ? [{ origin: "home" as const, path: own }] : []),
		{ origin: "plugin", path: plugin },
	];
}

const maxDefinitionBytes = 1024 * 1024;

const hasFile = (folder: string, name: string) =>
	existsSync(join(folder, `${name}.md`));

/** @throws BgError (usage) if the file cannot be read: another definition must not replace it. */
function readDefinition(
	folders: readonly Folder[],
	name: string,
): KnownDroid | undefined {
	for (const { origin, path: folder } of folders) {
		const path = join(folder, `${name}.md`);
		try {
			const status = statSync(path, { throwIfNoEntry: false });
			if (!status) continue;
			if (!status.isFile() || status.size > maxDefinitionBytes)
				throw new Error("not a file of at most 1 MiB");
			const text = readFileSync(path, "utf8");
			return { ...parseDefinition(text), name, origin, path };
		} catch (error) {
			if (errorCode(error) === "ENOTDIR") continue;
			throw usage(
				`droid "${name}": unable to read ${path}: ${errorMessage(error)}`,
			);
		}
	}
	const builtIn = findBuiltIn(name);
	return builtIn && { ...builtIn, name, origin: "built-in" };
}

/** The names of all droids, each once. A folder that cannot be read has none. */
function listNames(folders: readonly Folder[]): string[] {
	const files = folders.flatMap(({ path }) => {
		try {
			return readdirSync(path);
		} catch {
			return [];
		}
	});
	const names = files
		.filter((file) => file.endsWith(".md"))
		.map((file) => file.slice(0, -".md".length))
		.filter((name) => droidNamePattern.test(name));
	return [...new Set([...listBuiltIns(), ...names])].sort();
}

function describeUnknown(name: string, cwd: string): string {
	const names = listNames(listFolders(cwd));
	const containing = names.filter(
		(each) => each.includes(name) || name.includes(each),
	);
	const closest = findClosest(name, containing.length ? containing : names);
	return `there is no droid ${JSON.stringify(name)}: the closest is ${closest} (bg droids lists all)`;
}
