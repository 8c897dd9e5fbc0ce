/**
 * Which file will run, and by what argv this program starts itself again. A program is looked for in
 * absolute folders of PATH only, and a runtime gets the flags that keep it from reading `.env`,
 * `bunfig.toml` or `deno.json` of the folder bg is called in. Nothing is started here.
 */
import {
	accessSync,
	closeSync,
	constants,
	openSync,
	readSync,
	statSync,
} from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { errorCode, refused } from "./error.ts";
import { toAbsolute } from "./runtime.ts";
import { isCompiled, programFile } from "./self.ts";

/**
 * What keeps each runtime from obeying files of the folder it is called in. Bun reads `.env`,
 * `bunfig.toml` with its preloads, and `tsconfig.json`, whose `paths` may even name another program.
 * Deno is quiet: else it moves the cursor of any terminal before a program begins.
 */
export const runtimeFlags = {
	bun: ["--no-env-file", "--config=/dev/null", "--tsconfig-override=/dev/null"],
	deno: ["run", "-A", "--quiet", "--no-config", "--no-lock"],
	node: [],
} as const;

/** The argv that starts this program again, whatever form it runs in. */
export function buildSelfCommand(): [string, ...string[]] {
	if (isCompiled()) return [process.execPath];
	const { bun, deno } = process.versions as Record<string, string | undefined>;
	const flags = runtimeFlags[bun ? "bun" : deno ? "deno" : "node"];
	return [process.execPath, ...flags, programFile()];
}

/** A program on PATH, as an absolute path. Relative entries are the caller's folder: not used. */
export function findOnPath(
	name: string,
	path = process.env.PATH ?? "",
): string | undefined {
	return path
		.split(":")
		.filter((folder) => isAbsolute(folder))
		.map((folder) => join(folder, name))
		.find((file) => isExecutable(file));
}

/**
 * Droid: `$BG_DROID`, or `droid` on PATH.
 * @throws BgError that says how to get it.
 */
export function findDroid(env: NodeJS.ProcessEnv = process.env): string {
	const given = env.BG_DROID;
	const file = given && resolve(toAbsolute("BG_DROID", given));
	if (file && isExecutable(file)) return file;
	const found = given ? undefined : findOnPath("droid", env.PATH);
	if (found) return found;
	throw refused(
		given
			? `BG_DROID is ${given}, which is not an executable file: set it to the droid to run, or unset it`
			: "no droid on PATH: npm install -g droid, or set BG_DROID to it",
	);
}

/** Where droid's definitions are looked for: project, home, the plugin this program lies in. */
export function listDefinitionFolders(
	cwd: string,
	home: string | undefined,
): string[] {
	const folders: string[] = [];
	for (let at = cwd; ; at = dirname(at)) {
		folders.push(join(at, ".factory", "droids"));
		if (statSync(join(at, ".git"), { throwIfNoEntry: false })) break;
		if (dirname(at) === at) {
			folders.length = 1;
			break;
		}
	}
	if (home) folders.push(join(home, ".factory", "droids"));
	folders.push(resolve(dirname(programFile()), "..", "droids"));
	return folders;
}

/**
 * The file that will run. The runtimes answer differently to what cannot (a script without `#!`
 * runs through `sh` in two of them), so it is decided here.
 */
export function findExecutable(
	name: string,
	cwd: string,
	path: string | undefined,
): string {
	const file = name.includes("/") ? resolve(cwd, name) : findOnPath(name, path);
	if (!file || !statSync(file, { throwIfNoEntry: false }))
		throw new Error(
			name.includes("/")
				? `ENOENT, no file ${name}`
				: `ENOENT, no ${name} on PATH`,
		);
	if (!isExecutable(file)) throw new Error(`EACCES, ${file} is not executable`);
	const head = Buffer.alloc(256);
	let length = 0;
	try {
		const fd = openSync(file, "r");
		length = readSync(fd, head, 0, head.length, 0);
		closeSync(fd);
	} catch (error) {
		// A program may be executable and not readable; then the system decides.
		if (errorCode(error) === "EACCES") return file;
		throw error;
	}
	const start = head.subarray(0, length);
	if (start.toString("latin1", 0, 2) !== "#!" && !start.includes(0))
		throw new Error(`ENOEXEC, ${file} is no program and has no #! line`);
	return file;
}

// --- internal ---

function isExecutable(file: string): boolean {
	try {
		accessSync(file, constants.X_OK);
		return statSync(file).isFile();
	} catch {
		return false;
	}
}
