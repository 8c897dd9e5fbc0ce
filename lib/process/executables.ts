/**
 * Executables: which file a name stands for, and the argv that starts this program again. Only absolute
 * folders of PATH count, and a runtime gets the flags that keep it from reading `.env`, `bunfig.toml`
 * or `deno.json` of the current folder. Nothing is started here.
 */
import {
	accessSync,
	closeSync,
	constants,
	openSync,
	readSync,
	statSync,
} from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { errorCode } from "../error.ts";
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

export function isExecutable(file: string): boolean {
	try {
		accessSync(file, constants.X_OK);
		return statSync(file).isFile();
	} catch {
		return false;
	}
}
