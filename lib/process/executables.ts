/**
 * Executables: the file that a command name means, and the argv that starts this program again. Only
 * absolute folders of PATH count. Nothing is started here.
 */
import { accessSync, constants, readSync, statSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { errorCode } from "../error.ts";
import { isCompiled, programFile } from "./self.ts";
import { withOpenFile } from "./system.ts";

/**
 * The flags that keep each runtime from obeying files of the current folder. Bun reads `.env`,
 * `bunfig.toml` with its preloads, and `tsconfig.json`, in which `paths` may name another program. Deno
 * needs `--quiet`: otherwise it moves the cursor of the terminal before the program starts.
 */
export const runtimeFlags = {
	bun: ["--no-env-file", "--config=/dev/null", "--tsconfig-override=/dev/null"],
	deno: ["run", "-A", "--quiet", "--no-config", "--no-lock"],
	node: [],
} as const;

/** Builds the argv that starts this program again, as executable, script or source. */
export function buildSelfCommand(): [string, ...string[]] {
	if (isCompiled()) return [process.execPath];
	const { bun, deno } = process.versions as Record<string, string | undefined>;
	const flags = runtimeFlags[bun ? "bun" : deno ? "deno" : "node"];
	return [process.execPath, ...flags, programFile()];
}

/** Finds a program on PATH; an absolute path. Relative entries of PATH are ignored. */
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
 * Finds the file that a command name means. Checked here because the runtimes differ for a file that
 * cannot be executed: two of them run a script without `#!` through `sh`.
 * The last answer holds for 0.1 s: tasks of a batch often call the same program.
 * @param path The value of PATH.
 * @throws Error that begins with a code (`ENOENT`, `EACCES`, `ENOEXEC`) if it cannot be executed.
 */
export function findExecutable(
	name: string,
	cwd: string,
	path: string | undefined,
): string {
	const isKnown =
		lastFound?.name === name &&
		lastFound.cwd === cwd &&
		lastFound.path === path &&
		performance.now() < lastFound.until;
	if (lastFound && isKnown) return lastFound.file;
	const file = searchExecutable(name, cwd, path);
	const until = performance.now() + foundMs;
	lastFound = { name, cwd, path, file, until };
	return file;
}

/** Whether a path is a file that this user may execute. */
export function isExecutable(file: string): boolean {
	try {
		// A missing file is the usual case, and no error here: most folders of PATH do not have the program.
		if (!statSync(file, { throwIfNoEntry: false })?.isFile()) return false;
		accessSync(file, constants.X_OK);
		return true;
	} catch {
		return false;
	}
}

// --- internal ---

/** How long an answer of `findExecutable` holds, in ms. */
const foundMs = 100;

let lastFound:
	| {
			name: string;
			cwd: string;
			path: string | undefined;
			file: string;
			/** On the monotonic clock, in ms. */
			until: number;
	  }
	| undefined;

function searchExecutable(
	name: string,
	cwd: string,
	path: string | undefined,
): string {
	const isPath = name.includes("/");
	const file = isPath ? resolve(cwd, name) : findOnPath(name, path);
	if (!file || !statSync(file, { throwIfNoEntry: false })) {
		const what = isPath ? `file ${name}` : `${name} on PATH`;
		throw new Error(`ENOENT, no ${what}`);
	}
	if (!isExecutable(file)) throw new Error(`EACCES, ${file} is not executable`);
	const head = Buffer.alloc(256);
	let length = 0;
	try {
		length = withOpenFile(file, "r", (fd) => readSync(fd, head));
	} catch (error) {
		// A program may be executable and not readable: the system decides.
		if (errorCode(error) === "EACCES") return file;
		throw error;
	}
	const start = head.subarray(0, length);
	if (start.toString("latin1", 0, 2) !== "#!" && !start.includes(0))
		throw new Error(`ENOEXEC, ${file} is not a program and has no #! line`);
	return file;
}
